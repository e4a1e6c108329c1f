"""Who holds a run at a URL: a lease, the object ``.lock``, that its holder renews while it lives.

A store has no locks that end with their process. A lease that wasn't renewed for :data:`DEAD_SECONDS` is free, and at
once where its process was on this machine and is gone.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sweeps.runs.layout import LOCK, STOP
from sweeps.runs.lock import held_by
from sweeps.spec.problems import SpecError
from trainables.storage.url_store import StorageError, Store
from trainables.system import provenance
from trainables.system.background import call_periodically

RENEW_SECONDS = 10.0
DEAD_SECONDS = 60.0
SETTLE_SECONDS = 2.0  # after a dead lease was taken over: of two who did so at once, the later one has it
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Lease:
    """``token`` is the holder's own, ``renewed`` in seconds since 1970; it runs on ``machine`` as ``process``."""

    holder: str
    token: str
    renewed: float
    machine: str | None
    process: str

    @classmethod
    def ours(cls) -> Lease:
        holder = f"process {os.getpid()} on {socket.gethostname()}, since {provenance.now()}"
        return cls(holder, secrets.token_hex(8), time.time(), _machine(), _process(os.getpid()) or "")

    def gone(self) -> bool:
        """Whether its process was on this machine and is no more."""
        here = self.machine is not None and self.machine == _machine()
        return here and _process(int(self.process.partition(" ")[0])) != self.process

    def stale(self) -> bool:
        """Whether it wasn't renewed for long, if the clocks of its machine and this one agree."""
        return time.time() - self.renewed > DEAD_SECONDS

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def read(store: Store) -> Lease | None:
    content = store.read(LOCK)
    return Lease(**json.loads(content)) if content else None


def holder(store: Store) -> str | None:
    """Which process holds the run at a URL, as it says itself; ``None`` when none does."""
    found = read(store)
    return None if found is None or found.gone() or found.stale() else found.holder


@contextmanager
def held(store: Store, lost: Callable[[], None], patient: bool) -> Iterator[None]:
    """Holds the run at a URL. ``lost`` is called should another take it, as after a long sleep of this machine.

    ``patient``: a lease that may be a dead process's is waited for until that is clear. Raises ``SpecError`` that says
    who holds it.
    """
    lease = _taken(store, patient)
    store.remove([STOP])  # meant for whoever held it before
    try:
        with call_periodically(lambda: _renew(store, lease, lost), RENEW_SECONDS):
            yield
    finally:
        with suppress(StorageError):  # then it is free once it wasn't renewed for a while
            if (now := read(store)) is not None and now.token == lease.token:
                store.remove([STOP, LOCK])


def _taken(store: Store, patient: bool) -> Lease:
    found = read(store)
    if found is None:
        lease = Lease.ours()
        if store.create(LOCK, lease.to_bytes()):
            return lease
        found = read(store)
    if found is not None and not _is_free(store, found, patient):
        raise _refused(store, found)
    lease = Lease.ours()
    store.write(LOCK, lease.to_bytes())
    time.sleep(SETTLE_SECONDS)
    now = read(store)
    if now is not None and now.token != lease.token:
        raise _refused(store, now)
    return lease


def _refused(store: Store, found: Lease) -> SpecError:
    return SpecError(held_by(store.url, found.holder))


def _is_free(store: Store, found: Lease, patient: bool) -> bool:
    """Whether nobody renews a lease any more. What clocks say is not enough: it is watched."""
    if found.gone():
        return True
    if not found.stale() and not patient:
        return False
    began = time.monotonic()
    while time.monotonic() < began + (1.5 * RENEW_SECONDS if found.stale() else DEAD_SECONDS):
        time.sleep(LOOK_SECONDS)
        now = read(store)
        if now is None or now != found:
            return now is None
    return True


def _renew(store: Store, lease: Lease, lost: Callable[[], None]) -> bool:
    """Whether the lease is still this process's."""
    with suppress(StorageError):  # while the store fails nobody else can take it
        now = read(store)
        if now is not None and now.token != lease.token:
            lost()
            return False
        store.write(LOCK, replace(lease, renewed=time.time()).to_bytes())
    return True


def _machine() -> str | None:
    """What tells this machine, and its processes' numbers, from others; ``None`` where nothing does."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return None


def _process(number: int) -> str | None:
    """A process of this machine, told from later ones of its number by when it began; ``None`` if there is none."""
    try:
        status = Path(f"/proc/{number}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    # The name in parentheses may hold anything; the state is the first field after it.
    fields = status.rpartition(")")[2].split()
    return None if fields[0] == "Z" else f"{number} {fields[19]}"
