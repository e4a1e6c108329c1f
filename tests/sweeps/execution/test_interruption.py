"""The end of a sweep by signals and by ``stop``: what is waited for, what ends it at once, what is said. No Ray."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from rich.console import Console

from sweeps.cluster.board import Board
from sweeps.console.saving import saving_text
from sweeps.console.sweep_progress import SweepProgress
from sweeps.execution import interruption as module
from sweeps.execution.interruption import Interruption, SweepInterrupted
from sweeps.planning.assessment.notice import Notice
from sweeps.runs.mirror import NoMirror
from sweeps.search.shutdown import Shutdown
from trainables.training.activity import Activity

GIB = 2**30
STEP = Activity(
    "training", step=9, saved_step=6, unsaved_seconds=30, step_seconds=1, checkpoint_bytes=2 * GIB
)


class BoardActor:
    """A board in this process that is called as an actor is; its answers come at once."""

    def __init__(self) -> None:
        self.board = Board()

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self.board, name))


class Ending:
    """An interruption of a sweep whose trials a test puts on the board, and a clock that it sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(ray, "get", lambda answer: answer)
        self.actor, self.shutdown = BoardActor(), Shutdown()
        self.board, self.printed = self.actor.board, io.StringIO()
        progress = SweepProgress(Console(file=self.printed))
        mirror = options.pop("mirror", NoMirror())
        cluster = options.pop("on_cluster", False)
        self.ending = Interruption(self.shutdown, self.actor, progress, mirror, cluster, **options)

    def second(self) -> None:
        self.now += 1
        self.ending()


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Ending]]:
    yield lambda **options: Ending(monkeypatch, **options)
    signal.setitimer(signal.ITIMER_REAL, 0)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_ends_once_every_trial_is_saved_however_long_that_takes(
    make: Any, number: signal.Signals
) -> None:
    sweep = make()
    sweep.board.follow("a", STEP)
    with sweep.ending.signals_handled():
        send(number)
        assert sweep.shutdown.requested
        assert sweep.board.to_save("a", "node")
        for minute in range(60):
            sweep.now += 60
            sweep.board.follow("a", replace(STEP, phase="saving", written_bytes=minute))
            sweep.second()
        sweep.board.ended("a")
        sweep.second()
        with pytest.raises(SweepInterrupted):
            sweep.second()


def test_stop_ends_a_sweep_as_ctrl_c_does_and_a_ctrl_c_after_it_at_once(make: Any) -> None:
    sweep = make()
    sweep.board.follow("a", STEP)
    with sweep.ending.signals_handled():
        sweep.ending.request()
        assert sweep.board.to_save("a", "node")
        sweep.now += 5
        with pytest.raises(SweepInterrupted):
            send(signal.SIGINT)


def test_the_second_ctrl_c_ends_a_sweep_at_once_unless_it_is_the_first_passed_on(make: Any) -> None:
    sweep = make()
    with sweep.ending.signals_handled():
        send(signal.SIGINT)
        sweep.now += 0.1
        send(signal.SIGINT)
        sweep.now += 2
        with pytest.raises(SweepInterrupted):
            send(signal.SIGINT)


def test_sigterm_may_come_again_and_ends_nothing_at_once(make: Any) -> None:
    """Slurm sends it before a job's time ends, if asked to, and when it does; `timeout` to a process and its group."""
    sweep = make()
    sweep.board.follow("a", STEP)
    with sweep.ending.signals_handled():
        for _ in range(3):
            send(signal.SIGTERM)
            sweep.second()


def test_where_sigterm_leaves_a_known_time_only_what_fits_saves_itself_and_the_others_are_named(
    make: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = make(notice=Notice(10, "resources.notice_seconds"), bytes_per_second=GIB / 8)
    sweep.board.follow("full", STEP)  # 16 s
    sweep.board.follow("lora", replace(STEP, checkpoint_bytes=GIB // 8))
    with sweep.ending.signals_handled():
        send(signal.SIGTERM)
        assert (sweep.board.to_save("full", "node"), sweep.board.to_save("lora", "node")) == (False, True)
        sweep.second()
    assert "full does not save itself: its checkpoint of 2.00 GiB does not fit" in capsys.readouterr().err


def test_a_step_that_is_too_long_for_the_notice_is_named_as_the_reason(
    make: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = make(notice=Notice(10, "resources.notice_seconds"), bytes_per_second=GIB)
    sweep.board.follow("full", replace(STEP, step_seconds=61))
    with sweep.ending.signals_handled():
        send(signal.SIGTERM)
        sweep.second()
    said = "full does not save itself: a step of up to 61 s and its checkpoint of 2.00 GiB do not fit into the notice"
    assert said in capsys.readouterr().err


def test_ctrl_c_has_all_trials_save_themselves_though_a_notice_is_known(make: Any) -> None:
    sweep = make(notice=Notice(10, "resources.notice_seconds"), bytes_per_second=GIB / 8)
    sweep.board.follow("full", STEP)
    with sweep.ending.signals_handled():
        send(signal.SIGINT)
    assert sweep.board.to_save("full", "node")


def test_on_a_cluster_tune_has_a_moment_to_give_back_resources_once_all_is_saved(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLUSTER_SECONDS", 0.2)
    sweep = make(on_cluster=True)
    with pytest.raises(SweepInterrupted), sweep.ending.signals_handled():  # noqa: PT012
        send(signal.SIGINT)
        sweep.second()
        sweep.second()
        signal.pause()


def test_a_run_that_cannot_be_written_any_more_is_not_waited_for_without_end(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CUT_OFF_SECONDS", 0.2)
    mirror = NoMirror()
    mirror.usable = False
    sweep = make(mirror=mirror)
    sweep.board.follow("a", STEP)
    with pytest.raises(SweepInterrupted), sweep.ending.signals_handled():  # noqa: PT012
        send(signal.SIGTERM)
        signal.pause()


@pytest.mark.parametrize(
    ("saving", "expected"),
    [
        ([STEP, STEP], "2 trials at the end of a step, then 4.0 GiB to save; Ctrl-C again ends at once"),
        (
            [STEP, replace(STEP, phase="saving", written_bytes=GIB // 2)],
            "saving 2 trials, 0.5 of 4.0 GiB; Ctrl-C again ends at once",
        ),
        (
            [replace(STEP, phase="finishing")],
            "1 trial being scored, whose training is not saved; Ctrl-C again ends at once",
        ),
        (
            [replace(STEP, phase="saving", checkpoint_bytes=GIB // 100, written_bytes=GIB // 200)],
            "saving 1 trial, 0.005 of 0.010 GiB; Ctrl-C again ends at once",
        ),
        ([], ""),
    ],
)
def test_what_is_waited_for_is_said_in_numbers(saving: list[Activity], expected: str) -> None:
    assert saving_text({str(number): activity for number, activity in enumerate(saving)}) == expected


def test_a_full_disk_is_said_at_once_and_once_and_so_is_its_end(
    make: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = make()
    sweep.board.storage_fails("a", "/runs: No space left on device")
    for _ in range(3):
        sweep.second()
    assert capsys.readouterr().err.count("a waits, as it can't write (/runs: No space left on device)") == 1
    sweep.board.forget("a")
    sweep.second()
    assert "a can write again" in capsys.readouterr().err


def test_the_lines_of_what_is_saved_are_in_the_log(make: Any, tmp_path: Path) -> None:
    sweep = make()
    sweep.ending.progress._sweep = SimpleNamespace(run_folder=tmp_path)
    sweep.board.follow("a", STEP)
    with sweep.ending.signals_handled():
        send(signal.SIGINT)
        sweep.second()
    log = (tmp_path / "sweep.log").read_text()
    assert "interrupted: the running trials are saving themselves" in log
    assert "1 trial at the end of a step, then 2.0 GiB to save; Ctrl-C again ends at once" in log
