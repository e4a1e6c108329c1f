"""What each trial that has not started waits for, in words: memory, cores, another trial, the end of a search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sweeps.cluster.packing import lacking
from sweeps.search.trial_queue import TrialQueue


@dataclass(frozen=True)
class Wait:
    """``name``: a trial with its cell, a cell whose next trial waits, or what is held back."""

    name: str
    reason: str

    @property
    def kind(self) -> tuple[str, str]:
        """The wait without its figures, which change all the time: ``("sft-lora", "memory")``."""
        return self.name, self.reason.partition(":")[0]

    def __str__(self) -> str:
        """``sft-lora 3f2a9c81d0b4 waits for memory: needs 2 GiB, free 1.2 GiB``."""
        return f"{self.name} waits for {self.reason}"


def waits(queue: TrialQueue) -> Iterator[Wait]:
    """What waits while fewer trials run than could, in the order of the queue; empty where all can start at once."""
    admission = queue.admission
    cells = {config.trial_id(): config.cell for config in (*queue.work.waiting, *queue.work.later)}
    first: str | None = None  # that all behind it wait for
    for name, size in queue.without_capacity():
        shown = f"{cells[name]} {name}" if name in cells else f"the next trial of {name}"
        reason = lacking(admission.machines, admission.running.values(), size)
        if reason:
            yield Wait(shown, reason)
            if first is None and queue.holds_up(name):
                first = shown
        elif first is not None:
            yield Wait(shown, f"{first}, before which others have started too often")
    for name, reason in queue.work.held():
        yield Wait(name, reason)
