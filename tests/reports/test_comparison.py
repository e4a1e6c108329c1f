"""The comparison of a run's cells against examples worked by hand."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.analysis import cell_table
from reports.analysis.cells import collect_cells
from reports.analysis.comparison import compare
from reports.analysis.group import Group
from reports.pages import tables
from tests.helpers.run_folders import MIB, failed, record, write_run, write_scores
from tests.helpers.simulated_runs import World, simulate
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


def test_shares_are_of_what_training_gained_and_of_the_largest_peak(tmp_path: Path) -> None:
    full = record("aaa", "full", quality=0.8, peak_train_bytes=2000 * MIB)
    lora = record("bbb", "lora", quality=0.6, peak_train_bytes=500 * MIB)
    group = group_of(tmp_path, lora, full, record("ccc", "base", quality=0.2))
    shares = {row.name: (group.share_of_gain(row), row.share_of_largest_peak) for row in group.all_rows}
    assert shares == {"full": (1.0, 1.0), "lora": (pytest.approx(2 / 3), 0.25), "base": (None, None)}


def test_where_lower_is_better_the_lowest_comes_first_and_gains_are_what_it_fell_by(tmp_path: Path) -> None:
    """A loss of 0.002 beside the best's 0.001 is twice as much, and keeps nearly all of what training gained."""
    loss = {"quality_name": "loss", "quality_unit": None, "quality_higher_is_better": False}
    group = group_with_scores(
        tmp_path,
        record("aaa", "full", quality=0.001, peak_train_bytes=2000 * MIB, **loss),
        record("bbb", "lora", quality=0.002, peak_train_bytes=500 * MIB, **loss),
        record("ccc", "freeze", quality=2.0, peak_train_bytes=600 * MIB, **loss),
        record("ddd", "base", quality=4.001, **loss),
    )
    assert [(row.name, group.share_of_gain(row)) for row in group.rows] == [
        ("full", 1.0),
        ("lora", pytest.approx(0.99975)),
        ("freeze", pytest.approx(2.001 / 4)),
    ]
    assert [row.name for row in group.rows if row.on_front] == ["full", "lora"]


def group_with_scores(tmp_path: Path, *trials: Record) -> Group:
    """Trials whose every test row has about the trial's quality as its score."""
    run = write_run(tmp_path / "run", list(trials))
    for one in trials:
        assert one.quality is not None
        write_scores(run, one.trial_id, [one.quality * factor for factor in (0.9, 1.0, 1.1)] * 20)
    (group,) = compare([results.read_run(run)])
    return group


def test_no_share_is_given_where_the_gain_itself_is_not_settled(tmp_path: Path) -> None:
    group = group_of(
        tmp_path,
        record("aaa", "full", quality=0.52),
        record("bbb", quality=0.5),
        record("c", "base", quality=0.5),
    )
    assert [group.share_of_gain(row) for row in group.rows] == [None, None]


def test_a_pair_accuracy_has_gained_what_it_has_above_one_half(tmp_path: Path) -> None:
    pairs = {"quality_name": "pair_accuracy"}
    group = group_of(
        tmp_path, record("aaa", "full", quality=0.9, **pairs), record("bbb", quality=0.7, **pairs)
    )
    assert [group.share_of_gain(row) for row in group.rows] == [1.0, pytest.approx(0.5)]


def test_a_reward_without_an_untuned_model_has_no_share_and_no_margin(tmp_path: Path) -> None:
    reward = {"quality_name": "reward", "quality_unit": None}
    group = group_of(
        tmp_path, record("aaa", "full", quality=-1.0, **reward), record("bbb", quality=-2.0, **reward)
    )
    assert ([group.share_of_gain(row) for row in group.rows], group.margin) == ([None, None], None)


def test_the_margin_is_what_the_spec_states_or_two_points_or_2_percent_of_the_gain(tmp_path: Path) -> None:
    loss = {"quality_name": "loss", "quality_unit": None, "quality_higher_is_better": False}
    trials = [record("aaa", quality=1.0, **loss), record("bbb", "base", quality=3.0, **loss)]
    assert group_of(tmp_path, *trials).margin == pytest.approx(0.04)
    assert group_of(tmp_path / "shares", record("aaa")).margin == 0.02
    stated = write_run(tmp_path / "stated", trials, report={"margin": 0.5})
    (group,) = compare([results.read_run(stated)])
    assert group.margin == 0.5


@pytest.mark.parametrize(("column", "noun"), [(None, "prompts"), ("book", "groups")])
def test_rows_that_the_split_keeps_together_count_as_one(
    tmp_path: Path, column: str | None, noun: str
) -> None:
    """Though their prompts differ, as those of one question under two system prompts, or of one book."""
    given = {"config": {"data": {"group": column}}, "quality": 0.5}
    run = write_run(tmp_path / "run", [record(name, name, **given) for name in ("full", "lora")])
    columns = {
        "prompt": [f"prompt {row}" for row in range(80)],
        "group": [f"{row // 4:016x}" for row in range(80)],
    }
    write_scores(run, "full", [1.0, 1.0, 0.0, 0.0] * 20, **columns)
    write_scores(run, "lora", [0.0, 0.0, 1.0, 1.0] * 20, **columns)
    (group,) = compare([results.read_run(run)])
    estimate = group.rows[0].cell.estimate
    assert estimate is not None
    assert (estimate.rows, estimate.clusters) == (80, 20)
    comparison = group.verdict(*group.rows).comparison
    assert comparison is not None
    assert comparison.basis == f"sign flips on 80 rows of 20 {noun}"


def test_finalists_give_a_cell_the_mean_of_their_qualities(tmp_path: Path) -> None:
    """The searched trial was chosen from several, so its own figure is not one of them."""
    group = group_of(
        tmp_path,
        record("aaa", quality=0.99),
        record("bbb", quality=0.9, role="finalist", seed=1),
        record("ccc", quality=0.8, role="finalist", seed=2),
        record("ddd", quality=0.1, role="finalist", seed=3, config={"train": {"learning_rate": 1.0}}),
        record("eee", quality=0.1, role="finalist", seed=4, status="failed"),
    )
    (row,) = group.rows
    assert (row.quality, row.seeds, row.best and row.best.trial_id) == (pytest.approx(0.85), 2, "aaa")


def test_cells_of_finalists_are_judged_over_rows_and_seeds(tmp_path: Path) -> None:
    trials = [record("aaa", "full"), record("bbb", "lora")]
    for seed in (1, 2, 3):
        trials += [
            record(f"full{seed}", "full", quality=0.9, role="finalist", seed=seed),
            record(f"lora{seed}", quality=0.73 + 0.01 * seed, role="finalist", seed=seed),
        ]
    run = write_run(tmp_path / "run", trials)
    for one in trials:
        right = round((one.quality or 0) * 100)
        write_scores(run, one.trial_id, [1.0] * right + [0.0] * (100 - right))
    (group,) = compare([results.read_run(run)])
    full, lora = group.rows
    assert group.seed_variance is not None
    assert (group.seed_variance.value, group.seed_variance.degrees) == (pytest.approx(0.01**2 / 2), 2)
    verdict = group.verdict(lora, full)
    assert verdict.comparison is not None
    assert verdict.comparison.difference == pytest.approx(-0.15)
    assert verdict.comparison.basis == "sign flips on 100 rows, 3 seeds"
    assert verdict.outcome == "worse"


def test_a_cell_whose_trials_all_failed_is_still_a_row_and_comes_last(tmp_path: Path) -> None:
    group = group_of(
        tmp_path, failed("aaa", "full"), failed("bbb", "full", "out_of_memory"), record("ccc", quality=0.1)
    )
    last = group.rows[-1]
    assert (last.name, last.best, last.quality, group.share_of_gain(last)) == ("full", None, None, None)
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


def test_the_table_holds_plain_values_with_units_in_the_names(tmp_path: Path) -> None:
    trials = [record("aaa", config=config(1e-3, 8)), record("bbb", config=config(2e-3, 8), objective=0.1)]
    trials[0] = trials[0].model_copy(update={"trainable_params": 20, "total_params": 1000})
    run = results.read_run(
        write_run(tmp_path / "run", [*trials, record("ccc", "base", quality=0.03), failed("ddd", "full")])
    )
    lora, full, base = cell_table.table(run)
    assert lora["peak_train_bytes"] == 1000 * MIB
    assert lora["trainable_share"] == 0.02
    assert lora["train.learning_rate"] == 1e-3
    assert (lora["trials_done"], full["trials_failed"]) == (2, 1)
    assert (full["quality"], full["peak_train_bytes"], full["train.learning_rate"]) == (None, None, None)
    assert (base["cell"], base["role"], base["quality"]) == ("sft-base", "base", 0.03)


def test_the_csv_reads_back_and_is_empty_where_not_measured(tmp_path: Path) -> None:
    group = group_of(tmp_path, record("aaa"), failed("bbb", "full"))
    rows = list(csv.DictReader(io.StringIO(cell_table.to_csv([group]))))
    assert [(row["cell"], row["quality"], row["tokens_per_second"]) for row in rows] == [
        ("sft-lora", "0.9", ""),
        ("sft-full", "", ""),
    ]
    assert cell_table.to_csv([]) == "cell\n"


def test_measures_of_generated_answers_stand_beside_a_loss_where_they_were_recorded(tmp_path: Path) -> None:
    loss = {"quality": 1.2, "quality_name": "loss", "quality_unit": None, "quality_higher_is_better": False}
    generated = {"chrf": 41.234, "rougeL": 0.3333, "rouge1": 0.4}
    table = tables.quality_details(
        group_of(tmp_path / "generated", record("aaa", "lora", metrics=generated, **loss))
    )
    assert table.columns[1:3] == ("rougeL", "chrf")
    assert table.rows[0][1:3] == ("0.3333", "41.23")
    assert tables.has_other_measures(table)
    table = tables.quality_details(group_of(tmp_path / "not", record("aaa", "lora", metrics={}, **loss)))
    assert not tables.has_other_measures(table)


def test_what_decides_leads_the_table_and_the_csv(tmp_path: Path) -> None:
    loss = {"quality_name": "loss", "quality_unit": "nats per token", "quality_higher_is_better": False}
    group = group_of(
        tmp_path,
        record("aaa", "full", quality=1.331, train_seconds=71.0, **loss),
        record("bbb", "lora", quality=1.5, peak_train_bytes=500 * MIB, train_seconds=32.0, **loss),
        failed("ccc", "freeze"),
        record("ddd", "base", quality=2.871, **loss),
    )
    table = tables.comparison(group)
    assert table.columns == (
        "cell", "answer", "loss (nats per token)", "peak memory", "training time", "best settings", "trials",
    )  # fmt: skip
    assert [row[:5] for row in table.rows] == [
        ("full", "use this", "1.331", "0.98 GiB", "1 min 11 s"),
        ("lora", "if memory is short", "1.5", "0.49 GiB", "32 s"),
        ("freeze", "no result", "–", "–", "–"),
        ("untuned", "", "2.871", "–", "–"),
    ]
    (first, *_) = csv.DictReader(io.StringIO(cell_table.to_csv([group])))
    assert list(first)[:8] == [
        "cell", "run", "answer", "quality", "quality_low", "quality_high", "peak_bytes", "train_seconds",
    ]  # fmt: skip


def test_the_untuned_model_is_the_answer_where_no_cell_beats_it(tmp_path: Path) -> None:
    trials = (record("aaa", quality=0.4), failed("bbb", "full"), record("ccc", "base", quality=0.6))
    answers = [row[1] for row in tables.comparison(group_of(tmp_path, *trials)).rows]
    assert answers == ["no better than untuned", "no result", "use this"]


def test_the_interval_of_a_loss_has_no_part_below_0(tmp_path: Path) -> None:
    world = World(law="mostly zero", rows=64, gaps=(0.0, 0.5), seeds=2, seed_spread=0.03, untuned_gap=None)
    group, _ = simulate(world, tmp_path / "run", np.random.default_rng(1))
    ends = [interval for row in group.rows if (interval := group.interval(row)) is not None]
    assert ends
    assert all(0 <= low < high for low, high in ends)
