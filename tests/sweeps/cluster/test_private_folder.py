"""The folder of an own Ray is its owner's alone, and goes with its process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from sweeps.cluster.private_folder import (
    LOCK,
    PREFIX,
    leftovers,
    private_folder,
    private_temporary_files,
)
from sweeps.doctor import report
from tests.helpers.paths import ROOT

LONGEST = "ray/session_2026-01-31_12-00-00_123456_4194304/sockets/plasma_store"
LEAVE = """
import os, pathlib, sys
from sweeps.cluster.private_folder import private_folder
with private_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
    os._exit(9)
"""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files with a short path, which it takes for a socket to fit."""
    folder = Path(tempfile.mkdtemp(prefix="p", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def age(folder: Path) -> None:
    os.utime(folder, (1, 1))


def test_nobody_else_may_enter_it_whatever_the_umask(place: Path) -> None:
    before = os.umask(0)
    try:
        with private_folder() as folder:
            assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


def test_the_path_of_a_socket_fits_where_temporary_files_are_far_down(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(place / ("x" * 90)))
    (place / ("x" * 90)).mkdir()
    with private_folder() as folder:
        assert len(os.fsencode(folder / LONGEST)) <= 107


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, None])
def test_it_is_removed_however_its_use_ends(place: Path, error: type[BaseException] | None) -> None:
    kept: list[Path] = []

    def use() -> None:
        with private_folder() as folder:
            kept.append(folder)
            (folder / "logs").mkdir()
            if error:
                raise error

    if error:
        with pytest.raises(error):
            use()
    else:
        use()
    assert not kept[0].exists()


def test_what_a_killed_process_left_is_removed_by_the_next_and_that_of_a_living_one_stays(
    place: Path,
) -> None:
    command = [sys.executable, "-c", LEAVE]
    start = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    killed, living = (subprocess.Popen(command, **start) for _ in range(2))  # type: ignore[call-overload]
    folders = [Path(each.stdout.readline().strip()) for each in (killed, living)]
    killed.communicate()
    for folder in folders:
        age(folder)
    assert leftovers() == [folders[0]]
    with private_folder():
        assert [folder.exists() for folder in folders] == [False, True]
    living.communicate()


def test_the_doctor_says_how_old_and_how_large_is_what_killed_processes_left(place: Path) -> None:
    assert report.leftovers().detail == "no temporary files of killed processes"
    for name in ("one", "two"):
        folder = place / f"{PREFIX}{name}"
        folder.mkdir()
        (folder / "session").write_bytes(bytes(2**20 * 5))
        os.utime(folder, (time.time() - 3 * 86400,) * 2)
    assert report.leftovers().detail == (
        f"2 temporary folders of killed processes, 0.01 GiB, the oldest 3 days old ({place / PREFIX}one); the next "
        "run or serve removes them"
    )


def test_temporary_files_of_a_process_and_of_those_that_it_starts_go_with_it(place: Path) -> None:
    make = "import tempfile; print(tempfile.mkdtemp(prefix='wandb-'))"
    with private_temporary_files() as folder:
        own = Path(tempfile.mkdtemp(prefix="paretune-"))
        child = subprocess.run([sys.executable, "-c", make], capture_output=True, text=True, check=True)
        assert own.parent == Path(child.stdout.strip()).parent == folder
        with private_folder() as of_ray:  # whose sockets need a short path
            assert len(os.fsencode(of_ray / LONGEST)) <= 107
    assert list(place.iterdir()) == []
    assert Path(tempfile.gettempdir()) == place
    assert os.environ["TMPDIR"] == str(place)


def test_a_link_or_a_folder_that_was_just_made_is_left_alone(place: Path) -> None:
    (place / "own").mkdir()
    (place / f"{PREFIX}link").symlink_to(place / "own")
    (place / f"{PREFIX}young").mkdir()
    (place / f"{PREFIX}young" / LOCK).touch()
    assert leftovers() == []


def test_an_examination_of_leftovers_leaves_them(place: Path) -> None:
    left = place / f"{PREFIX}old"
    left.mkdir()
    age(left)
    with private_temporary_files(keep_leftovers=True) as folder:
        assert leftovers() == [left]
        assert Path(tempfile.gettempdir()) == folder
    assert [path.name for path in place.iterdir()] == [left.name]
