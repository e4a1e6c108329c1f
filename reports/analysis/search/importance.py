"""The importance of rank, alpha, learning rate: how much of the objective's variance each setting explains.

Of the total variance over a cell's finished trials, and only where that is more than noise would explain. Where most
trials were stopped, it is what decides whether a trial is among the best quarter of all. With few trials nothing is
computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from reports import units
from reports.analysis import studies
from reports.analysis.cells import Cell
from reports.statistics.top_importance import MIN_TRIALS as MIN_RANKED
from reports.statistics.top_importance import top_importance
from reports.statistics.variance_shares import MAX_SETTINGS, Value, needed_trials, variance_shares
from reports.text import text

MIN_TRIALS = 5
TRIALS_PER_SETTING = 3


@dataclass(frozen=True)
class Importance:
    """``shares`` of the total variance by the setting's path, the largest first, for settings that explain more than
    noise does; ``not_explained``: the rest. Or neither, and the ``reason``. ``like_noise``: the other settings.

    ``trials``: the number of trials that ran to the end. With ``ranked``, it is that of the trials that were ranked,
    and the shares are of what settings decide; how much none of them decides is not known.
    """

    shares: dict[str, float]
    trials: int
    reason: str | None = None
    not_explained: float | None = None
    like_noise: tuple[str, ...] = field(default=())
    ranked: bool = False


def importance(cell: Cell) -> Importance:
    """How much each setting mattered in this cell, or why that can't be computed.

    >>> importance(cell).reason  # doctest: +SKIP
    '3 trials ran to the end, and it takes 9'
    """
    done = [
        record for record in cell.search_trials if record.status == "done" and record.objective is not None
    ]
    chosen = [cell.settings(record) for record in done]
    settings = {path: [_value(each.get(path, _ABSENT)) for each in chosen] for path in cell.searched}
    varied = {path: values for path, values in settings.items() if len(set(values)) > 1}
    objectives = [record.objective for record in done if record.objective is not None]
    reason = _reason(settings, varied, objectives)
    if reason is not None:
        return _by_rank(cell) or Importance({}, len(done), reason)
    found = variance_shares(varied, objectives)
    others = tuple(path for path in settings if path not in found.explained)
    return Importance(found.explained, len(done), None, found.not_explained, others)


def _by_rank(cell: Cell) -> Importance | None:
    """By the order of the trials that were finished or stopped; ``None`` where too few were, or none was stopped."""
    records = {record.trial_id: record for record in cell.search_trials if record.objective is not None}
    ended = [
        (trial, record)
        for trial in cell.study
        if (record := records.get(trial.user_attrs.get(studies.TRIAL_ID, ""))) is not None
        and record.status in ("done", "stopped")
        and not record.stopped_by_hand  # it may have been the best of all
    ]
    stopped = any(record.status == "stopped" for _, record in ended)
    domains = [trial.distributions for trial, _ in ended]
    if len(ended) < MIN_RANKED or not stopped or any(each != domains[0] for each in domains):
        return None
    # A stopped trial that came further was among the better ones at each comparison before.
    key = [
        (done := record.status == "done", 0 if done else record.steps or 0, record.objective or 0.0)
        for _, record in ended
    ]
    places = {value: place for place, value in enumerate(sorted(set(key)))}
    found = top_importance([trial for trial, _ in ended], [float(places[each]) for each in key])
    return Importance(found.shares, len(ended), None, None, found.like_noise, ranked=True)


_ABSENT = object()


def _value(value: object) -> Value:
    """A list or mapping as its JSON; a setting that a trial doesn't have is a value of its own."""
    if value is _ABSENT:
        return units.UNKNOWN
    return (
        value if value is None or isinstance(value, bool | int | float | str) else units.setting_value(value)
    )


def _reason(
    settings: dict[str, list[Value]], varied: dict[str, list[Value]], objectives: list[float]
) -> str | None:
    """Why the importance can't be computed, if it can't."""
    count = len(objectives)
    if not settings:
        return text("nothing was searched in this cell")
    if len(varied) > MAX_SETTINGS:
        return text(
            "{count} settings were searched; with more than {most}, their shares are not computed",
            count=len(varied),
            most=MAX_SETTINGS,
        )
    needed = max(MIN_TRIALS, TRIALS_PER_SETTING * len(settings), needed_trials(varied))
    if count < needed:
        ended = units.count(count, "trial") if count else text("no trial")
        return text("{trials} ran to the end, and it takes {count}", trials=ended, count=needed)
    if len(set(objectives)) == 1:
        return text(
            "all {count} trials reached the same objective, so no setting made a difference", count=count
        )
    if not varied:
        return text("all {count} trials have the same settings", count=count)
    return None
