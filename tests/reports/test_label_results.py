"""Labels in the report: which were taken for which, and a classifier's head beside a model that writes the label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports.analysis.across_stages import LABELS_NAME, compare_across_stages
from reports.analysis.comparison import compare
from reports.analysis.label_results import counted
from reports.analysis.recommendation.row_caveats import different_rows
from reports.pages import label_tables
from reports.write import write
from tests.helpers.run_folders import record, write_run
from trainables import results
from trainables.results import Record

RIGHT = ["a"] * 6 + ["b"] * 3 + ["c"]
BY_HEAD = ["a"] * 5 + ["b"] + ["b"] * 2 + ["a"] + ["b"]
BY_TEXT = ["a"] * 6 + ["bee"] * 3 + ["c"]


def labelled(stage: str, method: str, given: list[str], **changes: Any) -> Record:
    accuracy = sum(one == other for one, other in zip(RIGHT, given, strict=True)) / len(RIGHT)
    is_head = stage == "classification"
    return record(
        f"{stage}-{method}",
        method,
        stage=stage,
        cell=f"{stage}-{method}",
        quality=accuracy,
        quality_name="accuracy" if is_head else "exact_match",
        quality_unit="fraction",
        test_rows=len(RIGHT),
        metrics={"macro_f1": 0.5, "accuracy": accuracy},
        data_sha256=stage,  # rows of another form have another hash
        **changes,
    )


def run_of(folder: Path, **given: list[str]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    records = [labelled("classification", "lora", BY_HEAD), labelled("sft", "lora", BY_TEXT)]
    run = write_run(folder, records)
    for each, texts in zip(records, (BY_HEAD, BY_TEXT), strict=True):
        columns = {
            "row": list(range(len(RIGHT))),
            "prompt": [f'[{{"content": "{number}"}}]' for number in range(len(RIGHT))],
            "reference": RIGHT,
            "prediction": texts,
            "score": [float(one == other) for one, other in zip(RIGHT, texts, strict=True)],
        }
        path = run / "trials" / each.trial_id / "predictions.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path)
    return run


def test_precision_recall_and_f1_are_counted_by_label() -> None:
    found = counted(zip(RIGHT, BY_HEAD, strict=True), several=False)

    assert found.labels == ("a", "b", "c")
    assert (found.precision("a"), found.recall("a")) == (5 / 6, 5 / 6)
    assert (found.precision("c"), found.recall("c"), found.f1("c")) == (None, 0.0, 0.0)
    assert found.f1("b") == pytest.approx(2 * 2 / (3 + 4))


def test_where_several_labels_may_apply_each_is_counted_on_its_own() -> None:
    found = counted([('["a", "b"]', '["a"]'), ("[]", '["b"]')], several=True)

    assert found.pairs is None
    assert (found.f1("a"), found.f1("b")) == (1.0, 0.0)


def test_a_head_and_a_written_label_are_compared_row_by_row_by_accuracy(tmp_path: Path) -> None:
    (group,) = compare_across_stages(compare([results.read_run(run_of(tmp_path / "run"))]))

    assert group.stage == LABELS_NAME
    assert [(row.name, row.quality) for row in group.rows] == [
        ("classification-lora", 0.7),
        ("sft-lora", 0.7),
    ]
    assert all(row.cell.estimate is not None for row in group.rows)
    assert group.bases == ()
    assert "the cells did not train on the same rows" not in list(different_rows(group))


def test_a_classifier_alone_is_in_no_such_comparison(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [labelled("classification", "lora", BY_HEAD)])

    assert compare_across_stages(compare([results.read_run(run)])) == []


def test_the_report_shows_which_labels_were_taken_for_which(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run")
    groups = compare([results.read_run(folder)])

    head, text = (label_tables.confusion(group) for group in groups)

    assert head.columns == ("has", "a", "b", "c", "no label")
    assert head.rows == [("a", "5", "1", "0", "0"), ("b", "1", "2", "0", "0"), ("c", "0", "1", "0", "0")]
    assert text.rows[1] == ("b", "0", "0", "0", "3")
    page = write([folder])
    html = page.read_text()
    assert "Which labels lora took for which" in html
    assert "A head or a text for the label" in html
    assert "Preference stages side by side" not in html
    summary = (page.parent / "summary.md").read_text()
    assert "A classifier has a head with an output for each label" in summary
