"""How often the report says what is not so, on simulated runs whose truth is known.

The fast tests write run folders and repeat few times, so their bounds are wide; the slow ones repeat a thousand times
without folders, with the bounds that `reports/README.md` states. ``python -m tests.reports.test_calibration REPEATS``
prints the tables there, ``rates REPEATS`` that of learning-rate curves alone, ``runs REPEATS WORDS`` that of the runs
whose names have these words.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.simulated_runs import Tally, World, tally
from tests.helpers.simulated_searches import SearchTally, SearchWorld, tally_searches

MARGIN = {"report": {"margin": 0.05}}
# By name, in the order of the table. Losses' gaps are shares of the mean loss.
EQUALS = {
    "4 equal, 64 rows": World(),
    "4 equal, 200 rows": World(rows=200),
    "12 equal, 200 rows": World(rows=200, gaps=(0.0,) * 12),
    "4 equal, 1000 rows, 3 seeds that spread by 2 points": World(rows=1000, seeds=3, seed_spread=0.02),
    "4 equal, 64 rows, 3 seeds that spread by 2 points": World(seeds=3, seed_spread=0.02),
    "4 equal, 200 rows of 50 prompts": World(rows=200, prompts=50),
    "3 equal, normal losses, 64 rows": World("normal", gaps=(0.0,) * 3),
    "3 equal, lognormal losses, 64 rows": World("lognormal", gaps=(0.0,) * 3),
    "3 equal, losses mostly 0, 64 rows": World("mostly zero", gaps=(0.0,) * 3),
    "3 equal, losses mostly 0, 200 rows": World("mostly zero", rows=200, gaps=(0.0,) * 3),
    "3 equal, lognormal losses, 64 rows, 3 seeds that spread by 3 %": World(
        "lognormal", gaps=(0.0,) * 3, seeds=3, seed_spread=0.03
    ),
    "3 equal, rewards, 64 rows": World("reward", gaps=(0.0,) * 3),
    "3 equal, AUC, 100 rows": World("auc", rows=100, gaps=(0.0,) * 3, untuned_gap=0.25),
}
# A method may spread more than others, which a variance pooled over all of them doesn't know.
UNEVEN = {
    "4 equal, 1000 rows, 3 seeds that spread by 6 points in one cell and not in the others": World(
        rows=1000, seeds=3, seed_spreads=(0.06, 0.0, 0.0, 0.0)
    ),
    "2 equal, 1000 rows, 3 seeds that spread by 6 points in one cell and not in the other": World(
        rows=1000, gaps=(0.0,) * 2, seeds=3, seed_spreads=(0.06, 0.0)
    ),
}
# Differences that are to be found.
UNEQUAL = {
    f"one of {cells} worse by 8 points, 1000 rows, 3 seeds that spread by 2 points": World(
        rows=1000, gaps=(0.0,) * (cells - 1) + (0.08,), seeds=3, seed_spread=0.02
    )
    for cells in (2, 4)
}
# The share of them that is found in 1,000 runs (reports/README.md), less three standard errors of 300 runs.
FOUND = dict(zip(UNEQUAL, (0.63, 0.43), strict=True))
WORSE = {
    "one of 2 worse by the margin of 5 points, 200 rows": World(
        rows=200, gaps=(0.0, 0.05), environment=MARGIN
    ),
    "the same, 3 seeds that spread by 2 points": World(
        rows=200, gaps=(0.0, 0.05), seeds=3, seed_spread=0.02, environment=MARGIN
    ),
    "3 of 4 worse by the margin of 5 points, 200 rows": World(
        rows=200, gaps=(0.0, 0.05, 0.05, 0.05), environment=MARGIN
    ),
    "one of 2 worse by the margin of 5 %, normal losses, 200 rows, 3 seeds that spread by 2 %": World(
        "normal", rows=200, gaps=(0.0, 0.05), seeds=3, seed_spread=0.02, environment=MARGIN
    ),
    "one of 2 worse by the margin of 0.05, rewards, 200 rows": World(
        "reward", rows=200, gaps=(0.0, 0.05), environment=MARGIN
    ),
}
# Whether the searched training, the best of several by the validation rows, may be one of the seeds.
_SIX_TRIALS = World(rows=1000, seeds=3, seed_spread=0.02, search_trials=(6,) * 4)
_UNEQUAL = replace(_SIX_TRIALS, search_trials=(12, 6, 3, 1))
SEARCHED = {
    f"{kind}, {counted}": replace(world, seeds=seeds, searched_counts=counts)
    for kind, world in (
        ("4 equal, 1000 rows, 6 trials each", _SIX_TRIALS),
        ("4 equal, 1000 rows, 12, 6, 3 and 1 trials", _UNEQUAL),
    )
    for counted, seeds, counts in (
        ("3 finalists", 3, False),
        ("3 finalists and the searched", 3, True),
        ("4 finalists", 4, False),
    )
}
APART = [name for name in SEARCHED if name.endswith(", 3 finalists")]
# Learning-rate curves: parabolas, whose errors are a sixth or a third of what is lost in a decade; and others.
_LARGE_ERRORS = 0.1
CURVES = {
    "5 random rates": SearchWorld(5),
    "6 random rates": SearchWorld(6),
    "6 random rates, twice the error": SearchWorld(6, noise=_LARGE_ERRORS),
    "6 random rates, the best near the high end": SearchWorld(6, best=4e-3),
    "8 random rates": SearchWorld(8),
    "12 random rates, twice the error": SearchWorld(12, noise=_LARGE_ERRORS),
    "16 random rates, the best near the high end": SearchWorld(16, best=4e-3),
    "6 rates, results steer from the fourth on": SearchWorld(6, best=2e-3, steered=True),
    "12 rates, results steer from the fourth on": SearchWorld(12, best=2e-3, steered=True),
    "16 rates, results steer from the fourth on": SearchWorld(16, best=2e-3, steered=True),
}
# Most trials stop at the first rung: the curve goes through the values of all there, or from five on through the ends.
RUNGS = {
    "8 random rates, 1 to the end": SearchWorld(8, kept=1),
    "8 random rates, 3 to the end": SearchWorld(8, kept=3),
    "8 random rates, 1 to the end, twice the error": SearchWorld(8, kept=1, noise=_LARGE_ERRORS),
    "12 rates, results steer from the fourth on, 2 to the end": SearchWorld(
        12, best=2e-3, steered=True, kept=2
    ),
    "16 random rates, 6 to the end": SearchWorld(16, kept=6),
    "16 random rates, 6 to the end, errors correlate by 0.8": SearchWorld(16, kept=6, shared=0.8),
    "27 random rates, 9 to the end, errors correlate by 0.8": SearchWorld(27, kept=9, shared=0.8),
}
MOVING = {
    f"8 random rates, 1 to the end, where the best is {share} of that at the rung": SearchWorld(
        8, best=best, best_at_rung=2e-3, kept=1
    )
    for share, best in (("two thirds", 4e-3 / 3), ("half", 1e-3), ("a third", 2e-3 / 3))
}
NO_PARABOLAS = {
    f"{trials} random rates, the objective falls {words} as quickly above the best": SearchWorld(
        trials, best=2e-3, skew=skew
    )
    for trials, words, skew in (
        (6, "twice", 2.0),
        (12, "twice", 2.0),
        (24, "twice", 2.0),
        (12, "four times", 4.0),
        (12, "a quarter", 0.25),
    )
}
FIRST_RUNG = [name for name, world in (RUNGS | MOVING).items() if world.kept is not None and world.kept < 5]
FAST = (
    "4 equal, 64 rows",
    "4 equal, 64 rows, 3 seeds that spread by 2 points",
    "3 equal, losses mostly 0, 64 rows",
)


@pytest.mark.parametrize("name", FAST)
def test_equal_cells_are_seldom_called_better_or_worse(name: str, tmp_path: Path) -> None:
    found = tally(EQUALS[name], repeats=30, folder=tmp_path)
    assert found.false_verdicts <= 5
    assert found.differences_covering / found.differences > 0.88


def test_a_cell_that_is_worse_by_the_margin_is_seldom_called_as_good(tmp_path: Path) -> None:
    found = tally(WORSE["one of 2 worse by the margin of 5 points, 200 rows"], repeats=30, folder=tmp_path)
    assert found.called_as_good <= 5
    assert found.reversed_verdicts == 0


@pytest.mark.parametrize("world", [World(seeds=3, seed_spread=0.02), World("auc", gaps=(0.0, 0.1))])
def test_what_is_counted_without_run_folders_is_what_is_counted_with_them(
    world: World, tmp_path: Path
) -> None:
    without, found = tally(world, repeats=4).shares(), tally(world, repeats=4, folder=tmp_path).shares()
    assert found == pytest.approx(without)


def test_the_best_of_several_is_flattered_and_the_correction_takes_that_back(tmp_path: Path) -> None:
    found = tally(EQUALS["4 equal, 64 rows"], repeats=30, folder=tmp_path).shares()
    assert found["best's figure above its truth"] > 0.02  # type: ignore[operator]
    assert abs(found["the same after correction"]) < 0.025  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", [*EQUALS, *UNEVEN, *APART])
def test_of_a_thousand_reports_on_equal_cells_few_call_any_worse(name: str) -> None:
    found = tally((EQUALS | UNEVEN | SEARCHED)[name], repeats=1000)
    assert found.false_verdicts <= 60
    assert_intervals_cover(found)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", WORSE)
def test_of_a_thousand_reports_few_call_a_worse_cell_as_good(name: str) -> None:
    found = tally(WORSE[name], repeats=1000)
    assert found.called_as_good / found.worse_cells <= 0.06
    assert found.reversed_verdicts == 0
    assert_intervals_cover(found)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", UNEQUAL)
def test_most_reports_find_a_large_difference(name: str) -> None:
    found = tally(UNEQUAL[name], repeats=300)
    assert found.unequal_settled / found.unequal_pairs > FOUND[name]
    assert found.reversed_verdicts == 0
    assert_intervals_cover(found)


def assert_intervals_cover(found: Tally) -> None:
    assert found.differences_covering / found.differences >= 0.93
    assert found.covering / found.intervals >= 0.93
    assert found.best_covering / found.best_intervals >= 0.93
    assert found.front_covering / found.front_intervals >= 0.93


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_searched_training_that_counted_as_a_seed_would_flatter_its_cell() -> None:
    apart, counted = (
        tally(SEARCHED[f"4 equal, 1000 rows, 6 trials each, {how}"], repeats=200).shares()
        for how in ("3 finalists", "3 finalists and the searched")
    )
    assert abs(apart["figures above their truth"] or 0.0) < 0.002
    assert (counted["figures above their truth"] or 0.0) > 0.003


@pytest.mark.parametrize(
    "name",
    [
        "6 random rates",
        "12 rates, results steer from the fourth on",
        "12 random rates, the objective falls twice as quickly above the best",
    ],
)
def test_the_interval_of_a_curves_optimum_holds_the_best_rate(name: str) -> None:
    found = tally_searches((CURVES | NO_PARABOLAS)[name], repeats=100)
    assert found.named > 50
    assert found.named_covering / found.named > 0.9
    assert found.covering / found.intervals > 0.9


@pytest.mark.parametrize("name", FIRST_RUNG)
def test_the_optimum_at_the_first_rung_has_no_interval_as_it_may_move_until_the_end(name: str) -> None:
    found = tally_searches((RUNGS | MOVING)[name], repeats=5)
    assert (found.runs, found.intervals, found.named) == (5, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*CURVES, *RUNGS, *NO_PARABOLAS} - {*FIRST_RUNG}))
def test_of_a_thousand_intervals_of_a_curves_optimum_few_miss_the_best_rate(name: str) -> None:
    found = tally_searches((CURVES | RUNGS | NO_PARABOLAS)[name], repeats=1000)
    assert found.named_covering / found.named >= 0.93
    assert found.covering / found.intervals >= 0.93


def _line(name: str, shares: dict[str, float | None]) -> str:
    cells = ["–" if value is None else f"{value:.3f}" for value in shares.values()]
    return f"| {name} | {' | '.join(cells)} |"


def _print_heading(kind: str, shares: dict[str, float | None]) -> None:
    print(f"| {kind} | {' | '.join(shares)} |\n|---|{'---:|' * len(shares)}", flush=True)


def _print_runs(repeats: int, words: str = "") -> None:
    """The calibration table as Markdown, a line as soon as it is known."""
    _print_heading("world", Tally().shares())
    for name, world in (EQUALS | UNEVEN | UNEQUAL | WORSE | SEARCHED).items():
        if words in name:
            print(_line(name, tally(world, repeats).shares()), flush=True)


def _print_curves(repeats: int) -> None:
    _print_heading("search", SearchTally().shares())
    for name, world in (CURVES | RUNGS | NO_PARABOLAS | MOVING).items():
        print(_line(name, tally_searches(world, repeats).shares()), flush=True)


if __name__ == "__main__":
    kind, *more = sys.argv[1:] if len(sys.argv) > 2 else ("all", sys.argv[1])
    if kind != "rates":
        _print_runs(int(more[0]), *more[1:])
    if kind != "runs":
        _print_curves(int(more[0]))
