"""A sweep that outlasts its storage's outages: what starts again, with which state, and what doesn't. No Ray."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from sweeps.execution import launch
from sweeps.execution.loop_tasks import FolderWatch
from sweeps.runs.mirror import NoMirror
from sweeps.search.shutdown import Shutdown
from trainables.storage.url_store import StorageError


class Driver:
    """Sweeps by doing what a test says."""

    def __init__(self, *outcomes: BaseException | None) -> None:
        self.outcomes = list(outcomes)
        self.sweeps = 0

    def work_left(self) -> bool:
        return bool(self.outcomes)

    def sweep(self) -> None:
        self.sweeps += 1
        if (error := self.outcomes.pop(0)) is not None:
            raise error


class Mirror(NoMirror):
    def __init__(self) -> None:
        self.restarts = 0

    def restart(self) -> None:
        self.restarts += 1


class Progress:
    def __init__(self) -> None:
        self.messages: list[str] = []

    def log(self, text: str) -> None:
        self.messages.append(text)


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def sweep(first: Driver, later: list[Driver], run: Path) -> tuple[Mirror, Progress]:
    mirror, progress = Mirror(), Progress()
    drivers: Any = iter(later)
    launch._sweep_over_outages(first, lambda: next(drivers), run, progress, mirror)  # type: ignore[arg-type]
    return mirror, progress


def test_a_sweep_that_ends_well_is_not_begun_again(tmp_path: Path) -> None:
    driver = Driver(None, None)
    mirror, progress = sweep(driver, [], tmp_path)
    assert (driver.sweeps, mirror.restarts, progress.messages) == (1, 0, [])


def test_nothing_is_swept_where_no_work_is_left(tmp_path: Path) -> None:
    driver = Driver()
    sweep(driver, [], tmp_path)
    assert driver.sweeps == 0


def test_after_an_outage_a_new_driver_continues_with_what_the_run_is_by_then(tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    drivers = [Driver(full_disk()), Driver(full_disk()), Driver(None)]
    mirror, progress = sweep(drivers[0], drivers[1:], tmp_path)
    assert [driver.sweeps for driver in drivers] == [1, 1, 1]
    assert mirror.restarts == 2
    assert len(progress.messages) == 2
    assert "No space left on device" in progress.messages[0]
    assert not (tmp_path / ".ray").exists()


def test_a_disk_that_stays_full_ends_the_sweep_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch.outage, "wait_until_writable", lambda folder: False)
    with pytest.raises(
        StorageError, match=r"nothing could be written for 30 minutes: .*No space left on device"
    ):
        sweep(Driver(full_disk()), [], tmp_path)


class Interrupted:
    """A driver whose sweep is ended by Ctrl-C."""

    def __init__(self, *arguments: Any) -> None:
        self.shutdown: Shutdown = arguments[5]

    def work_left(self) -> bool:
        return True

    def sweep(self) -> None:
        self.shutdown.request()
        raise KeyboardInterrupt


def test_tables_that_cannot_be_written_after_ctrl_c_leave_it_a_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise full_disk()

    monkeypatch.setattr("sweeps.execution.sweep_driver.SweepDriver", Interrupted)
    monkeypatch.setattr(launch, "_write_results", full)
    progress = Progress()
    with pytest.raises(KeyboardInterrupt):
        launch.run(None, tmp_path, None, progress, Mirror())  # type: ignore[arg-type]
    assert "the tables could not be written: [Errno 28] No space left on device" in progress.messages


def test_no_files_are_written_in_place_of_a_run_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.execution.sweep_driver.SweepDriver", Interrupted)
    progress, run = Progress(), tmp_path / "run"
    (run / "trials" / "a" / "checkpoint-1").mkdir(parents=True)  # of a trial that still wrote
    with pytest.raises(KeyboardInterrupt):
        launch.run(None, run, None, progress, Mirror())  # type: ignore[arg-type]
    assert [path.name for path in run.iterdir()] == ["trials"]
    message = f"the tables could not be written: the run folder {run} is gone, and its trials with it"
    assert message in progress.messages


def test_a_run_folder_that_is_gone_is_said_at_once_and_once_and_so_is_its_return(tmp_path: Path) -> None:
    messages: list[str] = []
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "environment.json").touch()
    watch = FolderWatch(folder, messages.append)
    watch()
    folder.rename(tmp_path / "elsewhere")
    watch()
    (folder / "trials").mkdir(parents=True)  # by a trial that writes on
    watch()
    (folder / "trials").rmdir()
    folder.rmdir()
    (tmp_path / "elsewhere").rename(folder)
    watch()
    watch()
    assert [message.partition(f"the run folder {folder} ")[2].split(":")[0] for message in messages] == [
        "is gone",
        "is back",
    ]


@pytest.mark.parametrize(
    "error", [ValueError("a fault"), StorageError("s3://bucket: 503"), KeyboardInterrupt()]
)
def test_what_is_no_outage_of_the_run_folder_ends_the_sweep(tmp_path: Path, error: BaseException) -> None:
    """Nor is a store at a URL: its outages are waited for where they happen."""
    with pytest.raises(type(error)):
        sweep(Driver(error), [], tmp_path)


def test_a_driver_after_an_outage_is_not_ending_as_the_one_before_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mirror of a run at a URL ends its driver, as Ctrl-C does, when this machine's disk is full."""
    begun_ending: list[bool] = []

    class EndedByMirror:
        def __init__(self, *arguments: Any) -> None:
            self.shutdown: Shutdown = arguments[5]

        def work_left(self) -> bool:
            return True

        def sweep(self) -> None:
            begun_ending.append(self.shutdown.requested)
            if len(begun_ending) == 1:
                self.shutdown.request()
                raise full_disk()

    monkeypatch.setattr("sweeps.execution.sweep_driver.SweepDriver", EndedByMirror)
    monkeypatch.setattr(launch, "_write_results", lambda *arguments: None)
    launch.run(None, tmp_path, None, Progress(), Mirror())  # type: ignore[arg-type]
    assert begun_ending == [False, False]
