"""A plan's times in words and as JSON."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from sweeps.planning.times.prediction import CellTime, PlanTime

UNKNOWN = "unknown"
SHOWN_NAMES = 4  # in a sentence


def minutes(seconds: float) -> str:
    """To two digits: ``0.4``, ``4.2``, ``38``.

    >>> minutes(24), minutes(250), minutes(2290), minutes(60 * 1234)
    ('0.4', '4.2', '38', '1234')
    """
    count = seconds / 60
    return f"{count:.0f}" if count >= 10 else f"{max(count, 0.1):.1f}"


def minutes_between(least: float, most: float) -> str:
    """``3.1 to 4.2``, or one number where both are the same."""
    texts = dict.fromkeys((minutes(least), minutes(most)))
    return " to ".join(texts)


def cell_minutes(time: CellTime | None, at_once: int) -> str:
    """A cell's part of the sweep's minutes, and those of one trial: ``8.4 (2.1 a trial)``."""
    if time is None:
        return UNKNOWN
    shared = minutes_between(time.least / at_once, time.seconds / at_once)
    return f"{shared} ({minutes(time.trial.seconds)} a trial)"


def time_lines(times: PlanTime, spec: str) -> Iterator[str]:
    """The minutes of a sweep, what they are predicted from, and what would make the unknown ones known."""
    known = {name: time for name, time in times.cells.items() if time is not None}
    if known:
        at_once = f", with {times.at_once} trials at a time" if times.at_once > 1 else ""
        rest = f" without {_named(times.unknown)}" if times.unknown else ""
        begin = (
            ""
            if times.start
            else "; starting Ray comes on top, and its time is unknown before the first sweep"
        )
        total = minutes_between(times.least, times.seconds)
        yield f"predicted time{rest}: {total} minutes{at_once}{_early(times)}{begin}"
        yield from _sources(known)
    if times.unknown:
        names = _named(times.unknown)
        yield (
            f"the minutes of {names} are unknown: no such trial has run on this machine. paretune plan "
            f"{shlex.quote(spec)} --measure trains a few steps of each, about a minute for a small model, and predicts "
            "them"
        )


def _early(times: PlanTime) -> str:
    return " (less where trials are stopped early)" if minutes(times.least) != minutes(times.seconds) else ""


def _sources(known: dict[str, CellTime]) -> Iterator[str]:
    by_source: dict[str, list[str]] = {}
    for name, time in known.items():
        by_source.setdefault(time.trial.source, []).append(name)
    if of_sets := [time.trial.sets for time in known.values() if time.trial.sets]:
        between = minutes_between(min(of_sets), max(of_sets))
        yield f"of each trial's minutes, {between} are for scoring further evaluation sets (data.eval)"
    for source, names in by_source.items():
        yield f"the minutes of {_named(names)} are {source}"


def _named(names: Sequence[str]) -> str:
    """The names, or of many the first ones and their number: all of them are in the table."""
    if len(names) <= SHOWN_NAMES + 1:
        return ", ".join(names)
    return f"{', '.join(names[:SHOWN_NAMES])} and {len(names) - SHOWN_NAMES} other cells"


def cell_time_json(time: CellTime | None) -> dict[str, Any]:
    """``minutes`` of all of a cell's trials, one after another; ``None`` where they are unknown."""
    if time is None:
        return dict.fromkeys(("trial_minutes", "minutes", "least_minutes", "time_source", "set_minutes"))
    return {
        "set_minutes": time.trial.sets / 60,
        "trial_minutes": time.trial.seconds / 60,
        "minutes": time.seconds / 60,
        "least_minutes": time.least / 60,
        "time_source": time.trial.source,
    }


def time_json(times: PlanTime) -> dict[str, Any]:
    """``minutes`` of the sweep without the cells whose time is unknown; ``None`` where all are."""
    known = len(times.unknown) < len(times.cells)
    return {
        "minutes": times.seconds / 60 if known else None,
        "least_minutes": times.least / 60 if known else None,
        "at_once": times.at_once,
        "unknown": times.unknown,
    }
