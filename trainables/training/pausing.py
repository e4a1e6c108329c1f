"""Whether a trial that pauses saves itself, or repeats its steps if it goes on: they are the same bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

BYTES_PER_SECOND = 100 * 2**20  # where a disk's speed is not known


@dataclass(frozen=True)
class Pausing:
    """``share``: of paused trials, that go on. ``bytes_per_second``: at which checkpoints are written and read.

    >>> adapter, whole_model = 30 * 2**20, 12 * 2**30
    >>> Pausing().saves(adapter, train_seconds=8), Pausing().saves(whole_model, train_seconds=8)
    (True, False)
    """

    share: float = 1 / 3
    bytes_per_second: float = BYTES_PER_SECOND

    def saves(self, checkpoint_bytes: int, train_seconds: float) -> bool:
        """Whether less time is expected to go into a checkpoint than into training the steps again.

        Every paused trial would write one; only those that go on read it, or train again.
        """
        transfer = checkpoint_bytes / self.bytes_per_second
        return transfer * (1 + self.share) < train_seconds * self.share
