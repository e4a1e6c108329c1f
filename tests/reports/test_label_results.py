"""Labels in the report: which were taken for which, and a classifier's head beside a model that writes the label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports.analysis.across_stages import LABELS_NAME, compare_across_stages
from reports.analysis.comparison import compare
from reports.analysis.group import Group
from reports.analysis.label_results import counted
from reports.analysis.recommendation.row_caveats import different_rows
from reports.pages import label_tables
from reports.pages.tables import quality_details
from reports.values import current_values
from reports.write import write
from tests.helpers.run_folders import failed, record, write_run
from trainables import results
from trainables.results import Record
from trainables.scoring import label_scores

RIGHT = ["a"] * 6 + ["b"] * 3 + ["c"]
BY_HEAD = ["a"] * 5 + ["b"] + ["b"] * 2 + ["a"] + ["b"]
BY_TEXT = ["a"] * 6 + ["bee"] * 3 + ["c"]


def labelled(stage: str, method: str, given: list[str], **changes: Any) -> Record:
    accuracy = sum(one == other for one, other in zip(RIGHT, given, strict=True)) / len(RIGHT)
    is_head = stage == "classification"
    macro_f1 = label_scores.macro_f1(label_scores.written_label_scores(RIGHT, given))
    return record(
        f"{stage}-{method}",
        method,
        stage=stage,
        cell=f"{stage}-{method}",
        quality=macro_f1 if is_head else accuracy,
        quality_name="macro_f1" if is_head else "exact_match",
        quality_unit="" if is_head else "fraction",
        test_rows=len(RIGHT),
        metrics={"macro_f1": macro_f1, "accuracy": accuracy},
        data_sha256=stage,  # rows of another form have another hash
        **changes,
    )


def run_of(folder: Path) -> Path:
    records = [labelled("classification", "lora", BY_HEAD), labelled("sft", "lora", BY_TEXT)]
    run = write_run(folder, records)
    for each, texts in zip(records, (BY_HEAD, BY_TEXT), strict=True):
        write_predictions(run, each, RIGHT, texts)
    return run


def write_predictions(run: Path, record: Record, right: list[str], given: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "row": list(range(len(right))),
        "prompt": [f'[{{"content": "{number}"}}]' for number in range(len(right))],
        "reference": right,
        "prediction": given,
        "score": [float(one == other) for one, other in zip(right, given, strict=True)],
    }
    pq.write_table(pa.table(columns), run / "trials" / record.trial_id / "predictions.parquet")


def as_before(record: Record, trial_id: str, **changes: Any) -> Record:
    """As an earlier version wrote it: judged by accuracy."""
    earlier = {"quality": record.metrics["accuracy"], "quality_name": "accuracy", "quality_unit": "fraction"}
    return record.model_copy(update={**earlier, "trial_id": trial_id, **changes})


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


def test_a_row_without_an_answer_is_given_no_label() -> None:
    found = counted([('["a"]', ""), ('["a"]', None), (None, '["a"]')], several=True)
    assert (found.has["a"], found.given["a"], found.hits["a"]) == (2, 1, 0)
    found = counted([("a", None), ("a", ""), (None, "a")], several=False)
    assert (found.recall("a"), found.precision("a")) == (0.0, 0.0)


def test_thoughts_are_no_part_of_a_written_label() -> None:
    found = counted([("a", "<think>\nIt is.\n</think>\n\na"), ("b", "perhaps a</think>a")], several=False)

    assert (found.given["a"], found.hits["a"], found.pairs) == (2, 1, {("a", "a"): 1, ("b", "a"): 1})


def test_labels_beyond_those_that_are_shown_are_called_others(tmp_path: Path) -> None:
    labels = [f"label {number:02d}" for number in range(label_tables.SHOWN_LABELS + 1)]
    rows = [(label, label) for label in labels] + [(labels[0], labels[-1]), (labels[0], "a new one")]
    row = compare([results.read_run(run_of(tmp_path / "run"))])[0].rows[0]

    table = label_tables.confusion([(row, counted(rows, several=False))])

    assert table.columns[-2:] == (labels[-2], "any other")
    assert table.rows[0][-1] == "2"
    assert len(table.rows) == label_tables.SHOWN_LABELS


def test_a_head_and_a_written_label_are_compared_over_the_same_rows_by_macro_f1(tmp_path: Path) -> None:
    (group,) = compare_across_stages(compare([results.read_run(run_of(tmp_path / "run"))]))

    assert group.stage == LABELS_NAME
    assert [(row.name, row.quality) for row in group.rows] == [
        ("sft-lora", pytest.approx(2 / 3)),
        ("classification-lora", pytest.approx((10 / 12 + 4 / 7) / 3)),
    ]
    assert all(row.cell.estimate is not None for row in group.rows)
    assert group.verdicts
    assert group.bases == ()
    assert "the cells did not train on the same rows" not in list(different_rows(group))


def test_accuracy_stands_beside_macro_f1_and_not_beside_exact_match_which_it_is(tmp_path: Path) -> None:
    groups = compare([results.read_run(run_of(tmp_path / "run"))])
    head, written, both = (*groups, *compare_across_stages(groups))

    def measures(group: Group) -> set[str]:
        return {"accuracy", "exact match", "macro-F1"} & set(quality_details(group).columns)

    assert measures(head) == measures(both) == {"accuracy"}
    assert "70.0 %" in str(quality_details(head).rows)
    assert measures(written) == {"macro-F1"}


def test_they_are_compared_by_accuracy_where_a_trial_did_not_record_macro_f1(tmp_path: Path) -> None:
    records = [labelled("classification", "lora", BY_HEAD), labelled("sft", "lora", BY_TEXT)]
    del records[1].metrics["macro_f1"]
    run = write_run(tmp_path / "run", records)
    for each, texts in zip(records, (BY_HEAD, BY_TEXT), strict=True):
        write_predictions(run, each, RIGHT, texts)

    (group,) = compare_across_stages(compare([results.read_run(run)]))

    assert [(row.name, row.quality) for row in group.rows] == [
        ("classification-lora", 0.7),
        ("sft-lora", 0.7),
    ]


def test_the_quality_of_a_head_is_macro_f1_with_an_interval(tmp_path: Path) -> None:
    groups = compare([results.read_run(run_of(tmp_path / "run"))])
    (group,) = (each for each in groups if each.stage == "classification")
    (row,) = group.rows

    assert row.quality == pytest.approx((10 / 12 + 4 / 7) / 3)
    low, high = group.interval(row) or (0.0, 0.0)
    assert 0 < low < row.quality < high < 1
    assert group.margin == 0.02


def test_a_run_that_an_earlier_version_began_is_reported_by_macro_f1(tmp_path: Path) -> None:
    later = labelled("classification", "lora", BY_HEAD, objective=0.5)
    earlier = [
        as_before(later, "a", objective=0.6),
        as_before(later, "b", cell="classification-full", method="full"),
    ]
    broken = as_before(later, "c", status="failed", quality=None, objective=None, metrics={})
    run = write_run(tmp_path / "run", [*earlier, later, broken])
    for each in (*earlier, later):
        write_predictions(run, each, RIGHT, BY_HEAD)

    (group,) = compare([results.read_run(run)])

    expected = pytest.approx((10 / 12 + 4 / 7) / 3)
    assert [(row.best.trial_id, row.quality) for row in group.rows if row.best] == [
        ("a", expected),
        ("b", expected),
    ]
    assert all(row.cell.estimate is not None for row in group.rows)
    assert {each.quality_name for row in group.rows for each in row.cell.records} == {"macro_f1"}
    assert write([run]).exists()


def test_a_run_of_an_earlier_version_alone_keeps_its_quality(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [as_before(labelled("classification", "lora", BY_HEAD), "a")])
    (group,) = compare([results.read_run(run)])
    assert [(row.quality, group.unit) for row in group.rows] == [(0.7, "fraction")]


def test_rows_without_any_label_have_no_estimate_of_macro_f1(tmp_path: Path) -> None:
    config = {"method": {"kind": "lora"}, "stage": {"multi_label": True}, "train": {"learning_rate": 1e-3}}
    one = labelled("classification", "lora", BY_HEAD, config=config).model_copy(update={"quality": 0.0})
    run = write_run(tmp_path / "run", [one])
    write_predictions(run, one, ["[]"] * 4, ['["a"]'] * 4)

    (group,) = compare([results.read_run(run)])

    assert [(row.quality, row.cell.estimate) for row in group.rows] == [(0.0, None)]
    assert write([run]).exists()


def test_cells_without_a_scored_trial_are_not_compared_across_stages(tmp_path: Path) -> None:
    head = [labelled("classification", "lora", BY_HEAD), failed("x", "full", stage="classification")]
    written = [labelled("sft", "lora", BY_TEXT), failed("y", "full", cell="sft-full")]
    run = write_run(tmp_path / "run", [*head, *written])

    (group,) = compare_across_stages(compare([results.read_run(run)]))

    assert {row.name for row in group.rows} == {"classification-lora", "sft-lora"}


def test_the_comparison_of_a_head_with_written_labels_is_said_in_other_languages(tmp_path: Path) -> None:
    values = current_values([run_of(tmp_path / "run")])

    said = [*values["translations"]["zh"]["answers"][0]["sentences"]]

    assert values["answers"][0]["title"] == "classified and written labels of smollm2-135m on commands"
    assert any("分类头" in sentence for sentence in said)


def test_a_classifier_alone_is_in_no_such_comparison(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [labelled("classification", "lora", BY_HEAD)])

    assert compare_across_stages(compare([results.read_run(run)])) == []


def test_the_report_shows_which_labels_were_taken_for_which(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run")
    groups = compare([results.read_run(folder)])

    head, text = (label_tables.confusion(label_tables.stored_results(group)) for group in groups)

    assert head.columns == ("has", "a", "b", "c", "any other")
    assert head.rows == [("a", "5", "1", "0", "0"), ("b", "1", "2", "0", "0"), ("c", "0", "1", "0", "0")]
    assert text.rows[1] == ("b", "0", "0", "0", "3")
    page = write([folder])
    html = page.read_text()
    assert "Which labels lora took for which" in html
    assert "A head or a text for the label" in html
    assert "Preference stages side by side" not in html
    summary = (page.parent / "summary.md").read_text()
    assert "A classifier has a head with an output for each label" in summary
