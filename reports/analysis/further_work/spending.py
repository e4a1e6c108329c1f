"""Where more seeds and test rows are most likely to settle what a run's report leaves open, in a given time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf
from pathlib import Path

from reports.analysis import row_scores
from reports.analysis.comparison import compare
from reports.analysis.further_work.outcomes import comparison_name
from reports.analysis.group import Group
from reports.analysis.recommendation.answer import recommend
from reports.analysis.row import Row
from reports.analysis.settling import (
    OpenComparison,
    open_comparisons,
    seconds_to_score,
    settling_clause,
    trial_seconds,
)
from reports.statistics.power import Amount
from trainables import results

# Below this, the expected number of comparisons that are settled isn't worth the time.
WORTHWHILE = 0.1
_MORE_SEEDS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 100)
_SHARES_OF_ROWS = (1.0, 0.5, 0.25, 0.1)


@dataclass(frozen=True)
class Training:
    """A cell's best configuration, that of the trial ``trial_id``, trained with another ``seed``, and scored on so many
    ``further_rows`` beyond its own as the others of its group.
    """

    cell: str
    trial_id: str
    seed: int
    further_rows: int
    seconds: float


@dataclass(frozen=True)
class Scoring:
    """``rows`` test rows in all beyond the trials' own, scored with the models of the trials ``trial_ids``."""

    trial_ids: tuple[str, ...]
    rows: int
    seconds: float


@dataclass(frozen=True)
class Spending:
    """``open``: the comparisons that are not settled, each with what would settle it. ``settled``: how many of them the
    ``scorings`` and the ``trainings``, in this order, are expected to settle.
    """

    open: tuple[str, ...]
    scorings: tuple[Scoring, ...] = ()
    trainings: tuple[Training, ...] = ()
    settled: float = 0.0

    @property
    def seconds(self) -> float:
        return sum(step.seconds for step in self.scorings) + sum(step.seconds for step in self.trainings)


@dataclass(frozen=True)
class _Addition:
    """More seeds by cell, and more rows, in one group."""

    seeds: Mapping[str, int] = field(default_factory=dict)
    rows: int = 0

    def seeds_of(self, row: Row) -> int:
        """All seeds of a cell: those that it has, and those that are added."""
        return row.seeds + self.seeds.get(row.cell.label, 0)

    def with_seeds(self, rows: tuple[Row, ...], count: int) -> _Addition:
        """Every one of the cells with at least so many more than the one that has fewest: equal numbers tell most."""
        target = min(map(self.seeds_of, rows)) + count
        more = {row.cell.label: max(target, self.seeds_of(row)) - row.seeds for row in rows}
        return replace(self, seeds={**self.seeds, **more})


@dataclass(frozen=True)
class _Open:
    """What is open in one group. ``unused``: the rows that could be scored beyond those that all have; ``begun``: those
    of them that some have already; ``trainable``: the cells that can be trained again.
    """

    group: Group
    comparisons: tuple[OpenComparison, ...]
    unused: int
    begun: int
    trainable: frozenset[str]

    @cached_property
    def judged(self) -> tuple[Row, ...]:
        return tuple(row for row in self.group.all_rows if row.quality is not None)

    @property
    def further(self) -> int:
        """The rows that were scored later and that all have."""
        return min(row.cell.further_rows for row in self.judged)

    def settled(self, addition: _Addition) -> float:
        """The expected number of the comparisons that are settled."""
        return sum(
            each.law.probability(self._amount(each, addition), each.criterion) for each in self.comparisons
        )

    def _amount(self, each: OpenComparison, addition: _Addition) -> Amount:
        now, estimate = each.law.measured, each.row.cell.estimate
        assert estimate is not None
        one, other = (addition.seeds_of(row) for row in (each.row, each.against))
        return Amount(now.rows + addition.rows * estimate.clusters // estimate.rows, (one, other))

    def seconds(self, addition: _Addition) -> float:
        """What an addition takes; infinite where nothing was timed."""
        return sum(seconds for _, seconds in self.parts(addition))

    def parts(self, addition: _Addition) -> Iterator[tuple[Row | None, float]]:
        """The seconds of each cell's trainings, and last of scoring rows with the models that there are."""
        scoring, further = 0.0, self.further + addition.rows
        for row in self.judged:
            if count := addition.seeds.get(row.cell.label, 0):
                seconds = _sum(trial_seconds(row), seconds_to_score(row, further, 1) if further else 0.0)
                yield row, inf if seconds is None else count * seconds
            if addition.rows:
                scoring += seconds_to_score(row, addition.rows) or inf
        yield None, scoring


def spend(
    run: Path, seconds: float, unused_rows: Callable[[str], int], can_train: Callable[[str], bool]
) -> Spending:
    """How to spend so much time on a run. ``unused_rows``: how many test rows beyond its own a trial, by its id, could
    be scored on now; 0 where its model isn't kept. ``can_train``: whether its configuration can be trained again.

    More seeds of two cells, more rows of a group, or both are added one after another: each time what is expected to
    settle most for its time. Rows that some models were scored on already come first. Raises ``ValueError`` for runs
    that can't be compared.
    """
    groups = [group for group in compare([results.gather_run(run)]) if group.scored_rows]
    found = [_open_in(group, unused_rows, can_train) for group in groups]
    additions = [_Addition(rows=each.begun) for each in found]
    pairs = list(zip(found, additions, strict=True))
    gained = sum(each.settled(begun) - each.settled(_Addition()) for each, begun in pairs)
    left = seconds - sum(each.seconds(begun) for each, begun in pairs)
    while True:
        options = [
            (gain / cost, gain, cost, index, option)
            for index, each in enumerate(found)
            for option, gain, cost in _options(each, additions[index], left)
        ]
        if not options:
            break
        _, gain, cost, index, option = max(options, key=lambda each: each[0])
        additions[index], gained, left = option, gained + gain, left - cost
    words = tuple(
        f"{comparison_name(each.group, one.row, one.against)}: "
        f"{settling_clause(each.group, one.row, one.against)}"
        for each in found
        for one in each.comparisons
    )
    if gained < WORTHWHILE and not any(each.begun for each in found):
        return Spending(words, settled=gained)
    chosen = list(zip(found, additions, strict=True))
    scorings = [_scoring(each, addition) for each, addition in chosen if addition.rows]
    trainings = [step for each, addition in chosen for step in _trainings(each, addition)]
    # Seed by seed: whenever the time is up, the cells have as many as one another.
    return Spending(words, tuple(scorings), tuple(sorted(trainings, key=lambda step: step.seed)), gained)


def _open_in(group: Group, unused_rows: Callable[[str], int], can_train: Callable[[str], bool]) -> _Open:
    comparisons = tuple(open_comparisons(group, recommend(group)))
    if not comparisons:
        return _Open(group, (), 0, 0, frozenset())
    judged = [(row, record) for row in group.all_rows for record in row.cell.judged_trials]
    known = all(row.cell.estimate is not None for row, _ in judged)
    # Only rows that all models of the group are scored on can be compared.
    unused = (
        min(unused_rows(record.trial_id) - row.cell.further_rows for row, record in judged) if known else 0
    )
    scored = (
        row_scores.count_further(row.cell.run, [record]) - row.cell.further_rows for row, record in judged
    )
    trainable = (row for row in group.scored_rows if row.best is not None and can_train(row.best.trial_id))
    return _Open(
        group,
        comparisons,
        max(0, unused),
        max(0, min(max(scored), unused)),
        frozenset(row.cell.label for row in trainable),
    )


def _options(each: _Open, now: _Addition, left: float) -> Iterator[tuple[_Addition, float, float]]:
    """What could be added to what is added already, with what it gains and what it takes."""
    before, spent = each.settled(now), each.seconds(now)
    rows = [replace(now, rows=now.rows + more) for more in _more_rows(each, now, left) if more > 0]
    seeds = [
        start.with_seeds(one.trained, count)
        for start in (now, *rows[:1])
        for one in each.comparisons
        if one.law.degrees is not None and all(row.cell.label in each.trainable for row in one.trained)
        for count in _MORE_SEEDS
    ]
    for option in (*rows, *seeds):
        cost = each.seconds(option) - spent
        if 0 < cost <= left and (gain := each.settled(option) - before) > 0.01:
            yield option, gain, cost


def _more_rows(each: _Open, now: _Addition, left: float) -> list[int]:
    """Shares of the rows that are not used and can be scored in the time, the most first."""
    room = each.unused - now.rows
    while room > 0 and each.seconds(replace(now, rows=now.rows + room)) - each.seconds(now) > left:
        room = room * 3 // 4
    return [int(room * share) for share in _SHARES_OF_ROWS]


def _trainings(each: _Open, addition: _Addition) -> Iterator[Training]:
    for row, seconds in each.parts(addition):
        count = addition.seeds.get(row.cell.label, 0) if row is not None else 0
        if row is None or row.best is None or not count:
            continue
        # One that was interrupted goes on, and so does its seed.
        ended = {
            record.seed
            for record in row.cell.records
            if record.role == "finalist" and record.status != "interrupted"
        }
        candidates = (seed for seed in range(row.best.seed + 1, row.best.seed + 2 + len(ended) + count))
        seeds = [seed for seed in candidates if seed not in ended][:count]
        for seed in seeds:
            yield Training(
                row.cell.name, row.best.trial_id, seed, each.further + addition.rows, seconds / count
            )


def _scoring(each: _Open, addition: _Addition) -> Scoring:
    *_, (_, seconds) = each.parts(addition)
    judged = [record for row in each.judged for record in row.cell.judged_trials]
    return Scoring(tuple(record.trial_id for record in judged), each.further + addition.rows, seconds)


def _sum(*values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
