"""What a report says now as plain values, for ``paretune report RUN --json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reports.values import current_values
from reports.write import write
from sweeps import cli
from tests.helpers.run_folders import MIB, failed, record, write_run, write_scores
from trainables.results import Record, write_record

RANKS = (4, 8, 16, 32)


def searched(method: str, number: int, quality: float, peak: int) -> Record:
    config = {
        "method": {"kind": method, "rank": RANKS[number % 4]},
        "train": {"learning_rate": 1e-3 / (number + 1)},
    }
    return record(
        f"{method}{number}",
        method,
        config=config,
        objective=quality,
        quality=quality,
        peak_train_bytes=peak * MIB,
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    records = [
        *(searched("full", number, 0.9 - number / 50, 1000) for number in range(4)),
        *(searched("lora", number, 0.8 - number / 50, 500) for number in range(4)),
        record("base", "base", quality=0.2),
        failed("broken", "lora", error="RuntimeError: boom"),
        failed("large", "full", status="out_of_memory"),
        failed("half", "full", status="interrupted"),
    ]
    folder = write_run(tmp_path / "methods", records, name="methods", question="Which is worth it?")
    for each in records:
        if each.quality is not None:
            write_scores(folder, each.trial_id, [float(row < each.quality * 128) for row in range(128)])
    return folder


def printed(run: Path, *options: str) -> dict[str, Any]:
    found = CliRunner().invoke(cli.app, ["report", str(run), "--json", *options])
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)  # type: ignore[no-any-return]


def test_the_values_are_those_of_the_report_and_more(run: Path) -> None:
    values = printed(run)
    write([run])
    written = json.loads((run / "report" / "report.json").read_text())
    assert {name: values[name] for name in written} == written
    assert values["question"] == "Which is worth it?"
    (group,) = values["groups"]
    assert (group["cells"], group["bases"]) == (["sft-full", "sft-lora"], ["sft-base"])
    assert (group["quality_name"], group["higher_is_better"]) == ("exact_match", True)
    assert [(step["cell"], step["within_bytes"]) for step in values["fronts"][0]["steps"]] == [
        ("sft-lora", 500 * MIB),
        ("sft-full", 1000 * MIB),
    ]
    assert [each["cell"] for each in values["importance"]] == ["sft-full", "sft-lora"]
    assert all(each["shares"] or each["reason"] for each in values["importance"])


def test_trials_without_a_result_are_named_and_interrupted_ones_are_not_failures(run: Path) -> None:
    failures = {each["trial_id"]: each for each in current_values([run])["failures"]}
    assert failures.keys() == {"broken", "large"}
    assert (failures["broken"]["error"], failures["large"]["status"]) == (
        "RuntimeError: boom",
        "out_of_memory",
    )


def test_nothing_is_written_and_a_record_that_the_tables_lack_counts(run: Path) -> None:
    before = sorted(path for path in run.rglob("*"))
    trial = run / "trials" / "new"
    trial.mkdir()
    (trial / "config.json").write_text("{}")
    write_record(trial, searched("freeze", 0, 0.99, 300).model_copy(update={"trial_id": "new"}))
    values = printed(run)
    assert "sft-freeze" in [cell["cell"] for cell in values["cells"]]
    assert sorted(path for path in run.rglob("*") if trial not in (path, *path.parents)) == before


def test_a_run_without_any_record_has_no_answers(tmp_path: Path) -> None:
    values = printed(write_run(tmp_path / "empty", []))
    assert (values["answers"], values["cells"], values["failures"]) == ([], [], [])


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    found = CliRunner().invoke(cli.app, ["report", str(tmp_path / "nothing"), "--json"])
    assert found.exit_code == 2
    assert found.stdout == ""
