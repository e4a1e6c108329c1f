"""How a report says to use its results: commands that work, and answers side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from reports.analysis.comparison import compare
from reports.pages.next_steps import commands, sample_answers
from reports.write import write
from tests.helpers.run_folders import record, write_run
from trainables import results

SCRIPT = "<script>alert(1)</script>"


def predictions(
    run: Path, trial_id: str, answers: list[str | None], prompts: list[str] | None = None
) -> None:
    asked = prompts or [f"question {number}" for number in range(len(answers))]
    rows = [
        {
            "row": number,
            "prompt": json.dumps([{"role": "user", "content": question}]),
            "reference": f"right {number}",
            "prediction": answer,
            "score": 1.0,
        }
        for number, (question, answer) in enumerate(zip(asked, answers, strict=True))
    ]
    schema = pa.schema(
        [("row", pa.int64()), ("prompt", pa.string()), ("reference", pa.string()),
         ("prediction", pa.string()), ("score", pa.float64())]
    )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema), run / "trials" / trial_id / "predictions.parquet")


def made(folder: Path, **environment: str) -> Path:
    return write_run(
        folder / "run", [record("b0", "base"), record("l1", "lora"), record("f1", "full")], **environment
    )


def test_answers_of_all_cells_stand_side_by_side_with_differing_ones_first(tmp_path: Path) -> None:
    run = made(tmp_path)
    predictions(run, "b0", ["x", "same", "p"])
    predictions(run, "l1", ["x", "same", "q"])
    predictions(run, "f1", ["x", "same", "q"])
    (group,) = compare([results.read_run(run)])
    result = sample_answers(group)
    assert result is not None
    assert [sample.answers for sample in result.samples] == [
        tuple({"untuned": "p"}.get(cell, "q") for cell in result.cells),
        ("x", "x", "x"),
        ("same", "same", "same"),
    ]
    assert (
        result.facts
        == "3 of 3 held-out prompts that every cell answered, those with different answers first."
    )


def test_only_prompts_that_all_answered_are_shown(tmp_path: Path) -> None:
    run = made(tmp_path)
    predictions(run, "l1", ["a", None, "c"])
    predictions(run, "f1", ["a", "b", "d"], ["question 0", "question 1", "another"])
    (group,) = compare([results.read_run(run)])
    result = sample_answers(group)
    assert result is not None
    assert [sample.prompt[0]["content"] for sample in result.samples] == ["question 0"]


def test_without_answers_there_is_no_page_of_them(tmp_path: Path) -> None:
    run = made(tmp_path)
    predictions(run, "l1", [None, None])
    report = write([run])
    assert not (report.parent / "samples.html").exists()
    assert "samples.html" not in report.read_text()


def test_the_page_of_answers_is_linked_and_runs_nothing_that_models_generated(tmp_path: Path) -> None:
    run = made(tmp_path)
    predictions(run, "l1", [SCRIPT, "a"], [SCRIPT, "two"])
    predictions(run, "f1", ["fine", SCRIPT], [SCRIPT, "two"])
    report = write([run])
    page = (report.parent / "samples.html").read_text()
    assert 'href="samples.html"' in report.read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)") == 3
    assert "Content-Security-Policy" in page
    write([run])  # an earlier report with that page is replaced


def test_each_cells_best_shows_the_commands_and_where_the_run_is_as_its_driver_calls_it(
    tmp_path: Path,
) -> None:
    run = made(tmp_path, place="s3://bucket/my runs/a")
    (group,) = compare([results.read_run(run)])
    typed = list(commands(group))
    assert "paretune chat 's3://bucket/my runs/a:sft-lora'" in typed
    assert "paretune export 's3://bucket/my runs/a:sft-lora' sft-lora" in typed
    assert "paretune serve 's3://bucket/my runs/a:sft-full'" in typed
    assert typed[-1].count(":sft-") == 3
    report = write([run])
    for text in (report.read_text(), (report.parent / "summary.md").read_text()):
        assert "paretune serve" in text


def test_the_commands_name_results_of_the_run(tmp_path: Path) -> None:
    from sweeps.runs.artifacts import split_run

    run = made(tmp_path)
    (group,) = compare([results.read_run(run)])
    named = [word for line in commands(group) for word in line.split()[2:3]]
    assert named
    assert all(split_run(word)[0] == str(run) for word in named)
