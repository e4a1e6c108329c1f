"""How much of a run has ended: a report may be written at any time, and must not look finished before it is."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import PurePosixPath

from reports import units
from reports.text import text
from trainables.results import Record, Run, expected_trials


@dataclass(frozen=True)
class Progress:
    """``to_go`` of ``total`` trials (of search and finalists) of a run remain, in ``cells``; ``command`` runs them."""

    run: str
    to_go: int
    total: int
    cells: tuple[str, ...]
    command: str | None

    @property
    def text(self) -> str:
        """``5 of 6 trials to go``."""
        return text("{left} of {all} to go", left=self.to_go, all=units.count(self.total, "trial"))


def progress(run: Run) -> Progress | None:
    """``None`` for a run that has ended, and for one that doesn't say how many trials it was to have."""
    planned = run.environment.get("plan") or {}
    budgets, finalists = planned.get("trials") or {}, planned.get("finalists") or {}
    outside = ("base", "added")  # of what the plan counts
    ended = [each for each in run.records if each.status != "interrupted" and each.role not in outside]
    by_cell = {cell: [record for record in ended if record.cell == cell] for cell in budgets}
    expected = {cell: expected_trials(by_cell[cell], budget, finalists) for cell, budget in budgets.items()}
    # By cell, because one may have had further trials since.
    open_cells = {c: expected[c] - len(by_cell[c]) for c in budgets if expected[c] > len(by_cell[c])}
    if not open_cells:
        return None
    name = str(run.environment.get("name") or run.name)
    to_go, total = sum(open_cells.values()), sum(expected.values())
    return Progress(name, to_go, total, tuple(open_cells), _resuming(run))


def typed_command(run: Run) -> str | None:
    """The command that made the run, as typed for a new one: without ``--resume``. ``None`` where unknown."""
    typed = run.environment.get("command")
    return None if typed is None else re.sub(r"\s+--resume(?=\s|$)", "", str(typed))


def run_location(run: Run) -> str:
    """The run's folder, as seen from where its command was typed, or its URL.

    As its driver recorded it: the folder of a mirror or copy means nothing to others. A folder of another name than
    was recorded was moved or copied by hand, and is named itself.
    """
    place = str(run.environment.get("place") or run.folder)
    if "://" not in place and PurePosixPath(place).name != run.name:
        return str(run.folder)
    words = _words(typed_command(run) or "")
    output = next((after for word, after in pairwise(words) if word == "--output"), "runs")
    relative = PurePosixPath(output)
    names = PurePosixPath(place).parent.parts
    if "://" in place or relative.is_absolute() or ".." in relative.parts:
        return place
    return f"{relative / run.name}" if names[-len(relative.parts) :] == relative.parts else place


def wall_seconds(run: Run) -> tuple[float, bool] | None:
    """The time of all sessions of a run together, and whether that is all: a session that was killed, or that still
    runs, has noted no time. ``None`` where no time is known.
    """
    noted = float(run.environment.get("seconds") or 0.0)
    measured = _covered_seconds(run.records)
    if max(noted, measured) <= 0:
        return None
    return max(noted, measured), noted >= measured


def _covered_seconds(records: Sequence[Record]) -> float:
    """The time in which at least one trial was at work."""
    spans = sorted(_spans(records))
    total, until = 0.0, float("-inf")
    for begun, ended in spans:
        total += max(0.0, ended - max(begun, until))
        until = max(until, ended)
    return total


def _spans(records: Iterable[Record]) -> Iterable[tuple[float, float]]:
    for record in records:
        if record.started_at and record.ended_at:
            yield (
                datetime.fromisoformat(record.started_at).timestamp(),
                datetime.fromisoformat(record.ended_at).timestamp(),
            )


def _words(command: str) -> list[str]:
    """The words of a shell's command; a damaged one is none."""
    with suppress(ValueError):
        return shlex.split(command)
    return []


def _resuming(run: Run) -> str | None:
    command = typed_command(run)
    # What settles or tries a run is no command that resumes it.
    if command is None or _words(command)[:2] != ["paretune", "run"]:
        return None
    return f"{command} --resume"
