"""Intervals and tests against published or hand-worked numbers, and how they compare two trials."""

from math import erf
from pathlib import Path

import numpy as np
import pytest

from reports.analysis import uncertainty
from reports.analysis.comparison import compare
from reports.analysis.difference import difference
from reports.analysis.row_scores import row_scores
from reports.analysis.uncertainty import auc_interval, mcnemar, newcombe, paired_bootstrap, wilson
from sweeps.evaluation import significance
from tests.helpers.run_folders import record, write_run, write_scores
from tests.helpers.small_runs import make_run
from trainables import results
from trainables.auc import auc
from trainables.results import Record, Run


def test_wilson_gives_newcombes_published_interval() -> None:
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)


def test_wilson_is_not_empty_at_all_right_and_all_wrong() -> None:
    assert wilson(1.0, 29) == pytest.approx((0.8830, 1.0), abs=5e-5)
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_wilson_of_no_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        wilson(0.5, 0)


def test_newcombe_gives_the_published_interval_of_a_difference() -> None:
    assert newcombe(56 / 70, 70, 48 / 80, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_the_interval_of_an_auc_contains_the_truth_nineteen_times_of_twenty() -> None:
    """Normal scores a distance d apart have an area of Phi(d / sqrt 2)."""
    dice = np.random.default_rng(0)
    for apart, rows in ((3.0, 16), (2.3, 64), (1.0, 20)):
        truth, held = (1 + erf(apart / 2)) / 2, 0
        for _ in range(400):
            good, bad = dice.normal(apart, 1, rows), dice.normal(0, 1, rows)
            low, high = auc_interval(auc(good, bad), rows, rows)
            held += low <= truth <= high
        assert 0.93 < held / 400 < 0.99


def test_the_interval_of_an_auc_is_not_empty_at_0_and_1_and_is_symmetric() -> None:
    low, high = auc_interval(1.0, 20, 30)
    assert (0.8 < low < 1, high) == (True, 1)
    assert auc_interval(0.0, 20, 30) == pytest.approx((0, 1 - low))
    low, high = auc_interval(0.9, 10, 30)
    assert auc_interval(0.1, 30, 10) == pytest.approx((1 - high, 1 - low))
    with pytest.raises(ValueError, match="good and bad answers, got 0 and 3"):
        auc_interval(0.5, 0, 3)


def test_mcnemar_is_the_exact_binomial_test() -> None:
    assert mcnemar(10, 2) == pytest.approx(2 * (1 + 12 + 66) / 4096)
    assert mcnemar(0, 6) == pytest.approx(2 / 64)
    assert mcnemar(3, 3) == 1.0
    assert mcnemar(0, 0) == 1.0


def test_bootstrap_detects_a_steady_difference_and_not_a_balanced_one() -> None:
    low, high = paired_bootstrap([0.2, 0.3, 0.25, 0.28, 0.22] * 10)
    assert 0.2 < low < 0.25 < high < 0.3
    low, high = paired_bootstrap([1.0, -1.0] * 20)
    assert low < 0 < high


def test_bootstrap_of_the_same_rows_repeats() -> None:
    assert paired_bootstrap([0.1, -0.3, 0.7]) == paired_bootstrap([0.1, -0.3, 0.7])


@pytest.fixture
def pair(tmp_path: Path) -> Run:
    """Two trials of 90 % and 80 % over 20 rows: too few to tell them apart by their proportions."""
    few = {"test_rows": 20}
    records = [record("aaa", "full", quality=0.9, **few), record("bbb", "lora", quality=0.8, **few)]
    return results.read_run(write_run(tmp_path / "run", records))


def test_proportions_are_compared_by_their_intervals(pair: Run) -> None:
    verdict = difference(pair, pair.records[0], pair, pair.records[1])
    assert (verdict.settled, verdict.basis) == (False, "Newcombe's 95 % interval on 20 test rows")
    many = [one.model_copy(update={"test_rows": 2000}) for one in pair.records]
    assert difference(pair, many[0], pair, many[1]).settled is True


def test_scores_by_row_are_used_instead_of_proportions(pair: Run) -> None:
    write_scores(pair.folder, "aaa", [1.0] * 18 + [0.0] * 2)
    write_scores(pair.folder, "bbb", [1.0] * 16 + [0.0] * 4)
    verdict = difference(pair, pair.records[0], pair, pair.records[1])
    assert (verdict.settled, verdict.basis) == (False, "McNemar's exact test on 20 rows, p = 0.5")


def test_scores_that_do_not_average_to_the_quality_are_not_used(pair: Run) -> None:
    write_scores(pair.folder, "aaa", [0.1] * 20)
    write_scores(pair.folder, "bbb", [0.2] * 20)
    assert "test rows" in difference(pair, pair.records[0], pair, pair.records[1]).basis


def test_losses_are_compared_by_paired_bootstrap_or_not_at_all(tmp_path: Path) -> None:
    loss = {"quality_unit": None, "quality_name": "loss", "quality_higher_is_better": False}
    records = [record("aaa", "full", quality=1.0, **loss), record("bbb", "lora", quality=1.2, **loss)]
    run = results.read_run(write_run(tmp_path / "run", records))
    assert difference(run, records[0], run, records[1]).settled is None
    write_scores(run.folder, "aaa", [0.5, 1.5] * 20)
    write_scores(run.folder, "bbb", [0.7, 1.7] * 20)
    assert difference(run, records[0], run, records[1]).settled is True


def test_measures_per_byte_or_token_are_compared_by_weighted_means(tmp_path: Path) -> None:
    """Short texts cost far more bits a byte than long ones: their plain mean is another number."""
    bits = {
        "quality_unit": "bits per byte",
        "quality_name": "bits_per_byte",
        "quality_higher_is_better": False,
    }
    sizes = [2.0, 98.0] * 20
    one, other = [3.0, 1.0] * 20, [3.2, 1.1] * 20
    records = [
        record("aaa", "full", quality=(2 * 3.0 + 98 * 1.0) / 100, **bits),
        record("bbb", "lora", quality=(2 * 3.2 + 98 * 1.1) / 100, **bits),
    ]
    run = results.read_run(write_run(tmp_path / "run", records))
    write_scores(run.folder, "aaa", one, weight=sizes)
    write_scores(run.folder, "bbb", other, weight=sizes)
    verdict = difference(run, records[0], run, records[1])
    assert (verdict.settled, verdict.basis) == (True, "paired bootstrap over 40 rows")
    full = next(row for row in compare([run])[0].rows if row.name == "full")
    low, high = full.interval or (0.0, 0.0)
    assert low < (full.quality or 0.0) < high


def test_test_losses_of_real_trials_are_compared_row_by_row(tmp_path: Path, tiny_model: Path) -> None:
    run = results.read_run(make_run(tmp_path, tiny_model, ("full", "lora")))
    for one in run.records:
        rows = row_scores(run, one)
        assert one.quality_name == "loss"
        assert rows is not None
        assert rows.quality_of(np.ones(len(rows.keys), int)) == pytest.approx(one.quality, rel=1e-9)
    assert difference(run, run.records[0], run, run.records[1]).basis == "paired bootstrap over 7 rows"


def ranked(tmp_path: Path, rows: int, mistakes: int, asked: str = "on") -> tuple[Run, list[Record]]:
    """Two trials judged by AUC over pairs; the second has so many in the wrong order, the first none."""
    auc = {"quality_unit": "", "quality_name": "auc"}
    good, bad = [1.0] * rows, [0.0] * rows
    worse = [-1.0] * mistakes + [1.0] * (rows - mistakes)
    records = [
        record("aaa", "full", quality=1.0, **auc),
        record("bbb", "lora", quality=1 - mistakes / rows, **auc),
    ]
    run = results.read_run(write_run(tmp_path / "run", records))
    write_scores(run.folder, "aaa", [1.0] * rows, good_worth=good, bad_worth=bad)
    write_scores(run.folder, "bbb", [1.0] * rows, asked, good_worth=worse, bad_worth=bad)
    return run, records


@pytest.mark.parametrize(("mistakes", "settled"), [(12, True), (1, False)])
def test_aucs_are_compared_by_resampling_the_rows_they_rank(
    tmp_path: Path, mistakes: int, settled: bool
) -> None:
    run, records = ranked(tmp_path, 40, mistakes)
    verdict = difference(run, records[0], run, records[1])
    assert (verdict.settled, verdict.basis) == (settled, "paired bootstrap over 40 rows")


def test_a_few_rows_settle_nothing(tmp_path: Path) -> None:
    run, records = ranked(tmp_path, uncertainty.MIN_ROWS - 1, 5)
    verdict = difference(run, records[0], run, records[1])
    assert (verdict.settled, verdict.basis) == (False, "paired bootstrap over 5 rows")
    assert uncertainty.MIN_ROWS == significance.MIN_ROWS


def test_different_rows_are_resampled_separately(tmp_path: Path) -> None:
    run, records = ranked(tmp_path, 40, 12, asked="off")
    verdict = difference(run, records[0], run, records[1])
    assert (verdict.settled, verdict.basis) == (True, "bootstrap over 40 rows and 40 other rows")


def test_scores_that_do_not_give_the_quality_are_not_used(tmp_path: Path) -> None:
    run, records = ranked(tmp_path, 40, 12)
    other = records[1].model_copy(update={"quality": 0.9})
    assert difference(run, records[0], run, other).settled is None
