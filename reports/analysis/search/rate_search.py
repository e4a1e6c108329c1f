"""How a cell's learning rates were searched: the curve through them, and what random draws promise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf

from reports import units
from reports.analysis import studies
from reports.analysis.cells import Cell
from reports.analysis.configs import leaves
from reports.analysis.group import Group
from reports.analysis.search.first_rung import FirstRung, first_rung
from reports.statistics.expected_best import expected_best
from reports.statistics.response_curve import (
    Intervals,
    ResponseCurve,
    optimum_intervals,
    precision_of,
    response_curve,
)
from trainables.results import Record

LEARNING_RATE = "train.learning_rate"
DRAWN = ("random", "quasi-random")  # origins of a study's trials
STEERED, EARLIER = "results", "earlier"


@dataclass(frozen=True)
class RatePoint:
    """A trial of a search with its learning rate, and the ``value`` that it is compared by; higher is better."""

    rate: float
    record: Record
    value: float


@dataclass(frozen=True)
class RateSearch:
    """The trials of one cell by learning rate, and the curve through those that ran to the end; or where too few did,
    through all that came to the ``rung`` at which they were first compared, by their values there.

    ``low`` and ``high``: the range that was searched, or without the study's journal that of the trials.
    """

    points: list[RatePoint]
    low: float
    high: float
    curve: ResponseCurve | None
    rung: FirstRung | None = None

    @property
    def fitted(self) -> list[RatePoint]:
        """The trials that the curve goes through."""
        return [point for point in self.points if self.rung is not None or _ended(point)]

    @cached_property
    def intervals(self) -> Intervals | None:
        """The interval of the optimum, by the share of cases that it may miss; of all curves that are allowed for."""
        rates, values = [point.rate for point in self.fitted], [point.value for point in self.fitted]
        return optimum_intervals(rates, values, self.low, self.high)

    @property
    def tried(self) -> tuple[float, float]:
        """The lowest and the highest rate of the trials that the curve goes through: beyond them it is a guess."""
        rates = [point.rate for point in self.fitted]
        return min(rates, default=self.low), max(rates, default=self.high)

    @property
    def curve_with_optimum(self) -> ResponseCurve | None:
        """The curve, where its optimum lies among the rates that were tried."""
        low, high = self.tried
        inside = self.curve is not None and self.curve.has_maximum and low < self.curve.optimum < high
        return self.curve if inside else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval of the optimum; ``None`` at the first rung, from which the best rate may move until the end."""
        curve = self.curve_with_optimum
        return curve.interval if curve is not None and self.rung is None else None


def rate_search(cell: Cell) -> RateSearch | None:
    """``None`` where the trials of a cell have fewer than two different learning rates with an objective."""
    objectives = {record.trial_id: record.comparable_objective for record in cell.search_trials}
    points, rung = _points(cell, objectives), first_rung(cell)
    compared = _points(cell, rung.values) if rung is not None else []
    rates = {point.rate for point in (*points, *compared)}
    if not rates:
        return None
    domain = studies.domains(cell.study).get(LEARNING_RATE)
    low = min(min(rates), getattr(domain, "low", min(rates)))
    high = max(max(rates), getattr(domain, "high", max(rates)))
    search = searched(points, low, high, rung, compared)
    return search if len({point.rate for point in search.points}) > 1 else None


def searched(
    points: list[RatePoint],
    low: float,
    high: float,
    rung: FirstRung | None = None,
    compared: Sequence[RatePoint] = (),
) -> RateSearch:
    """The search of a range. ``points``: by the objectives that trials ended with. ``compared``: by the values at
    ``rung``, which count where they say more of the optimum.
    """
    ended = [point for point in points if _ended(point)]
    if rung is not None and precision_of(len(compared)) > precision_of(len(ended)):
        points, ended = list(compared), list(compared)
    else:
        rung = None
    rates, values = [point.rate for point in ended], [point.value for point in ended]
    return RateSearch(points, low, high, response_curve(rates, values, low, high), rung)


def _ended(point: RatePoint) -> bool:
    return point.record.status == "done"


def _points(cell: Cell, values: Mapping[str, float | None]) -> list[RatePoint]:
    return [
        RatePoint(float(rate), record, value)
        for record in cell.search_trials
        if (value := values.get(record.trial_id)) is not None
        and (rate := dict(leaves(record.config)).get(LEARNING_RATE))
    ]


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
        if record.stop_reason
        and not record.stopped_by_hand
        and record.objective is not None
        and record.objective < min(done, default=-inf)
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
