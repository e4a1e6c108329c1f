"""Who holds a run folder: one driver at a time, and none where the file system has no locks."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from sweeps.runs import lock
from sweeps.spec.problems import SpecError


def test_a_second_driver_is_told_who_holds_the_run_and_what_to_do_instead(tmp_path: Path) -> None:
    with lock.held(tmp_path):
        assert f"process {os.getpid()} on " in (lock.holder(tmp_path) or "")
        with (
            pytest.raises(SpecError, match=rf"holds it: process {os.getpid()} on .*--set name=NAME"),
            lock.held(tmp_path),
        ):
            pass
    assert lock.holder(tmp_path) is None


def test_a_file_system_without_locks_is_named_as_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lustre without its option flock, where the name of an earlier holder was taken for that of a living one."""
    with lock.held(tmp_path):
        pass

    def none(file: object, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", none)
    with (
        pytest.raises(SpecError, match="its file system has no locks"),
        lock.held(tmp_path),
    ):
        pass
    assert lock.holder(tmp_path) is None
