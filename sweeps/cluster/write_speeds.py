"""How long checkpoints take to write, by those that a sweep has written."""

from __future__ import annotations

from dataclasses import dataclass

COMPARABLE = 4.0  # times as large or as small; in a smaller one, most of the time goes by the number of files
MARGIN = 1.25  # by which the next checkpoint may take longer than the slowest one so far


@dataclass(frozen=True)
class WriteSpeeds:
    """``written``: (bytes, bytes per second) of each checkpoint that was written. ``expected``: bytes per second of
    others; ``None`` where that is unknown.
    """

    written: frozenset[tuple[int, float]] = frozenset()
    expected: float | None = None

    def seconds(self, size: int) -> float:
        """The seconds that a checkpoint of ``size`` bytes takes; 0 where nothing is known.

        >>> speeds = WriteSpeeds(frozenset({(1000, 125.0)}), expected=900.0)
        >>> speeds.seconds(1000), speeds.seconds(9000)
        (10.0, 10.0)
        """
        speed = self._measured(size) or self.expected
        return size / speed if speed else 0.0

    def _measured(self, size: int) -> float | None:
        """The slowest speed of checkpoints of about this size, or else of larger ones."""
        about = [
            speed for written, speed in self.written if size / COMPARABLE <= written <= size * COMPARABLE
        ]
        larger = [speed for written, speed in self.written if written > size]
        slowest = min(about or larger, default=None)
        return None if slowest is None else slowest / MARGIN
