"""A report says how far its runs are, how long they took over all sessions, and in what several differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reports.analysis.comparison import compare
from reports.analysis.group import Group
from reports.analysis.recommendation.answer import answer
from reports.analysis.runs.progress import progress, run_location, typed_command, wall_seconds
from reports.pages import tables
from reports.pages.next_steps import first_command
from reports.write import write
from sweeps import cli
from tests.helpers.run_folders import failed, record, write_run
from trainables import results
from trainables.results import Record, Run

PLANNED = {"plan": {"trials": {"sft-lora": 3, "sft-full": 3}, "finalists": {"seeds": 1, "top": 1}}}
COMMAND = "paretune run chats.yaml --resume --set train.steps=20"


def run_of(folder: Path, *records: Record, **environment: Any) -> Run:
    return results.read_run(write_run(folder, list(records), **environment))


def trained(steps: int, batch: int, seed: int, **changes: Any) -> Record:
    config = {"method": {"kind": "lora"}, "train": {"steps": steps, "batch_size": batch}}
    return record(f"{steps}{seed}", config=config, seed=seed, **changes)


def two_runs(tmp_path: Path, base: float = 0.2) -> Group:
    monday = run_of(tmp_path / "monday", trained(20, 8, 0), record("b0", "base", quality=0.2))
    tuesday = run_of(
        tmp_path / "tuesday", trained(60, 16, 3, quality=0.95), record("b1", "base", quality=base)
    )
    (group,) = compare([monday, tuesday])
    return group


def test_an_unfinished_run_says_so_before_its_answer_with_what_finishes_it(tmp_path: Path) -> None:
    trials = [record("aaa"), failed("bbb", "full", status="interrupted")]
    run = write_run(tmp_path / "chats", trials, command=COMMAND, seconds=61.0, **PLANNED)
    page = write([run])
    said = "Unfinished: 5 of 6 trials to go, in sft-lora and sft-full."
    for text in (page.read_text(), (page.parent / "summary.md").read_text()):
        assert 0 < text.index(said) < text.index("Only lora")
        assert "1 trial in 2 cells, 1" in text
        assert "so far" in text
        assert "paretune run chats.yaml --set train.steps=20 --resume" in text
    assert json.loads((page.parent / "report.json").read_text())["unfinished"] == [
        {"run": "chats", "to_go": 5, "trials": 6}
    ]
    (group,) = compare([results.read_run(run)])
    assert [row[1] for row in tables.comparison(group).rows] == ["the only one", "no result yet"]
    command = CliRunner().invoke(cli.app, ["report", str(run)])
    assert command.stderr == f"note: {run} is unfinished, 5 of 6 trials to go\n"


def test_a_run_that_ended_and_one_that_does_not_say_are_not_called_unfinished(tmp_path: Path) -> None:
    one_each = {"plan": {"trials": {"sft-lora": 1, "sft-full": 1}}}
    ended = run_of(tmp_path / "ended", record("aaa"), failed("bbb", "full"), **one_each)
    older = run_of(tmp_path / "older", record("aaa"))
    assert (progress(ended), progress(older)) == (None, None)
    assert "nfinished:" not in write([ended.folder]).read_text()


def test_how_to_repeat_a_run_is_the_command_of_a_new_one(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", record("aaa"), command=COMMAND)
    assert typed_command(run) == "paretune run chats.yaml --set train.steps=20"


@pytest.mark.parametrize(
    ("place", "command", "location"),
    [
        ("/home/ada/work/runs/chats", "paretune run chats.yaml", "runs/chats"),
        ("/home/ada/work/out/chats", "paretune run chats.yaml --output out", "out/chats"),
        ("/data/chats", "paretune run chats.yaml --output /data", "/data/chats"),
        ("/home/ada/out/chats", "paretune run chats.yaml --output ../out", "/home/ada/out/chats"),
        ("s3://bucket/runs/chats", "paretune run chats.yaml", "s3://bucket/runs/chats"),
        ("/home/ada/runs/chats", "paretune run 'chats", "runs/chats"),
    ],
)
def test_commands_name_a_run_from_where_it_was_started(
    tmp_path: Path, place: str, command: str, location: str
) -> None:
    run = run_of(tmp_path / "chats", record("aaa"), place=place, command=command)
    assert run_location(run) == location


def test_a_run_that_was_moved_or_copied_under_another_name_is_named_by_its_folder(tmp_path: Path) -> None:
    run = run_of(
        tmp_path / "copied", record("aaa"), place="/home/ada/runs/chats", command="paretune run chats"
    )
    assert run_location(run) == str(tmp_path / "copied")


def test_the_time_is_that_of_all_sessions_also_of_those_that_were_killed(tmp_path: Path) -> None:
    """Trials of 2 minutes start a minute apart: three of them cover 4 minutes, whatever the last session noted."""
    trials = [record(name, ended_at=f"2026-01-01T00:0{2 + n}:00Z") for n, name in enumerate(("a", "b", "c"))]
    assert wall_seconds(run_of(tmp_path / "killed", *trials, seconds=70.0)) == (240.0, False)
    assert wall_seconds(run_of(tmp_path / "whole", *trials, seconds=300.0)) == (300.0, True)
    assert wall_seconds(run_of(tmp_path / "old", record("a"))) is None
    assert "at least 4 min 00 s" in write([tmp_path / "killed"]).with_name("summary.md").read_text()


def test_the_answer_over_several_runs_says_in_what_they_differ_beside_methods(tmp_path: Path) -> None:
    assert (
        "The runs differ in more than their methods: monday has 20 steps, batches of 8 and seed 0; tuesday has 60 "
        "steps, batches of 16 and seed 3. Cells of different runs may differ because of that."
    ) in answer(two_runs(tmp_path)).sentences
    alike = [run_of(tmp_path / name, trained(20, 8, 0)) for name in ("one", "two")]
    (group,) = compare(alike)
    assert "runs differ" not in answer(group).text


def test_runs_that_trained_on_other_rows_are_said_to(tmp_path: Path) -> None:
    (group,) = compare(
        [run_of(tmp_path / name, trained(20, 8, 0, data_sha256=name)) for name in ("one", "two")]
    )
    assert "more than their methods: they trained on other rows." in answer(group).text


def test_several_runs_have_a_column_and_one_untuned_model(tmp_path: Path) -> None:
    table = tables.comparison(two_runs(tmp_path))
    assert [row[:2] for row in table.rows] == [("lora", "tuesday"), ("lora", "monday"), ("untuned", "")]


def test_untuned_models_that_were_scored_otherwise_stand_apart_and_each_run_has_its_own(
    tmp_path: Path,
) -> None:
    group = two_runs(tmp_path, base=0.4)
    assert [row.display_name for row in group.bases] == [
        "untuned (on the rows of monday)", "untuned (on the rows of tuesday)",
    ]  # fmt: skip
    own = [base.quality for row in group.rows if (base := group.base_of(row)) is not None]
    assert own == [0.4, 0.2]


def test_the_next_step_tries_what_is_recommended_unless_nothing_is(tmp_path: Path) -> None:
    environment = {"place": "/srv/runs/chats", "command": "paretune run chats.yaml"}
    better = run_of(tmp_path / "a" / "chats", record("aaa"), record("b", "base", quality=0.1), **environment)
    worse = run_of(tmp_path / "b" / "chats", record("aaa"), record("b", "base", quality=0.95), **environment)
    assert [first_command(compare([run])[0]) for run in (better, worse)] == [
        "paretune chat runs/chats:sft-lora",
        None,
    ]
    assert "Try it:" in write([better.folder]).read_text()
