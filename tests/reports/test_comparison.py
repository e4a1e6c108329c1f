"""The comparison of a run's cells against examples worked by hand."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from reports.analysis import comparison
from reports.analysis.cells import collect_cells
from reports.analysis.comparison import compare
from reports.analysis.group import Group
from reports.pages import tables
from tests.helpers.run_folders import MIB, failed, record, write_run
from trainables import results
from trainables.results import Record


def group_of(tmp_path: Path, *records: Record) -> Group:
    (group,) = compare([results.read_run(write_run(tmp_path / "run", list(records)))])
    return group


def config(rate: float, rank: int | None = None) -> dict[str, Any]:
    return {
        "method": {"kind": "lora", "rank": rank, "dropout": 0.0},
        "train": {"learning_rate": rate, "steps": 40},
    }


def test_a_cells_best_has_the_best_objective_not_the_best_quality(tmp_path: Path) -> None:
    group = group_of(
        tmp_path, record("aaa", objective=0.8, quality=0.9), record("bbb", objective=0.9, quality=0.7)
    )
    assert group.rows[0].best is not None
    assert group.rows[0].best.trial_id == "bbb"


def test_a_stopped_trial_is_never_its_cells_best(tmp_path: Path) -> None:
    group = group_of(tmp_path, record("aaa", objective=0.5), record("bbb", objective=0.99, status="stopped"))
    assert group.rows[0].best is not None
    assert group.rows[0].best.trial_id == "aaa"


def test_a_winner_that_was_trained_again_is_not_its_cells_best(tmp_path: Path) -> None:
    group = group_of(tmp_path, record("aaa", objective=0.5), record("bbb", objective=0.9, role="finalist"))
    assert group.rows[0].best is not None
    assert group.rows[0].best.trial_id == "aaa"
    assert group.rows[0].counts["done"] == 1


def test_of_equal_objectives_the_one_with_less_memory_is_best(tmp_path: Path) -> None:
    more, less, unknown = 900 * MIB, 800 * MIB, None
    trials = [
        record(name, peak_train_bytes=m) for name, m in (("aaa", more), ("bbb", less), ("ccc", unknown))
    ]
    best = group_of(tmp_path, *trials).rows[0].best
    assert best is not None
    assert best.trial_id == "bbb"


def test_shares_are_of_the_best_quality_and_the_largest_peak(tmp_path: Path) -> None:
    full = record("aaa", "full", quality=0.8, peak_train_bytes=2000 * MIB)
    lora = record("bbb", "lora", quality=0.6, peak_train_bytes=500 * MIB)
    group = group_of(tmp_path, lora, full, record("ccc", "base", quality=0.2))
    shares = {row.name: (row.share_of_best_quality, row.share_of_largest_peak) for row in group.all_rows}
    assert shares == {
        "full": (1.0, 1.0),
        "lora": (pytest.approx(0.75), 0.25),
        "base": (pytest.approx(0.25), None),
    }


def test_where_lower_is_better_the_lowest_comes_first_and_shares_are_inverted(tmp_path: Path) -> None:
    loss = {"quality_name": "loss", "quality_unit": None, "quality_higher_is_better": False}
    full = record("aaa", "full", quality=1.0, peak_train_bytes=2000 * MIB, **loss)
    lora = record("bbb", "lora", quality=1.25, peak_train_bytes=500 * MIB, **loss)
    freeze = record("ccc", "freeze", quality=1.5, peak_train_bytes=600 * MIB, **loss)
    group = group_of(tmp_path, lora, full, freeze)
    assert [(row.name, row.share_of_best_quality) for row in group.rows[:2]] == [("full", 1.0), ("lora", 0.8)]
    assert [row.name for row in group.rows if row.on_front] == ["full", "lora"]
    assert group.rows[0].interval is None


def test_a_negative_quality_has_no_share(tmp_path: Path) -> None:
    reward = {"quality_name": "reward", "quality_unit": None}
    group = group_of(
        tmp_path, record("aaa", "full", quality=-1.0, **reward), record("bbb", quality=-2.0, **reward)
    )
    assert [row.share_of_best_quality for row in group.rows] == [None, None]


def test_a_cell_whose_trials_all_failed_is_still_a_row_and_comes_last(tmp_path: Path) -> None:
    group = group_of(
        tmp_path, failed("aaa", "full"), failed("bbb", "full", "out_of_memory"), record("ccc", quality=0.1)
    )
    last = group.rows[-1]
    assert (last.name, last.best, last.quality, last.share_of_best_quality) == ("full", None, None, None)
    assert last.counts == {"done": 0, "stopped": 0, "out_of_memory": 1, "failed": 1, "interrupted": 0}


def test_memory_that_was_not_measured_stays_unknown(tmp_path: Path) -> None:
    row = group_of(tmp_path, record("aaa", peak_train_bytes=None)).rows[0]
    assert (row.peak, row.share_of_largest_peak, row.on_front) == (None, None, False)


def test_settings_are_the_leaves_that_differ_between_a_cells_trials(tmp_path: Path) -> None:
    trials = [record("aaa", config=config(1e-3, 8)), record("bbb", config=config(2e-3, 16), objective=0.95)]
    row = group_of(tmp_path, *trials).rows[0]
    assert row.cell.searched == ("method.rank", "train.learning_rate")
    assert row.settings == {"method.rank": 16, "train.learning_rate": 2e-3}


def test_stages_models_and_data_are_never_compared_with_each_other(tmp_path: Path) -> None:
    other = {"cell": "dpo-lora", "stage": "dpo", "quality_name": "pair_accuracy"}
    run = write_run(
        tmp_path / "run", [record("aaa"), record("bbb", **other), record("ccc", model="tiny", cell="c")]
    )
    assert [(g.stage, g.model) for g in compare([results.read_run(run)])] == [
        ("sft", "smollm2-135m"),
        ("dpo", "smollm2-135m"),
        ("sft", "tiny"),
    ]


def test_cells_of_several_runs_bear_the_runs_name_where_names_clash(tmp_path: Path) -> None:
    one = results.read_run(write_run(tmp_path / "monday", [record("aaa"), record("bbb", "full")]))
    two = results.read_run(write_run(tmp_path / "tuesday", [record("aaa", quality=0.5)]))
    assert [cell.label for cell in collect_cells([one, two, one])] == [
        "monday: sft-lora",
        "sft-full",
        "tuesday: sft-lora",
    ]
    (group,) = compare([one, two])
    assert [(row.name, row.quality) for row in group.rows] == [
        ("monday: sft-lora", 0.9), ("full", 0.9), ("tuesday: sft-lora", 0.5)
    ]  # fmt: skip


def test_cells_measured_by_different_metrics_are_refused(tmp_path: Path) -> None:
    one = results.read_run(write_run(tmp_path / "one", [record("aaa")]))
    two = results.read_run(write_run(tmp_path / "two", [record("bbb", quality_name="loss")]))
    with pytest.raises(ValueError, match=r"different metrics.*Report these runs separately"):
        compare([one, two])


def test_the_table_holds_plain_values_with_units_in_the_names(tmp_path: Path) -> None:
    trials = [record("aaa", config=config(1e-3, 8)), record("bbb", config=config(2e-3, 8), objective=0.1)]
    trials[0] = trials[0].model_copy(update={"trainable_params": 20, "total_params": 1000})
    run = results.read_run(
        write_run(tmp_path / "run", [*trials, record("ccc", "base", quality=0.03), failed("ddd", "full")])
    )
    lora, full, base = comparison.table(run)
    assert lora["peak_train_bytes"] == 1000 * MIB
    assert lora["trainable_share"] == 0.02
    assert lora["train.learning_rate"] == 1e-3
    assert (lora["trials_done"], full["trials_failed"]) == (2, 1)
    assert (full["quality"], full["peak_train_bytes"], full["train.learning_rate"]) == (None, None, None)
    assert (base["cell"], base["role"], base["quality"]) == ("sft-base", "base", 0.03)


def test_the_csv_reads_back_and_is_empty_where_not_measured(tmp_path: Path) -> None:
    group = group_of(tmp_path, record("aaa"), failed("bbb", "full"))
    rows = list(csv.DictReader(io.StringIO(comparison.to_csv([group]))))
    assert [(row["cell"], row["quality"], row["tokens_per_second"]) for row in rows] == [
        ("sft-lora", "0.9", ""),
        ("sft-full", "", ""),
    ]
    assert comparison.to_csv([]) == "cell\n"


def test_measures_of_generated_answers_stand_beside_a_loss_where_they_were_recorded(tmp_path: Path) -> None:
    loss = {"quality": 1.2, "quality_name": "loss", "quality_unit": None, "quality_higher_is_better": False}
    generated = {"chrf": 41.234, "rougeL": 0.3333, "rouge1": 0.4}
    table = tables.comparison(
        group_of(tmp_path / "generated", record("aaa", "lora", metrics=generated, **loss))
    )
    assert table.columns[1:4] == ("loss", "rougeL", "chrf")
    assert table.rows[0][1:4] == ("1.2", "0.3333", "41.23")
    table = tables.comparison(group_of(tmp_path / "not", record("aaa", "lora", metrics={}, **loss)))
    assert not {"rougeL", "chrf", "exact match"} & set(table.columns)
