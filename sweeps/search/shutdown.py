"""Whether a sweep is ending before its work is done: after Ctrl-C, a stop request, or a wait that was too long."""

from __future__ import annotations


class Shutdown:
    """Shared by all that can end a sweep and all that must know. Safe to request in a signal handler.

    No lock, unlike ``threading.Event``: a handler that interrupts the very call that takes the lock would wait forever.
    """

    def __init__(self) -> None:
        self._requested = False

    @property
    def requested(self) -> bool:
        """Once true, no new trial is proposed."""
        return self._requested

    def request(self) -> None:
        self._requested = True

    def withdraw(self) -> None:
        """Undoes a request whose reason no longer holds, so that a new driver can continue."""
        self._requested = False
