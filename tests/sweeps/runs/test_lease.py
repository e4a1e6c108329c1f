"""Who holds a run at a URL: one process at a time, reported to a second one, free again when its holder is dead."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from sweeps.runs import lease
from sweeps.runs.layout import LOCK, STOP
from sweeps.runs.lease import Lease, hold_lease, holder
from sweeps.spec.problems import SpecError
from trainables.storage.url_store import Store


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    quick = {"RENEW_SECONDS": 0.05, "DEAD_SECONDS": 0.4, "SETTLE_SECONDS": 0.05, "POLL_SECONDS": 0.02}
    for name, seconds in quick.items():
        monkeypatch.setattr(lease, name, seconds)
    return Store(f"memory://{secrets.token_hex(4)}/tiny", patience=0.2)


def taken(store: Store, **changes: object) -> Lease:
    """A lease of somebody on another machine."""
    found = replace(Lease.for_this_process(), holder="process 7 on far-away", machine="another", **changes)  # type: ignore[arg-type]
    store.write(LOCK, found.to_bytes())
    return found


def no_loss() -> None:
    pytest.fail("it was taken over")


def test_it_is_held_for_as_long_as_its_process_lives_and_renews_it(store: Store) -> None:
    with hold_lease(store, no_loss, patient=False):
        assert (
            holder(store)
            == f"process {os.getpid()} on {os.uname().nodename}"
            + (holder(store) or "")[(holder(store) or "").index(", since") :]
        )
        time.sleep(0.6)  # longer than it lives unrenewed
        assert holder(store) is not None
    assert holder(store) is None
    assert store.read(LOCK) is None


def test_a_second_run_is_refused_with_who_holds_it(store: Store) -> None:
    taken(store)
    with (
        pytest.raises(SpecError, match="another run holds it: process 7 on far-away"),
        hold_lease(store, no_loss, False),
    ):
        pass


@pytest.mark.parametrize(
    "content",
    [
        b"process 812 on node-1, since 2026-01-31T12:00:00.000+00:00\n",  # the lock of a run folder
        b"\xff\xfe",
        b"[" * 100_000,
        b"[1]",
        b'{"holder": "process 7"}',
        b'{"holder": 1, "token": [], "renewed": "now", "machine": null, "process": "7 8"}',
    ],
)
def test_a_lock_that_is_no_lease_is_held_by_nobody_and_replaced(store: Store, content: bytes) -> None:
    store.write(LOCK, content)
    assert holder(store) is None
    with hold_lease(store, no_loss, patient=False):
        assert f"process {os.getpid()}" in (holder(store) or "")


@pytest.mark.parametrize("process", ["", "x", "-1 2", f"{10**30} 1"])
def test_a_lease_of_no_process_is_free(store: Store, process: str) -> None:
    found = replace(Lease.for_this_process(), process=process)
    store.write(LOCK, found.to_bytes())
    assert holder(store) is None


def test_a_lease_of_a_later_version_is_one(store: Store) -> None:
    found = {**json.loads(taken(store).to_bytes()), "new": 1}
    store.write(LOCK, json.dumps(found).encode())
    assert holder(store) == "process 7 on far-away"


def test_an_error_that_nobody_expected_does_not_end_the_renewing(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    real, failures = store.write, list(range(3))

    def write(name: str, content: bytes) -> None:
        if failures:
            failures.pop()
            raise ValueError("a bug of a store")
        real(name, content)

    with hold_lease(store, no_loss, patient=False), pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "write", write)
        time.sleep(0.8)  # longer than it lives unrenewed
        assert holder(store) is not None
    assert failures == []
    assert capsys.readouterr().err.count("ValueError: a bug of a store") == 1


def test_whoever_resumes_waits_to_see_whether_the_holder_lives(store: Store) -> None:
    found = taken(store)
    renewed: list[bool] = []
    real = lease.read_lease

    def renewing(store: Store) -> Lease | None:
        if not renewed:
            renewed.append(True)
            return real(store)
        return replace(found, renewed=time.time())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "read_lease", renewing)
        with pytest.raises(SpecError, match="far-away"), hold_lease(store, no_loss, patient=True):
            pass


def test_a_lease_that_nobody_renews_is_taken_over_after_a_while(store: Store) -> None:
    taken(store)
    began = time.monotonic()
    with hold_lease(store, no_loss, patient=True):
        assert time.monotonic() - began > 0.3
        assert "far-away" not in (holder(store) or "")


def test_a_lease_that_is_old_by_the_clock_is_free_once_it_was_watched(store: Store) -> None:
    taken(store, renewed=time.time() - 10)
    assert holder(store) is None
    with hold_lease(store, no_loss, patient=False):
        pass


def test_a_holder_whose_clock_is_behind_keeps_its_lease(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = taken(store, renewed=time.time() - 1000)
    reads = iter([found, replace(found, renewed=time.time() - 990)])
    monkeypatch.setattr(lease, "read_lease", lambda store: next(reads))
    with pytest.raises(SpecError, match="far-away"), hold_lease(store, no_loss, patient=True):
        pass


def test_the_lease_of_a_process_that_was_here_and_is_gone_is_free_at_once(store: Store) -> None:
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    store.write(LOCK, replace(Lease.for_this_process(), process=f"{gone.stdout.strip()} 1").to_bytes())
    assert holder(store) is None
    with hold_lease(store, no_loss, patient=False):
        assert holder(store) is not None


def test_a_process_that_has_the_number_of_one_that_is_gone_is_not_it(store: Store) -> None:
    store.write(LOCK, replace(Lease.for_this_process(), process=f"{os.getpid()} 1").to_bytes())
    assert holder(store) is None


def test_of_two_who_take_over_a_dead_lease_the_later_has_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = taken(store, token="theirs")
    taken(store, renewed=time.time() - 10)
    write = Store.write

    def both(self: Store, name: str, content: bytes) -> None:
        for each in (content, theirs.to_bytes()):
            write(self, name, each)

    monkeypatch.setattr(Store, "write", both)
    with pytest.raises(SpecError, match="far-away"), hold_lease(store, no_loss, patient=False):
        pass


def test_a_holder_that_lost_its_lease_is_notified_and_leaves_the_new_lease_alone(store: Store) -> None:
    lost: list[bool] = []
    with hold_lease(store, lambda: lost.append(True), patient=False):
        taken(store)
        until = time.monotonic() + 5
        while not lost and time.monotonic() < until:
            time.sleep(0.01)
    assert lost == [True]
    assert json.loads(store.read(LOCK) or b"{}")["holder"] == "process 7 on far-away"


def test_a_word_to_stop_that_was_meant_for_another_is_forgotten(store: Store) -> None:
    store.write(STOP, b"")
    with hold_lease(store, no_loss, patient=False):
        assert store.read(STOP) is None
