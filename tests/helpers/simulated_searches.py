"""Searches of a learning rate whose best value is known, and how often the interval of the curve's optimum holds it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.analysis.search.rate_search import RateSearch, searched
from tests.helpers.run_folders import record

LOW, HIGH = 1e-4, 1e-2  # a method's starting point / 10 to x 10


@dataclass(frozen=True)
class SearchWorld:
    """``trials`` by random rates whose objective falls by 0.3 a decade from the ``best`` rate, squared, with normal
    errors of ``noise``. The first is at the middle of the range, as a method's starting point is.

    ``steered``: from the fourth trial on, each is near the best one so far. ``skew``: how much more quickly the
    objective falls above the best rate than below it.
    """

    trials: int
    best: float = 1e-3
    noise: float = 0.05
    steered: bool = False
    skew: float = 1.0

    def objective(self, rate: float) -> float:
        distance = float(np.log10(rate / self.best))
        return 0.9 - 0.3 * distance**2 * (self.skew if distance > 0 else 1.0)


def simulate_search(world: SearchWorld, dice: np.random.Generator) -> RateSearch:
    """One search, with the curve that a report fits to it."""
    rates, objectives = [float(np.sqrt(LOW * HIGH))], []
    while True:
        objectives.append(world.objective(rates[-1]) + float(dice.normal(0, world.noise)))
        if len(rates) == world.trials:
            break
        if world.steered and len(rates) >= 3:
            near = rates[int(np.argmax(objectives))] * 10 ** dice.normal(0, 0.25)
            rates.append(float(np.clip(near, LOW, HIGH)))
        else:
            rates.append(float(np.exp(dice.uniform(np.log(LOW), np.log(HIGH)))))
    trials = [record(f"t{place}", objective=value) for place, value in enumerate(objectives)]
    return searched(list(zip(rates, trials, strict=True)), LOW, HIGH)


@dataclass
class SearchTally:
    """How many searches there were; of how many the curve has an interval, a report names the optimum with that
    interval, and does so without calling it unsure; and how many of each hold the truth.
    """

    runs: int = 0
    intervals: int = 0
    covering: int = 0
    named: int = 0
    named_covering: int = 0
    sure: int = 0
    sure_covering: int = 0

    def add(self, search: RateSearch, best: float) -> None:
        self.runs += 1
        curve = search.curve
        if curve is None or curve.interval is None:
            return
        covers = curve.interval[0] <= min(max(best, LOW), HIGH) <= curve.interval[1]
        self.intervals += 1
        self.covering += covers
        if search.curve_with_optimum is not None:
            self.named += 1
            self.named_covering += covers
            self.sure += curve.is_sure
            self.sure_covering += curve.is_sure and covers

    def shares(self) -> dict[str, float | None]:
        """The tally's shares, each ``None`` where there was nothing of its kind."""

        def share(part: int, whole: int) -> float | None:
            return part / whole if whole else None

        return {
            "coverage of intervals": share(self.covering, self.intervals),
            "optimum named": share(self.named, self.runs),
            "coverage of its interval": share(self.named_covering, self.named),
            "named without doubt": share(self.sure, self.runs),
            "coverage of these": share(self.sure_covering, self.sure),
        }


def tally_searches(world: SearchWorld, repeats: int, seed: int = 0) -> SearchTally:
    dice, found = np.random.default_rng(seed), SearchTally()
    for _ in range(repeats):
        found.add(simulate_search(world, dice), world.best)
    return found
