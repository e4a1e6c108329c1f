"""Which process holds a run at a URL: a lease, the object ``.lock``, that its holder renews while it lives.

A store has no locks that end with their process. A lease is free when it was not renewed for :data:`DEAD_SECONDS`, and
at once when its process was on this machine and is gone.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from sweeps.runs.layout import LOCK, STOP
from sweeps.runs.lock import held_by
from sweeps.spec.problems import SpecError
from trainables.storage.url_store import StorageError, Store
from trainables.system import provenance
from trainables.system.background import call_periodically

RENEW_SECONDS = 10.0
DEAD_SECONDS = 60.0
# After a dead lease was taken over: of two processes that did so at once, the one that wrote later has it.
SETTLE_SECONDS = 2.0
POLL_SECONDS = 1.0  # between reads of a lease that may be dead


@dataclass(frozen=True)
class Lease:
    """``holder`` is a text for users and ``token`` unique to this holder; ``renewed`` is in seconds since 1970.

    The holder runs on ``machine`` as ``process``, as ``_machine`` and ``_process`` identify them.
    """

    holder: str
    token: str
    renewed: float
    machine: str | None
    process: str

    @classmethod
    def for_this_process(cls) -> Lease:
        holder = f"process {os.getpid()} on {socket.gethostname()}, since {provenance.now()}"
        return cls(holder, secrets.token_hex(8), time.time(), _machine(), _process(os.getpid()) or "")

    @classmethod
    def from_bytes(cls, content: bytes) -> Lease | None:
        """The lease in the object ``.lock``; ``None`` where something else is in it: the lock of a run folder that was
        copied to the store, which no process holds there.
        """
        try:
            values = json.loads(content)
            lease = cls(**{field.name: values[field.name] for field in fields(cls)})
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        texts = (lease.holder, lease.token, lease.process, lease.machine or "")
        is_time = isinstance(lease.renewed, float | int) and not isinstance(lease.renewed, bool)
        return lease if is_time and all(isinstance(text, str) for text in texts) else None

    def gone(self) -> bool:
        """Whether its process was on this machine and has ended."""
        on_this_machine = self.machine is not None and self.machine == _machine()
        number = self.process.partition(" ")[0]
        return on_this_machine and not (number.isdecimal() and _process(int(number)) == self.process)

    def stale(self) -> bool:
        """Whether it was not renewed for too long, provided the clocks of its machine and this one agree."""
        return time.time() - self.renewed > DEAD_SECONDS

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def read_lease(store: Store) -> Lease | None:
    """The lease there is; ``None`` when no process holds the run."""
    content = store.read(LOCK)
    return Lease.from_bytes(content) if content else None


def holder(store: Store) -> str | None:
    """The process that holds the run at a URL, as its lease names it; ``None`` when none does."""
    lease = read_lease(store)
    return None if lease is None or lease.gone() or lease.stale() else lease.holder


@contextmanager
def hold_lease(store: Store, lost: Callable[[], None], patient: bool) -> Iterator[None]:
    """Holds the run at a URL within the block. Raises ``SpecError`` that says which process holds it.

    ``lost`` is called if another process takes the run over, as after a long sleep of this machine. ``patient``: waits
    until it is clear whether the holder of an existing lease is dead.
    """
    lease = _acquire(store, patient)
    store.remove([STOP])  # meant for the process that held it before
    try:
        with call_periodically(lambda: _renew(store, lease, lost), RENEW_SECONDS):
            yield
    finally:
        # No renewal is under way any more that could write the lease again.
        with suppress(StorageError):  # if that fails, the lease is free once it was not renewed for a while
            # The lease of a process that has taken the run over stays.
            if (now := read_lease(store)) is not None and now.token == lease.token:
                store.remove([STOP, LOCK])


def _acquire(store: Store, patient: bool) -> Lease:
    existing = read_lease(store)
    if existing is None:
        lease = Lease.for_this_process()
        # Most stores create exclusively, so of two processes that start at once only one succeeds here.
        if store.create(LOCK, lease.to_bytes()):
            return lease
        existing = read_lease(store)
    # `existing` is None here if another process was faster and has ended already: the run is then taken over.
    if existing is not None and not _is_free(store, existing, patient):
        raise _held_error(store, existing)
    lease = Lease.for_this_process()
    store.write(LOCK, lease.to_bytes())
    time.sleep(SETTLE_SECONDS)  # another process may be taking it over too; the last one to write has it
    now = read_lease(store)
    if now is not None and now.token != lease.token:
        raise _held_error(store, now)
    return lease


def _held_error(store: Store, lease: Lease) -> SpecError:
    return SpecError(held_by(store.url, lease.holder))


def _is_free(store: Store, lease: Lease, patient: bool) -> bool:
    """Whether no process renews a lease any more. Clocks may differ, so the lease is watched for a while."""
    if lease.gone():
        return True
    if not lease.stale() and not patient:
        return False
    began = time.monotonic()
    # A lease that looks stale need only miss one renewal, in case the clocks differ. A fresh one has to stay
    # unchanged for as long as a dead one does.
    while time.monotonic() < began + (1.5 * RENEW_SECONDS if lease.stale() else DEAD_SECONDS):
        time.sleep(POLL_SECONDS)
        now = read_lease(store)
        # A renewed lease means a living holder; a lease that is gone was given up.
        if now is None or now != lease:
            return now is None
    return True


def _renew(store: Store, lease: Lease, lost: Callable[[], None]) -> bool:
    """Whether the lease is still this process's; ``False`` ends the renewing."""
    with suppress(StorageError):  # while the store fails no other process can take it
        # Read before it is written: after a takeover, writing would take the run back from its new holder.
        now = read_lease(store)
        if now is not None and now.token != lease.token:
            lost()
            return False
        store.write(LOCK, replace(lease, renewed=time.time()).to_bytes())
    return True


def _machine() -> str | None:
    """Identifies this boot of this machine and its space of process ids; ``None`` where the system has no such id."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return None


def _process(number: int) -> str | None:
    """Identifies a living process by its id and its start time, for ids are used again; ``None`` if there is none."""
    try:
        status = Path(f"/proc/{number}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    # The name, in parentheses, may hold spaces and parentheses itself. After it: the state, and as the 20th the start.
    fields = status.rpartition(")")[2].split()
    # A zombie has ended, and only waits for its parent to ask for its exit code.
    return None if fields[0] == "Z" else f"{number} {fields[19]}"
