"""The end of a sweep before its work is done: signals, ``paretune stop``, and the wait until every checkpoint is whole.

The first Ctrl-C has each trial save itself at its next step, as long as that takes; the second one ends the sweep at
once. SIGTERM comes from somebody who gives a limited time (Slurm, Kubernetes, a machine that shuts down): where that
time is known, only trials whose checkpoints fit into it save themselves. It may come again, and never hurries.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sweeps.planning.assessment.notice import Notice
from trainables.system.signals import handling

if TYPE_CHECKING:
    from sweeps.console.sweep_progress import SweepProgress
    from sweeps.runs.mirror import RunMirror
    from sweeps.search.shutdown import Shutdown

SAME_SECONDS = 1.0  # wrappers and `timeout` pass one Ctrl-C on twice
CLUSTER_SECONDS = 5.0  # for Tune to give back a cluster's resources once all trials are saved
CUT_OFF_SECONDS = 60.0  # for the end of a run that can't be written any more, or that another process holds


class SweepInterrupted(KeyboardInterrupt):
    """The sweep ended before its work was done; everything finished is kept and the run can be resumed."""


class Interruption:
    """Ends a sweep whose trials ``board`` knows. ``notice``: the time from SIGTERM to the end of all processes,
    ``None`` where that is unknown; ``bytes_per_second``: the speed of the run's disk.

    To be called once a second from the sweep's loop, in which it raises :class:`SweepInterrupted` once nothing is
    waited for any more.
    """

    def __init__(
        self,
        shutdown: Shutdown,
        board: Any,
        progress: SweepProgress,
        mirror: RunMirror,
        on_cluster: bool,
        notice: Notice | None = None,
        bytes_per_second: float | None = None,
    ) -> None:
        self.shutdown, self.board, self.progress, self.mirror = shutdown, board, progress, mirror
        self.on_cluster, self.notice, self.bytes_per_second = on_cluster, notice, bytes_per_second
        self._requested_at: float | None = None
        self._nothing_waited_for, self._leaving = False, False

    def request(self, *limit: float | None) -> None:
        """Has the trials save themselves and the sweep end. ``limit``: see ``Board.interrupt``."""
        first = self._requested_at is None
        self._requested_at = self._requested_at or time.monotonic()
        self.shutdown.request()
        # Not waited for: a handler of signals must not hang where the cluster doesn't answer.
        self.board.interrupt.remote(*limit)
        if first:
            self.progress.interrupted()
        if not self.mirror.usable:
            signal.setitimer(signal.ITIMER_REAL, CUT_OFF_SECONDS)

    @contextmanager
    def signals_handled(self) -> Iterator[None]:
        """Handles SIGINT and SIGTERM within the block."""
        with (
            handling([signal.SIGINT], self._on_ctrl_c),
            handling([signal.SIGTERM], self._on_sigterm),
            handling([signal.SIGALRM], self._leave),
        ):
            try:
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)

    def _on_ctrl_c(self, number: int, frame: Any) -> None:
        if self._requested_at is None:
            self.request()
        elif time.monotonic() - self._requested_at > SAME_SECONDS:
            raise SweepInterrupted

    def _on_sigterm(self, number: int, frame: Any) -> None:
        self.request(*((self.notice.seconds, self.bytes_per_second) if self.notice else ()))

    def _leave(self, number: int, frame: Any) -> None:
        raise SweepInterrupted

    def __call__(self) -> None:
        import ray

        waiting = ray.get(self.board.waiting.remote())
        self.progress.show_failures(waiting.failures)
        if not self.shutdown.requested:
            return
        self.progress.show_saving(waiting)
        # Twice in a row: a trial that has just ended a step saves that, too. One that is only starting has nothing to
        # save, and is not waited for.
        if not waiting.saving and self._nothing_waited_for and not self._leaving:
            self._leaving = True
            if not self.on_cluster:
                raise SweepInterrupted
            signal.setitimer(signal.ITIMER_REAL, CLUSTER_SECONDS)
        self._nothing_waited_for = not waiting.saving
