"""The predicted memory of a cell as JSON: its parts, what a worker may use, and whether it fits."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sweeps.planning.cell import Cell
from sweeps.planning.memory.cell_memory import ConfigMemory
from sweeps.planning.memory.fit import Fit, assess_fit
from sweeps.planning.plan import largest_peak
from sweeps.planning.resources.sizes import Limit


def memory_json(cell: Cell, limit: Limit | None) -> dict[str, Any] | None:
    """The largest predicted peak of a cell against ``limit``; ``None`` where no peak can be predicted.

    The parts add up to the peak: ``correction_bytes``, which may be negative, is what earlier measurements changed.
    """
    if cell.predicted is None:
        return None
    peak = largest_peak(cell, limit.bytes) if limit is not None else cell.predicted.largest
    parts = {f"{name}_bytes": value for name, value in asdict(peak.prediction).items()}
    return {
        "peak_bytes": peak.peak_bytes,
        "least_peak_bytes": cell.predicted.smallest.peak_bytes,
        "parts": {**parts, "correction_bytes": peak.peak_bytes - sum(parts.values())},
        "workers": peak.workers,
        "device": peak.device,
        "predicted_by": peak.source,
        "available_bytes": limit.bytes if limit is not None else None,
        "available_source": limit.source if limit is not None else None,
        **_fit_json(cell, peak, limit),
    }


def _fit_json(cell: Cell, peak: ConfigMemory, limit: Limit | None) -> dict[str, Any]:
    if limit is None:
        return {"fits": None, "spare_bytes": None, "change": None}
    fit = assess_fit(cell.name, peak, limit.bytes)
    return {"fits": fit.spare >= 0, "spare_bytes": fit.spare, "change": change_json(fit)}


def change_json(fit: Fit) -> dict[str, Any] | None:
    """The cheapest change that makes a cell fit, as a spec writes it."""
    if fit.change is None:
        return None
    return {"change": fit.change.description, "peak_bytes": fit.change.predicted.peak_bytes}
