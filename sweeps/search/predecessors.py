"""What cells wait for: the best trial of the cell they go on from, chosen once, when that cell has ended.

The choice is written to ``starts.json`` in the run folder, ``{"sft-lora": "3f2a9c81d0b4"}``: all that goes on from a
cell goes on from the same trial, also after a resume, and when ``search.trials`` has grown since.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.planning.dependencies import with_trained_trials
from trainables import results
from trainables.storage import files


class Waiting(Exception):  # noqa: N818
    """A cell that something goes on from has not ended yet."""


class NothingToStartFrom(Exception):  # noqa: N818
    """A cell has ended, and no trial of it can be gone on from; says so for a record."""


class Pipeline:
    """Fills in what trees take from cells. ``ended`` holds the names of the cells that have ended."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.ended: set[str] = set()
        path = run / "starts.json"
        self._chosen: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def filled(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """A trial's tree with the trials it takes from others in it.

        Raises :class:`Waiting`, :class:`NothingToStartFrom`.
        """
        return with_trained_trials(tree, self.run, self._best)

    def _best(self, cell: str) -> str:
        if cell not in self._chosen:
            if cell not in self.ended:
                raise Waiting(cell)
            self._choose(cell)
        return self._chosen[cell]

    def _choose(self, cell: str) -> None:
        records = [
            found for folder in results.trial_folders(self.run) if (found := results.read_record(folder))
        ]
        best = results.best([record for record in records if record.cell == cell])
        if best is None:
            raise NothingToStartFrom(
                f"it goes on from the best trial of {cell}, and no trial of that cell is done"
            )
        self._chosen[cell] = best.trial_id
        files.write_json(self.run / "starts.json", self._chosen)
