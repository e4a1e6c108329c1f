"""Intervals and tests against published or hand-worked numbers, and how two trials are judged by them."""

from pathlib import Path

import pytest
from reports_example import record, write_run, write_scores

from reports.difference import difference
from reports.uncertainty import mcnemar, newcombe, paired_bootstrap, wilson
from trainables import results
from trainables.results import Run


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


def test_mcnemar_is_the_exact_binomial_test() -> None:
    assert mcnemar(10, 2) == pytest.approx(2 * (1 + 12 + 66) / 4096)
    assert mcnemar(0, 6) == pytest.approx(2 / 64)
    assert mcnemar(3, 3) == 1.0
    assert mcnemar(0, 0) == 1.0


def test_bootstrap_finds_a_steady_difference_and_not_a_balanced_one() -> None:
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
    return results.read(write_run(tmp_path / "run", records))


def test_proportions_are_judged_by_their_intervals(pair: Run) -> None:
    verdict = difference(pair, pair.records[0], pair, pair.records[1])
    assert (verdict.settled, verdict.how) == (False, "two standard errors of 20 test rows")
    many = [one.model_copy(update={"test_rows": 2000}) for one in pair.records]
    assert difference(pair, many[0], pair, many[1]).settled is True


def test_scores_by_row_take_the_place_of_proportions(pair: Run) -> None:
    write_scores(pair.folder, "aaa", [1.0] * 18 + [0.0] * 2)
    write_scores(pair.folder, "bbb", [1.0] * 16 + [0.0] * 4)
    verdict = difference(pair, pair.records[0], pair, pair.records[1])
    assert (verdict.settled, verdict.how) == (False, "McNemar's exact test on 20 rows, p = 0.5")


def test_scores_that_do_not_average_to_the_quality_say_nothing(pair: Run) -> None:
    write_scores(pair.folder, "aaa", [0.1] * 20)
    write_scores(pair.folder, "bbb", [0.2] * 20)
    assert "test rows" in difference(pair, pair.records[0], pair, pair.records[1]).how


def test_losses_are_judged_by_paired_bootstrap_or_not_at_all(tmp_path: Path) -> None:
    loss = {"quality_unit": None, "quality_name": "loss", "quality_higher_is_better": False}
    records = [record("aaa", "full", quality=1.0, **loss), record("bbb", "lora", quality=1.2, **loss)]
    run = results.read(write_run(tmp_path / "run", records))
    assert difference(run, records[0], run, records[1]).settled is None
    write_scores(run.folder, "aaa", [0.5, 1.5] * 20)
    write_scores(run.folder, "bbb", [0.7, 1.7] * 20)
    assert difference(run, records[0], run, records[1]).settled is True
