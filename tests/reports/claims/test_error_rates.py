"""How often a report supports or contradicts a claim that is at the edge of being true, on simulated runs.

``python -m tests.reports.claims.test_error_rates [--runs N]`` prints the tables of `reports/README.md`.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.helpers.simulated_claims import GAP, ClaimTally, tally_claims, tally_forgetting, tally_ratios
from tests.helpers.simulated_runs import World
from tests.helpers.simulated_searches import SearchWorld

GAPS = (0.0, GAP, 0.0)
SHARES = {
    f"shares, {rows} rows": World(rows=rows, gaps=GAPS, seeds=3, seed_spread=0.02, untuned_gap=None)
    for rows in (20, 64, 200, 500)
}
LOSSES = {
    f"{law} losses, {rows} rows": World(
        law, rows=rows, gaps=GAPS, seeds=3, seed_spread=0.03, untuned_gap=None
    )
    for law, rows in (
        ("normal", 20),
        ("lognormal", 20),
        ("heavy-tailed", 20),
        ("mostly zero", 20),
        ("mostly zero", 64),
        ("lognormal", 200),
    )
}
# Searches of two cells' learning rates; the ratio of the best ones is the bound that is claimed.
RATIOS = {
    "8 random rates, ratio 2": (SearchWorld(8, best=2e-3), SearchWorld(8)),
    "8 random rates, ratio 10": (SearchWorld(8, best=3e-3), SearchWorld(8, best=3e-4)),
    "16 random rates, ratio 10": (SearchWorld(16, best=3e-3), SearchWorld(16, best=3e-4)),
    "12 rates, results steer from the fourth on, ratio 2": (
        SearchWorld(12, best=2e-3, steered=True),
        SearchWorld(12, steered=True),
    ),
}
# Where the curves are no parabolas, the ratio of the parabolas' optima is not that of the best rates.
SKEWED = {
    "12 random rates, ratio 3, both fall twice as quickly above": (
        SearchWorld(12, best=1.5e-3, skew=2.0),
        SearchWorld(12, best=5e-4, skew=2.0),
    ),
    "16 random rates, ratio 3, one falls four times as quickly below, the other above": (
        SearchWorld(16, best=1.5e-3, skew=0.25),
        SearchWorld(16, best=5e-4, skew=4.0),
    ),
    "64 rates of hardly any noise and 12 random ones, ratio 3, likewise": (
        SearchWorld(64, best=1.5e-3, noise=0.002, skew=0.25),
        SearchWorld(12, best=5e-4, skew=4.0),
    ),
    "32 random rates of little noise, ratio 1, likewise": (
        SearchWorld(32, noise=0.02, skew=0.25),
        SearchWorld(32, noise=0.02, skew=4.0),
    ),
}
# Of claims that are true: whether trials that a sweep may have are enough to support them.
TRUE = {
    "16 random rates, a ratio of 10 is at least 2": (*RATIOS["16 random rates, ratio 10"], 2.0),
    "16 random rates, a ratio of 10 is at least 5": (*RATIOS["16 random rates, ratio 10"], 5.0),
}
TEXTS = (20, 64, 200, 500)  # of the set that two cells forget
RUNS = 2000


def test_a_claim_at_its_edge_is_seldom_supported_or_contradicted() -> None:
    found = tally_claims(SHARES["shares, 64 rows"], repeats=60)
    assert found.any_supported <= 9
    assert found.any_contradicted <= 9
    for tally in found.by_kind.values():
        assert tally.supported <= 9
        assert tally.covering / tally.intervals > 0.85


def test_a_claim_at_its_edge_about_losses_is_seldom_supported() -> None:
    found = tally_claims(LOSSES["normal losses, 20 rows"], repeats=4)
    assert all(tally.supported <= 2 for tally in found.by_kind.values())


def test_the_interval_of_a_ratio_of_best_rates_holds_the_true_one() -> None:
    found = tally_ratios(*RATIOS["8 random rates, ratio 2"], repeats=40)
    assert found.intervals > 20
    assert found.supported <= 5
    assert found.covering / found.intervals > 0.85


@pytest.mark.parametrize("name", SKEWED)
def test_a_ratio_of_best_rates_of_skewed_curves_is_not_called_larger_than_it_is(name: str) -> None:
    found = tally_ratios(*SKEWED[name], repeats=30)
    assert found.intervals > 20
    # The parabolas alone support 18 to 60 % of such claims.
    assert found.supported <= 2
    assert found.contradicted <= 2
    assert found.covering / found.intervals > 0.9


def test_a_ratio_of_ten_is_shown_to_be_at_least_two() -> None:
    *searches, bound = TRUE["16 random rates, a ratio of 10 is at least 2"]
    found = tally_ratios(*searches, repeats=20, bound=bound)
    assert found.supported >= 10
    assert found.contradicted == 0


def assert_calibrated(tally: ClaimTally) -> None:
    """Asserts of :data:`RUNS` claims at their edge that few come out either way, and of intervals that most hold."""
    assert tally.runs == RUNS
    assert tally.supported <= 0.05 * RUNS
    assert tally.contradicted <= 0.05 * RUNS
    assert tally.covering / tally.intervals >= 0.93


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", SHARES)
def test_of_thousands_of_claims_at_their_edge_one_in_twenty_is_supported_at_most(name: str) -> None:
    found = tally_claims(SHARES[name], RUNS)
    assert found.any_supported <= 0.05 * RUNS
    assert found.any_contradicted <= 0.05 * RUNS
    for tally in found.by_kind.values():
        assert_calibrated(tally)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", LOSSES)
def test_of_thousands_of_claims_about_losses_few_are_supported(name: str) -> None:
    found = tally_claims(LOSSES[name], RUNS)
    for tally in found.by_kind.values():
        assert_calibrated(tally)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", RATIOS | SKEWED)
def test_of_thousands_of_ratios_of_best_rates_few_are_called_larger(name: str) -> None:
    found = tally_ratios(*(RATIOS | SKEWED)[name], RUNS)
    assert_calibrated(found)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("texts", TEXTS)
def test_of_thousands_of_cells_that_forget_alike_few_are_told_apart(texts: int) -> None:
    found = tally_forgetting(texts, RUNS)
    assert_calibrated(found)


def _shares(tally: ClaimTally) -> list[str]:
    coverage = "–" if tally.coverage is None else f"{tally.coverage:.3f}"
    return [f"{tally.supported / tally.runs:.3f}", f"{tally.contradicted / tally.runs:.3f}", coverage]


def _print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="simulated runs of each row")
    runs = parser.parse_args().runs
    with ProcessPoolExecutor() as pool:
        claims = {name: pool.submit(tally_claims, world, runs) for name, world in (SHARES | LOSSES).items()}
        forgetting = {texts: pool.submit(tally_forgetting, texts, runs) for texts in TEXTS}
        ratios = {name: pool.submit(tally_ratios, *pair, runs) for name, pair in (RATIOS | SKEWED).items()}
        true = {
            name: pool.submit(tally_ratios, *pair, runs, bound=bound) for name, (*pair, bound) in TRUE.items()
        }
        kinds = [*next(iter(claims.values())).result().by_kind]
        _print_row("run", "runs", *kinds, "any", "contradicted: at most", "any", "coverage: at least")
        for name, made in claims.items():
            found = made.result()
            tallies = found.by_kind.values()
            _print_row(
                name,
                str(found.runs),
                *(f"{each.supported / each.runs:.3f}" for each in tallies),
                f"{found.any_supported / found.runs:.3f}",
                f"{max(each.contradicted / each.runs for each in tallies):.3f}",
                f"{found.any_contradicted / found.runs:.3f}",
                f"{min(each.covering / each.intervals for each in tallies):.3f}",
            )
        _print_row("texts", "runs", "supported", "contradicted", "coverage")
        for texts, of_texts in forgetting.items():
            _print_row(str(texts), str(of_texts.result().runs), *_shares(of_texts.result()))
        _print_row("searches", "claims", "answered", "supported", "contradicted", "coverage")
        for name, of_ratios in (ratios | true).items():
            tally = of_ratios.result()
            _print_row(name, str(tally.runs), f"{tally.intervals / tally.runs:.3f}", *_shares(tally))


if __name__ == "__main__":
    main()
