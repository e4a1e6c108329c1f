"""How a cell's learning rates were searched: the curve through them, and what random draws promise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from reports import units
from reports.analysis import studies
from reports.analysis.cells import Cell
from reports.analysis.configs import leaves
from reports.analysis.group import Group
from reports.statistics.expected_best import expected_best
from reports.statistics.response_curve import ResponseCurve, response_curve
from trainables.results import Record

LEARNING_RATE = "train.learning_rate"
DRAWN = ("random", "quasi-random")  # origins of a study's trials
STEERED, EARLIER = "results", "earlier"


@dataclass(frozen=True)
class RateSearch:
    """The trials of one cell by learning rate, and the curve through those that ran to the end.

    ``low`` and ``high``: the range that was searched, or without the study's journal that of the trials.
    """

    points: list[tuple[float, Record]]
    low: float
    high: float
    curve: ResponseCurve | None

    @property
    def tried(self) -> tuple[float, float]:
        """The lowest and the highest rate of a trial that ran to the end: beyond them the curve is a guess."""
        rates = [rate for rate, record in self.points if record.status == "done"]
        return min(rates, default=self.low), max(rates, default=self.high)

    @property
    def curve_with_optimum(self) -> ResponseCurve | None:
        """The curve, where its optimum lies among the rates that were tried."""
        low, high = self.tried
        inside = self.curve is not None and self.curve.has_maximum and low < self.curve.optimum < high
        return self.curve if inside else None


def rate_search(cell: Cell) -> RateSearch | None:
    """``None`` where the trials of a cell have fewer than two different learning rates with an objective."""
    points = [
        (float(rate), record)
        for record in cell.search_trials
        if record.comparable_objective is not None
        and (rate := dict(leaves(record.config)).get(LEARNING_RATE))
    ]
    rates = {rate for rate, _ in points}
    if len(rates) < 2:
        return None
    domain = studies.domains(cell.study).get(LEARNING_RATE)
    low = min(*rates, getattr(domain, "low", min(rates)))
    high = max(*rates, getattr(domain, "high", max(rates)))
    return searched(points, low, high)


def searched(points: list[tuple[float, Record]], low: float, high: float) -> RateSearch:
    """The search of a range by these trials with an objective, and their rates."""
    done = [(rate, record.objective) for rate, record in points if record.status == "done"]
    tried, reached = [rate for rate, _ in done], [value for _, value in done if value is not None]
    return RateSearch(points, low, high, response_curve(tried, reached, low, high))


def expected_best_of(cell: Cell) -> list[float]:
    """The expected best objective of 1, 2, ... random draws; empty where the cell's trials don't say.

    Of draws alone, not of the method's starting point nor of trials that results steered; and only if all draws ran to
    the end, as what was stopped early can't be counted and can't be left out. One that ended by its own curve, and was
    worse there than all that ran to the end, counts as it was there: the best of several draws hardly depends on it.
    """
    by_id = {record.trial_id: record for record in cell.search_trials}
    drawn = [
        by_id.get(trial.user_attrs.get(studies.TRIAL_ID, ""))
        for trial in cell.study
        if trial.user_attrs.get(studies.ORIGIN) in DRAWN
    ]
    records = [record for record in drawn if record is not None and record.objective is not None]
    done = [record.objective or 0.0 for record in records if record.status == "done"]
    worse = [
        record.objective
        for record in records
        if record.stop_reason and record.objective is not None and record.objective < min(done, default=-inf)
    ]
    return expected_best([*done, *worse]) if len(done) + len(worse) == len(drawn) else []


def search_sentences(group: Group) -> Iterator[str]:
    """What steered the settings of the cells, where their studies say."""
    drawn: list[str] = []
    steered: dict[int, list[str]] = {}
    begun: dict[int, list[str]] = {}
    for row in group.rows:
        origins = [trial.user_attrs.get(studies.ORIGIN) for trial in row.cell.study]
        if EARLIER in origins:
            begun.setdefault(origins.count(EARLIER), []).append(row.name)
        if STEERED in origins:
            steered.setdefault(origins.index(STEERED) + 1, []).append(row.name)
        elif any(origin in DRAWN for origin in origins) and EARLIER not in origins:
            drawn.append(row.name)
    for count, names in sorted(begun.items()):
        first = "first trial" if count == 1 else f"first {count} trials"
        have = "has the best settings" if count == 1 else "have the best settings"
        yield f"The {first} of {units.join(names)} {have} of an earlier run (search.from)."
    if drawn:
        yield f"Random search: no result steered the settings of {units.join(drawn)}."
    for number, names in sorted(steered.items()):
        yield f"Results steered the settings of {units.join(names)} from trial {number} on."
