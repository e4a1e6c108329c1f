"""How many trials of a plan run at a time, and which of them are not started because they need too much memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sweeps.cluster.packing import Machine, how_many
from sweeps.cluster.session import DRIVERS
from sweeps.planning.resources.sizes import Sizes
from trainables.system.byte_sizes import GIB, gib

if TYPE_CHECKING:
    from sweeps.planning.plan import Plan


def slots(plan: Plan, machines: Sequence[Machine]) -> int:
    """How many trials run at a time: what the spec asks for, but no more than fit on the machines; at least one.

    Memory doesn't count here: a trial that doesn't fit waits, or is not started at all.
    """
    limit = min(plan.spec.resources.concurrent or DRIVERS, DRIVERS)
    unplaced = Sizes(())
    sizes = dict.fromkeys(replace(unplaced.smallest(cell), memory=0) for cell in plan.cells)
    return max(1, max((how_many(machines, size, limit) for size in sizes), default=1))


def warnings(plan: Plan, sizes: Sizes) -> list[str]:
    """A line for each cell of which some trials, or all, will not be started."""
    lines = []
    for cell in plan.cells:
        memory, limit = cell.predicted, sizes.limit(cell.resources)
        if memory is None or limit is None or sizes.excess(cell, memory.largest.config) is None:
            continue
        which = "no trial fits" if sizes.excess(cell, memory.smallest.config) else "not every trial fits"
        peak = f"predicted peak {memory.smallest.peak_bytes / GIB:.2f} to {gib(memory.largest.peak_bytes)}"
        lines.append(
            f"{cell.name}: {which} ({peak}; a worker has {gib(limit.bytes)}: {limit.source}). Trials that don't fit "
            "are rows of the report and are not started; --force starts them"
        )
    return lines
