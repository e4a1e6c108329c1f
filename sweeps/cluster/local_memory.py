"""This machine and its memory for trials while a sweep runs: other processes may give some back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sweeps.cluster.node_resources import this_machine
from sweeps.cluster.packing import Machine


class LocalMachine:
    """What trials may use of this machine, when Ray was started for them alone.

    ``at_start``: the bytes that were free before any trial. Later more may be free than that, and trials can have it;
    what the trials of the sweep use is not free, so that there is at least as much for them as is free now.
    """

    def __init__(
        self, at_start: int | None, free: Callable[[], int | None] = lambda: this_machine().memory
    ) -> None:
        self.at_start, self.free = at_start, free

    def with_memory(self, machines: list[Machine]) -> list[Machine]:
        """The one machine that Ray knows, with the memory that there is now."""
        if self.at_start is None:
            return machines
        memory = max(self.at_start, self.free() or 0)
        return [replace(machine, memory=memory) for machine in machines]
