"""How often a report says what is not so, where a run is settled and looked at again and again.

``python -m tests.reports.test_looking_again REPEATS`` prints the table in `reports/README.md`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from reports.analysis.group import Group
from reports.statistics.looks import level
from tests.helpers.settled_runs import SettledRun
from tests.helpers.simulated_runs import World

LOOKS = 5
MARGIN = {"report": {"margin": 0.05}}
HELD_OUT, MINUTES = 800, 20
WORLDS = {
    "4 equal, 64 rows, 3 seeds that spread by 2 points": World(seeds=3, seed_spread=0.02),
    "4 equal, 64 rows, trained once": World(),
    "3 equal, losses mostly 0, 64 rows, 3 seeds that spread by 3 %": World(
        "mostly zero", gaps=(0.0,) * 3, seeds=3, seed_spread=0.03
    ),
    "one of 2 worse by the margin of 5 points, 100 rows, 3 seeds that spread by 2 points": World(
        rows=100, gaps=(0.0, 0.05), seeds=3, seed_spread=0.02, environment=MARGIN
    ),
    "the same, trained once": World(rows=100, gaps=(0.0, 0.05), environment=MARGIN),
}


def false_share(levels: list[float], repeats: int = 10_000) -> float:
    """Of runs with two equal methods, the share that call one better at some look, by McNemar's exact test: each time
    the rows are doubled, until it is settled at that look's level.
    """
    dice, rows = np.random.default_rng(0), 60
    only_one = only_other = np.zeros(repeats, dtype=int)
    wrong = np.zeros(repeats, dtype=bool)
    for number, each in enumerate(levels):
        # A fifth of the rows differ, equally often in favour of either.
        differing = dice.binomial(rows if number == 0 else rows * 2 ** (number - 1), 0.2, repeats)
        more = dice.binomial(differing, 0.5)
        only_one, only_other = only_one + more, only_other + differing - more
        p = 2 * stats.binom.cdf(np.minimum(only_one, only_other), only_one + only_other, 0.5)
        wrong |= p < each
    return float(wrong.mean())


def test_five_looks_are_wrong_as_seldom_as_one_where_each_has_to_be_more_certain() -> None:
    spent = false_share([level(look) for look in range(1, LOOKS + 1)])
    assert 0.02 < spent < 0.05
    # Looking again at 5 %, until something is settled, is wrong four times as often.
    assert false_share([0.05] * LOOKS) > 3 * spent


class Wrong:
    """How many of the runs made a false claim at the first look, and at any."""

    def __init__(self) -> None:
        self.runs, self.looks = 0, 0
        self.first, self.any = [0, 0], [0, 0]  # better or worse; as good, though worse by the margin

    def add(self, run: SettledRun) -> None:
        claims = [_false_claims(run, group) for group in run.looks(LOOKS, 60 * MINUTES)]
        self.runs, self.looks = self.runs + 1, self.looks + len(claims)
        for kind in range(2):
            self.first[kind] += claims[0][kind]
            self.any[kind] += any(claim[kind] for claim in claims)


def _false_claims(run: SettledRun, group: Group) -> tuple[bool, bool]:
    sign = 1 if run.world.higher_is_better else -1
    verdict_gains = [
        (verdict, sign * (run.truths[one.removeprefix("sft-")] - run.truths[other.removeprefix("sft-")]))
        for (one, other), verdict in group.verdicts.items()
    ]
    different = any(
        (verdict.settled and abs(gain) < 1e-9) or {"better": gain < 0, "worse": gain > 0}.get(verdict.outcome)
        for verdict, gain in verdict_gains
    )
    margin = group.margin if group.margin is not None else float("inf")
    as_good = any(verdict.outcome == "as good" and gain <= -margin + 1e-9 for verdict, gain in verdict_gains)
    return bool(different), as_good


def wrong(world: World, folder: Path, repeats: int, seed: int = 0) -> Wrong:
    dice, found = np.random.default_rng(seed), Wrong()
    for _ in range(repeats):
        found.add(SettledRun(world, HELD_OUT, folder / "run", dice))
    return found


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", WORLDS)
def test_runs_that_are_settled_as_advised_are_seldom_wrong(name: str, tmp_path: Path) -> None:
    found = wrong(WORLDS[name], tmp_path, repeats=300)
    # 6 % of 300, and two standard errors.
    assert max(found.any) <= 26


def _table(repeats: int) -> None:
    names = ("looks", "better or worse, first look", "any look", "as good, first look", "any look")
    print(f"| simulated run | {' | '.join(names)} |\n|---|{'---:|' * len(names)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, world in WORLDS.items():
            found = wrong(world, Path(folder), repeats)
            shares = (
                found.looks,
                *(count[kind] for kind in range(2) for count in (found.first, found.any)),
            )
            print(
                f"| {name} | {' | '.join(f'{share / repeats:.3f}' for share in shares)} |",
                flush=True,
            )


if __name__ == "__main__":
    _table(int(sys.argv[1]))
