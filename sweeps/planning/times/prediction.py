"""How long a plan's trials will take: the time of similar trials on this machine, scaled by what there is to do.

Training goes with parameters x tokens, scoring with parameters x rows. Trials of the same model count first; those of
other models only where there are none, and those with the same cores before others.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from sweeps.planning.cell import Cell
from sweeps.planning.dependencies import levels
from sweeps.planning.times.speeds import (
    Speed,
    data_key,
    sets_key,
    similar_speeds,
    similarity_key,
    start_seconds,
)
from sweeps.planning.times.work import work_of
from sweeps.spec.settings import going_on
from trainables.system.wording import counted
from trainables.trial.config import TrialConfig

NEWEST = 20  # similar trials that a prediction is made from


@dataclass(frozen=True)
class TrialTime:
    """Seconds of a trial that runs its full length, of one that is stopped at each of the cell's rungs, and of scoring
    the untrained model. ``source``: the trials that it was predicted from, in words. ``pauses``: what pausing adds;
    ``sets``: what scoring further evaluation sets takes of them.
    """

    seconds: float
    at_rungs: tuple[float, ...]
    untrained: float
    source: str
    pauses: float = 0.0
    sets: float = 0.0

    @property
    def finalist(self) -> float:
        """Of one that no other is compared with, and that doesn't pause."""
        return self.seconds - self.pauses


@dataclass(frozen=True)
class CellTime:
    """``seconds`` of all of a cell's trials one after another, finalists included; ``least`` where the
    most are stopped.

    ``trial``: of one.
    """

    cell: str
    trial: TrialTime
    seconds: float
    least: float


@dataclass(frozen=True)
class PlanTime:
    """The times of a plan's cells, ``None`` where nothing like them has run here, and of the whole sweep.

    ``seconds`` and ``least`` are of the cells that are known, with ``at_once`` trials at a time; ``start``: of them,
    until the first trial runs and after the last one.
    """

    cells: dict[str, CellTime | None]
    seconds: float
    least: float
    at_once: int
    start: float

    @property
    def unknown(self) -> list[str]:
        return [name for name, time in self.cells.items() if time is None]


def predict_times(
    cells: Sequence[Cell], bases: Sequence[TrialConfig], at_once: int, finalists: int, top: int
) -> PlanTime:
    """For a plan's cells and untrained models. Of each cell, ``top`` configs are trained again ``finalists`` times."""
    longest: dict[int, list[float]] = {}
    shortest: dict[int, list[float]] = {}
    again: list[float] = []
    times: dict[str, CellTime | None] = {}
    level = levels({cell.name: cell.depends_on for cell in cells})
    for cell in cells:
        trial = trial_time(cell)
        if trial is None:
            times[cell.name] = None
            continue
        least = _as_short_as_possible(cell, trial)
        # In breadth it is known how many go on.
        full = least if cell.search.breadth_first else [trial.seconds] * cell.trials
        repeated = [trial.finalist] * (finalists * min(top, cell.trials) if cell.holds_out else 0)
        longest.setdefault(level[cell.name], []).extend(full)
        shortest.setdefault(level[cell.name], []).extend(least)
        again += repeated
        times[cell.name] = CellTime(cell.name, trial, sum(full) + sum(repeated), sum(least) + sum(repeated))
    for each in (longest, shortest):
        each[0] = [*_untrained(cells, bases, times), *each.get(0, [])]
    start = start_seconds() if again or any(times.values()) else 0.0
    seconds, fewest = (start + _total(each, again, at_once) for each in (longest, shortest))
    return PlanTime(times, seconds, fewest, at_once, start)


def _untrained(
    cells: Sequence[Cell], bases: Sequence[TrialConfig], times: dict[str, CellTime | None]
) -> list[float]:
    """The seconds of scoring each untrained model, by the first cell of its stage that is known."""
    known: dict[str, float] = {}
    for cell in cells:
        if (time := times[cell.name]) is not None:
            known.setdefault(cell.first().stage.kind, time.trial.untrained)
    return [known[base.stage.kind] for base in bases if base.stage.kind in known]


def trial_time(cell: Cell) -> TrialTime | None:
    """What a trial of a cell will take; ``None`` where nothing like it has run on this machine."""
    config, on_gpus = cell.suggested(), bool(cell.resources.gpus)
    similar = list(similar_speeds(similarity_key(config, cell.resources.min_workers), on_gpus))
    parameters = _parameters(cell)
    same = [speed for speed in similar if speed.model == config.model.label]
    # Without its parameters a model can't be compared with another one.
    used = same or (similar if parameters else [])
    used = [speed for speed in used if speed.cpus == cell.resources.cpus] or used
    used = [speed for speed in used if speed.tokens and speed.train_seconds][-NEWEST:]
    if not used:
        return None
    rows_alike = [speed for speed in used if speed.data == data_key(config)]
    known = _ratio((speed.tokens, speed.rows) for speed in rows_alike)
    work = work_of(cell, known)

    def scale(speed: Speed) -> float:
        size = 1.0 if speed.model == config.model.label else (parameters or 0) / speed.parameters
        return size if on_gpus else size * speed.cpus / cell.resources.cpus

    per_token = _ratio((speed.train_seconds * scale(speed), speed.tokens) for speed in used) or 0.0
    per_row = _ratio((speed.test_seconds * scale(speed), speed.test_rows) for speed in used) or 0.0
    # Rows of other sets, such as long texts, take another time: that of the same sets, as soon as it is known.
    same_sets = [speed for speed in used if speed.sets == sets_key(config) and speed.set_rows]
    per_set_row = _ratio((speed.set_seconds * scale(speed), speed.set_rows) for speed in same_sets)
    set_seconds = work.set_rows * (per_row if per_set_row is None else per_set_row)
    # What the first trial of a slot takes beside that counts once for the sweep.
    warm = [speed for speed in used if not speed.first] or used
    # A smaller model is loaded no faster than libraries start.
    other = fmean(speed.other_seconds * max(1.0, scale(speed)) for speed in warm)

    def until(step: int, scored: bool = cell.search.score_stopped) -> float:
        rows = work.validated_rows(step) + work.test_rows * scored
        sets = set_seconds * scored
        return work.tokens * per_token * step / work.steps + rows * per_row + sets + other

    # A trial that goes on after a pause is set up again.
    again = other if cell.search.breadth_first else 0.0

    untrained = (work.test_rows + work.validation_rows) * per_row + set_seconds + other
    rungs = tuple(until(rung) + again * pauses for pauses, rung in enumerate(cell.rungs))
    whole = until(work.steps, scored=True) + again * len(rungs)
    return TrialTime(whole, rungs, untrained, _source(used, bool(same)), again * len(rungs), set_seconds)


def _parameters(cell: Cell) -> int | None:
    shape = cell.predicted.largest.model.shape if cell.predicted is not None else None
    return shape.params if shape is not None else None


def _ratio(pairs: Iterable[tuple[float, float]]) -> float | None:
    """The sum of the first by the sum of the second; ``None`` where that is zero."""
    listed = list(pairs)
    whole = sum(second for _, second in listed)
    return sum(first for first, _ in listed) / whole if whole else None


def _source(used: Sequence[Speed], same: bool) -> str:
    if same:
        return f"from {counted(len(used), 'trial')} like it on this machine"
    models = ", ".join(dict.fromkeys(speed.model for speed in used))
    return f"scaled from {counted(len(used), 'trial')} of {models} on this machine"


def _as_short_as_possible(cell: Cell, trial: TrialTime) -> list[float]:
    """The seconds of a cell's trials if at every rung all but the best part are stopped."""
    left, seconds = cell.trials, []
    for at_rung in trial.at_rungs:
        kept = going_on(left, cell.search.reduction_factor)
        seconds += [at_rung] * (left - kept)
        left = kept
    return [*seconds, *[trial.seconds] * left]


def _total(by_level: dict[int, list[float]], again: list[float], at_once: int) -> float:
    """The seconds of a sweep: level after level, and then what is trained again."""
    return sum(_makespan(trials, at_once) for trials in [*(by_level[key] for key in sorted(by_level)), again])


def _makespan(trials: Sequence[float], at_once: int) -> float:
    """The seconds until the last trial ends, each started as soon as one of the ``at_once`` slots is free."""
    slots = [0.0] * max(1, at_once)
    for seconds in trials:
        heapq.heapreplace(slots, slots[0] + seconds)
    return max(slots)
