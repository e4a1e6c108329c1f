"""The trials that cells continue from: the best one of another cell, chosen once, when that cell has ended.

The choice is written to ``starts.json`` in the run folder, ``{"sft-lora": "3f2a9c81d0b4"}``: all that continues from a
cell continues from the same trial, also after a resume, and when ``search.trials`` has grown since.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.planning.dependencies import with_trained_trials
from trainables import results
from trainables.storage import files
from trainables.storage.damaged_files import read_object


class Waiting(Exception):  # noqa: N818
    """The cell to continue from has not ended yet."""


class NothingToStartFrom(Exception):  # noqa: N818
    """The cell to continue from has ended without a finished trial; the message is for a record."""


class Pipeline:
    """Fills the chosen trials into settings that name cells. ``ended``: the names of the cells that have ended."""

    def __init__(self, run: Path) -> None:
        """Raises ``DamagedFile``."""
        self.run = run
        self.ended: set[str] = set()
        path = run / "starts.json"
        self._chosen: dict[str, str] = read_object(path) if path.exists() else {}

    def filled(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """A cell's or trial's settings with the chosen trial in place of each cell that they name.

        Raises :class:`Waiting` or :class:`NothingToStartFrom`.
        """
        return with_trained_trials(tree, self.run, self._best)

    def _best(self, cell: str) -> str:
        if cell not in self._chosen:
            if cell not in self.ended:
                raise Waiting(cell)
            self._choose(cell)
        return self._chosen[cell]

    def _choose(self, cell: str) -> None:
        records = filter(None, map(results.read_record, results.trial_folders(self.run)))
        best = results.best([record for record in records if record.cell == cell])
        if best is None:
            raise NothingToStartFrom(
                f"{results.NOTHING_TO_START_FROM} {cell}, and no trial of that cell is done"
            )
        self._chosen[cell] = best.trial_id
        # On disk before any trial continues from it, so that a resume can't choose otherwise.
        files.write_json(self.run / "starts.json", self._chosen)
