"""The first comparison of a sweep in breadth: the best trial of each cell at its first rung, before any goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeps.search.remaining_work import RemainingWork
from sweeps.search.study import CellStudy
from trainables import results
from trainables.system.wording import clock, counted

MEASURES = {
    "training": "training loss (lower is better)",
    "validation": "on the validation rows (higher is better)",
}
ALIKE = ("stage", "model", "data")  # of cells whose values are comparable


class FirstComparison:
    """A task of the sweep's loop: once all cells that wait for no other are compared at their first rung, ``keep`` gets
    what is known then, and ``log`` the same in words. ``seconds``: that the run took before, in earlier sessions.
    """

    def __init__(
        self,
        work: RemainingWork,
        run: Path,
        log: Callable[[str], None],
        keep: Callable[[dict[str, Any]], object],
        seconds: float,
    ) -> None:
        self.work, self.run, self.log, self.keep = work, run, log, keep
        self._since = time.monotonic() - seconds
        self.studies = [
            study
            for study in work.studies.values()
            if study.cell.search.breadth_first and study.cell.rungs and not study.cell.depends_on
        ]
        self._open = bool(self.studies)

    def __call__(self) -> None:
        compared = self.work.paused.compared
        if not self._open or any(not compared.get(study.cell.name) for study in self.studies):
            return
        self._open = False
        cells = [best for study in self.studies if (best := self._best(study)) is not None]
        seconds = time.monotonic() - self._since
        text = in_words(seconds, cells)
        self.keep({"seconds": round(seconds, 1), "cells": cells, "text": text})
        self.log(text)

    def _best(self, study: CellStudy) -> dict[str, Any] | None:
        """The best trial of a cell at its first rung; ``None`` where none has reached it."""
        cell, rung = study.cell, study.cell.rungs[0]
        values = {
            trial_id: value
            for trial_id in study.proposed()
            if (value := results.rung_values(self.run / "trials" / trial_id, cell.comparisons).get(rung))
            is not None
        }
        if not values:
            return None
        best = max(values, key=values.__getitem__)
        by = cell.comparisons[rung]
        known = {
            "cell": cell.name,
            "stage": cell.stage,
            "trial_id": best,
            "value": values[best],
            "compared_by": by,
        }
        first = cell.first()
        # Losses of other tokenizers and other rows are not comparable.
        alike = {"model": first.model.label, "data": first.data.label}
        return {**known, **alike, "step": rung, "steps": cell.steps, "trials": len(values)}


def in_words(seconds: float, cells: Sequence[Mapping[str, Any]]) -> str:
    """``first comparison after 2 min 5 s, of 32 trials: sft-lora 0.512 (3f2a9c81d0b4), sft-full 0.633 (...) at step 4
    of 40, training loss (lower is better)``; of the cells with one stage, model and data the best first.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for cell in cells:
        key = tuple(cell[name] for name in (*ALIKE, "step", "steps", "compared_by"))
        groups.setdefault(key, []).append(cell)
    parts = []
    for (*_, step, steps, by), group in groups.items():
        sign = -1 if by == "training" else 1  # values are higher for the better, as objectives
        ordered = sorted(group, key=lambda cell: -cell["value"])
        bests = ", ".join(
            f"{cell['cell']} {sign * cell['value']:.4g} ({cell['trial_id']})" for cell in ordered
        )
        parts.append(f"{bests} at step {step} of {steps}, {MEASURES[by]}")
    trials = counted(sum(cell["trials"] for cell in cells), "trial")
    return f"first comparison after {clock(seconds)}, of {trials}: {'; '.join(parts)}"
