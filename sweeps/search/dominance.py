"""Which finished trial dominates one that is compared at a rung: better there, and predicted to need no more memory."""

from __future__ import annotations

from pathlib import Path

from sweeps.planning.cell import Cell
from trainables import results
from trainables.system.byte_sizes import gib
from trainables.trial.config import read_config


def dominated(run: Path, cell: Cell, trial_id: str, step: int, objective: float) -> str | None:
    """Why a trial of ``cell`` is not worth going on at ``step``, in words; ``None`` where no finished trial dominates
    it, or where memory can't be predicted.

    Only trials of the same cell count: one that ends for another method's sake would take from its method's budget.
    """
    if cell.predicted is None:
        return None
    needed = cell.predicted.for_config(read_config(run / "trials" / trial_id)).peak_bytes
    for folder in results.trial_folders(run):
        record = results.read_record(folder)
        if record is None or (record.cell, record.role, record.status) != (cell.name, "search", "done"):
            continue
        other = results.rung_values(folder, cell.comparisons).get(step)
        if other is None or other <= objective:
            continue
        peak = cell.predicted.for_config(read_config(folder)).peak_bytes
        if peak <= needed:
            return (
                f"trial {record.trial_id} is finished, was better at that step ({other:.4g} against {objective:.4g}) "
                f"and is predicted to need no more memory ({gib(peak)} against {gib(needed)})"
            )
    return None
