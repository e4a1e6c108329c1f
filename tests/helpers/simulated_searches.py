"""Searches of a learning rate whose best value is known, and how often the interval of the curve's optimum holds it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from reports.analysis.search.first_rung import FirstRung
from reports.analysis.search.rate_search import RatePoint, RateSearch, searched
from tests.helpers.run_folders import record

LOW, HIGH = 1e-4, 1e-2  # a method's starting point / 10 to x 10


@dataclass(frozen=True)
class SearchWorld:
    """``trials`` by random rates whose objective falls by 0.3 a decade from the ``best`` rate, squared, with normal
    errors of ``noise``. The first is at the middle of the range, as a method's starting point is.

    ``steered``: from the fourth trial on, each is near the best one so far. ``skew``: how much more quickly the
    objective falls above the best rate than below it. ``kept``: how many trials run to the end, those that are best at
    the first rung, where the best rate is ``best_at_rung``; ``None`` for all. ``shared``: the correlation of a trial's
    errors at both.
    """

    trials: int
    best: float = 1e-3
    noise: float = 0.05
    steered: bool = False
    skew: float = 1.0
    kept: int | None = None
    best_at_rung: float | None = None
    shared: float = 0.0

    def objective(self, rate: float, best: float | None = None) -> float:
        distance = float(np.log10(rate / (best or self.best)))
        return 0.9 - 0.3 * distance**2 * (self.skew if distance > 0 else 1.0)


def simulate_search(world: SearchWorld, dice: np.random.Generator) -> RateSearch:
    """One search, with the curve that a report fits to it."""
    rates, errors = [float(np.sqrt(LOW * HIGH))], [float(dice.normal(0, world.noise))]
    values = [world.objective(rates[0], world.best_at_rung) + errors[0]]
    while len(rates) < world.trials:
        if world.steered and len(rates) >= 3:
            near = rates[int(np.argmax(values))] * 10 ** dice.normal(0, 0.25)
            rates.append(float(np.clip(near, LOW, HIGH)))
        else:
            rates.append(float(np.exp(dice.uniform(np.log(LOW), np.log(HIGH)))))
        errors.append(float(dice.normal(0, world.noise)))
        values.append(world.objective(rates[-1], world.best_at_rung) + errors[-1])
    kept = world.trials if world.kept is None else world.kept
    best = set(np.argsort(values)[::-1][:kept])
    trials = [
        record(f"t{place}", status="done" if place in best else "stopped") for place in range(world.trials)
    ]
    compared = list(map(RatePoint, rates, trials, values))
    if world.kept is None:
        return searched(compared, LOW, HIGH)
    ends = [_end(world, point, error, dice) for point, error in zip(compared, errors, strict=True)]
    rung = FirstRung(4, "training", {point.record.trial_id: point.value for point in compared})
    return searched([end for end in ends if end.record.status == "done"], LOW, HIGH, rung, compared)


def _end(world: SearchWorld, point: RatePoint, error: float, dice: np.random.Generator) -> RatePoint:
    """What a trial with an ``error`` at the first rung has when it runs to its end."""
    other = float(dice.normal(0, world.noise)) * np.sqrt(1 - world.shared**2)
    return replace(point, value=world.objective(point.rate) + world.shared * error + other)


@dataclass
class SearchTally:
    """How many searches there were; of how many the curve through ends has an interval, a report names the optimum with
    that interval, and does so without calling it unsure; and how many of each hold the truth.
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
        if search.rung is not None or curve is None or curve.interval is None:
            return
        covers = curve.interval[0] <= min(max(best, LOW), HIGH) <= curve.interval[1]
        self.intervals += 1
        self.covering += covers
        if search.interval is not None:
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
