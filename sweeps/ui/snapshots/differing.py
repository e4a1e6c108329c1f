"""Which settings differ between the trials of a cell: the columns of a run's table."""

from __future__ import annotations

from typing import Any

from reports.analysis.configs import leaves

# What tells trials apart otherwise, and is shown in columns of its own.
IDENTITY = frozenset({"cell", "role", "method_name"})
SEED = "train.seed"  # which finalists differ in
_ABSENT = "\0absent"


class DifferingSettings:
    """The settings of trials as they are added, and by cell which of them differ."""

    def __init__(self) -> None:
        self._leaves: dict[str, dict[str, Any]] = {}  # by trial id
        self._first: dict[str, dict[str, Any]] = {}  # by cell
        self._differing: dict[str, None] = {}  # an ordered set of paths

    @property
    def columns(self) -> list[str]:
        return sorted(self._differing)  # the same after a restart, in whatever order folders are listed

    def add(self, trial_id: str, cell: str, role: str, config: dict[str, Any]) -> bool:
        """Adds a trial; returns whether there are more columns now."""
        if trial_id in self._leaves:
            return False
        values = {path: value for path, value in leaves(config) if path not in IDENTITY}
        self._leaves[trial_id] = values
        # A finalist differs from the others in its seed alone, and the untrained model in everything.
        if role not in ("search", "added"):
            return False
        before = len(self._differing)
        first = self._first.setdefault(cell, values)
        if first is not values and first != values:
            for path in {**first, **values}:
                if first.get(path, _ABSENT) != values.get(path, _ABSENT):
                    self._differing[path] = None
        return len(self._differing) > before

    def of(self, trial_id: str) -> dict[str, Any]:
        """The values of a trial's differing settings, by path."""
        values = self._leaves.get(trial_id, {})
        return {path: values[path] for path in self._differing if path in values}

    def all(self, trial_id: str) -> dict[str, Any]:
        """All settings of a trial, by path."""
        return dict(self._leaves.get(trial_id, {}))
