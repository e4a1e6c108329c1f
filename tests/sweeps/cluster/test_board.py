"""What a sweep that ends waits for, and which trials save themselves where the time is limited. No Ray."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from sweeps.cluster import board as module
from sweeps.cluster.board import Board, trials_that_fit
from sweeps.cluster.write_speeds import WriteSpeeds
from sweeps.execution.loop_tasks import NodeDrains
from trainables.training.activity import Activity

STEP = Activity("training", step=9, saved_step=6, unsaved_seconds=30, step_seconds=1, checkpoint_bytes=1_000)


def at_100_bytes_a_second(size: int) -> float:
    return size / 100


def board_with(**activities: Activity) -> Board:
    board = Board()
    for trial, activity in activities.items():
        board.follow(trial, activity)
    return board


@pytest.mark.parametrize(
    ("activity", "waits"),
    [
        (STEP, True),
        (replace(STEP, phase="saving", written_bytes=400), True),
        (replace(STEP, phase="finishing"), True),  # its training would be done again
        (replace(STEP, saved_step=9), False),  # only the step under way is lost
        (replace(STEP, phase="finishing", saved_step=9), False),  # only its scores are lost
        (Activity("training", step=0, saved_step=0), False),
    ],
)
def test_a_sweep_that_ends_waits_for_trials_with_steps_that_are_not_saved(
    activity: Activity, waits: bool
) -> None:
    board = board_with(a=activity)
    board.interrupt()
    assert bool(board.waiting().saving) is waits
    board.ended("a")
    assert not board.waiting().saving


@pytest.mark.parametrize("end", ["forget", "moved", "ended"])
def test_a_trial_that_begins_again_or_has_left_is_not_waited_for(end: str) -> None:
    board = board_with(a=STEP, b=STEP)
    getattr(board, end)("a")
    assert board.waiting().saving.keys() == {"b"}


def test_a_trial_whose_worker_is_dead_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    board = board_with(a=STEP, b=STEP)
    now += module.SILENT_SECONDS - 1
    board.alive("b")
    now += 2
    assert board.waiting().saving.keys() == {"b"}


def test_a_trial_that_cannot_write_is_named_with_the_reason_and_not_waited_for() -> None:
    board = board_with(a=STEP)
    board.storage_fails("a", "/runs: No space left on device")
    assert board.waiting().failures == {"a": "/runs: No space left on device"}
    assert not board.waiting().saving
    board.forget("a")
    assert not board.waiting().failures


# At 100 bytes/s, a checkpoint of 1,000 bytes takes 10 s; 2 s of a notice are spare, and a step takes 1 s.
@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (12.9, set()),
        (13.0, {"long"}),  # the one with most to lose
        (22.9, {"long"}),
        (23.0, {"long", "short"}),
    ],
)
def test_checkpoints_are_written_one_after_the_other_those_with_most_to_lose_first(
    seconds: float, expected: set[str]
) -> None:
    trials = {"short": STEP, "long": replace(STEP, unsaved_seconds=90)}
    assert trials_that_fit(trials, seconds, at_100_bytes_a_second) == expected


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({"phase": "saving", "written_bytes": 900}, True),  # 1 s left
        ({"phase": "saving", "written_bytes": 100}, False),  # 9 s left
        ({"phase": "finishing"}, True),  # how long scoring takes is unknown
        ({"step_seconds": 4}, False),  # a step may just have begun
        ({"checkpoint_bytes": 100}, True),
    ],
)
def test_what_is_left_to_do_of_a_checkpoint_decides_whether_it_fits(
    changes: dict[str, Any], fits: bool
) -> None:
    fitting = trials_that_fit({"a": replace(STEP, **changes)}, 5.5, at_100_bytes_a_second)
    assert (fitting == {"a"}) is fits


def test_without_a_known_speed_every_trial_tries() -> None:
    assert trials_that_fit({"a": STEP, "b": STEP}, 5, WriteSpeeds().seconds) == {"a", "b"}


def test_a_trial_that_has_no_time_is_not_asked_to_save_itself_nor_waited_for_and_is_named() -> None:
    board = board_with(full=STEP, lora=replace(STEP, checkpoint_bytes=10))
    board.interrupt(5.0, 100.0)
    assert (board.to_save("full", "node"), board.to_save("lora", "node")) == (False, True)
    assert (board.may_save("full"), board.may_save("lora"), board.may_save("other")) == (False, True, True)
    assert board.interrupted()
    assert board.waiting().saving.keys() == {"lora"}
    assert board.waiting().abandoned.keys() == {"full"}


# A quarter is added to what the slowest took: at 125 bytes/s, 10 s for 1,000 bytes. 2 s are spare, a step takes 1 s.
@pytest.mark.parametrize(("seconds", "fits"), [(12.9, False), (13.0, True)])
def test_the_slowest_checkpoint_of_the_sweep_decides_and_not_the_disk(seconds: float, fits: bool) -> None:
    board = board_with(a=STEP)
    for trial, speed in (("ended", 125.0), ("earlier", 400.0)):
        board.follow(trial, replace(STEP, bytes_per_second=speed))
        board.ended(trial)
    board.interrupt(seconds, 10_000.0)
    assert (board.waiting().saving.keys() == {"a"}) is fits


def test_a_small_checkpoint_says_nothing_of_a_large_one() -> None:
    """It takes as long for its dozen files as for their bytes."""
    small = replace(STEP, checkpoint_bytes=10, bytes_per_second=5.0)
    board = board_with(small=small, full=STEP)
    board.interrupt(25.0, 100.0)
    assert board.waiting().saving.keys() == {"small", "full"}


def test_a_large_checkpoint_says_how_fast_a_small_one_is_at_least() -> None:
    large = replace(STEP, checkpoint_bytes=100_000, bytes_per_second=125.0)
    board = board_with(a=STEP)
    board.follow("ended", large)
    board.ended("ended")
    board.interrupt(12.9)
    assert board.waiting().abandoned.keys() == {"a"}


def test_ctrl_c_has_no_limit() -> None:
    board = board_with(a=replace(STEP, checkpoint_bytes=10**15, bytes_per_second=1.0))
    board.interrupt()
    assert board.to_save("a", "node")


def test_the_board_tells_a_trial_whom_a_person_has_stopped_beside_what_the_sweep_asks() -> None:
    board = Board()
    board.stop_by_hand(["a", "b"])
    assert [board.requests(trial, "node") for trial in "abc"] == [
        (False, True),
        (False, True),
        (False, False),
    ]
    board.stop_by_hand(["b"])
    board.interrupt()
    assert [board.requests(trial, "node") for trial in "ab"] == [(True, False), (True, True)]


@pytest.fixture
def draining(monkeypatch: pytest.MonkeyPatch) -> Board:
    """At 100 bytes/s: trials on two nodes, which have just asked what they are to do."""
    monkeypatch.setattr(module.time, "time", lambda: 1_000.0)
    long = replace(STEP, unsaved_seconds=90)
    board = board_with(full=long, lora=replace(STEP, checkpoint_bytes=10), elsewhere=long)
    for trial, node in (("full", "node 1"), ("lora", "node 1"), ("elsewhere", "node 2")):
        assert not board.to_save(trial, node)
    return board


def leaving(board: Board) -> set[str]:
    nodes = {"full": "node 1", "lora": "node 1", "elsewhere": "node 2"}
    return {trial for trial, node in nodes.items() if board.to_save(trial, node)}


@pytest.mark.parametrize(
    ("end", "saved"),
    [(1_013.2, {"full", "lora"}), (1_005.0, {"lora"}), (1_001.0, set()), (None, {"full", "lora"})],
)
def test_of_the_trials_on_a_node_that_is_taken_down_those_save_themselves_that_have_the_time(
    draining: Board, end: float | None, saved: set[str]
) -> None:
    left_behind = draining.set_draining({"node 1": end}, 100.0)
    assert leaving(draining) == saved
    assert left_behind.keys() == {"full", "lora"} - saved
    assert {trial for trial in ("full", "lora", "elsewhere") if draining.may_save(trial)} == {
        "elsewhere",
        *saved,
    }
    assert draining.waiting().abandoned.keys() == left_behind.keys()


def test_a_trial_that_was_left_behind_saves_itself_again_on_its_next_node(draining: Board) -> None:
    assert draining.set_draining({"node 1": 1_005.0}, 100.0).keys() == {"full"}
    draining.move("full")  # as its slot asks for
    assert not draining.to_save("full", "node 1")
    draining.forget("full")  # begins again
    draining.follow("full", STEP)
    assert draining.may_save("full")
    assert not draining.to_save("full", "node 3")
    assert not draining.set_draining({"node 1": 1_005.0}, 100.0)  # its end is known already


@pytest.mark.parametrize("later", [{"node 1": 1_600.0}, {"node 1": None}, {}])
def test_a_trial_that_was_left_behind_saves_itself_again_once_its_node_has_the_time(
    draining: Board, later: dict[str, float | None]
) -> None:
    assert draining.set_draining({"node 1": 1_005.0}, 100.0).keys() == {"full"}
    assert not draining.set_draining({"node 1": 1_004.0}, 100.0)  # it is named already
    assert not draining.may_save("full")
    assert not draining.set_draining(later, 100.0)
    assert draining.may_save("full")
    assert draining.to_save("full", "node 1") is bool(later)


def test_trials_on_nodes_that_end_at_once_share_one_disk(draining: Board) -> None:
    (first,) = draining.set_draining({"node 1": 1_015.0, "node 2": 1_015.0}, 100.0)
    assert first in ("full", "elsewhere")  # of two checkpoints of 10 s each
    draining.moved("elsewhere" if first == "full" else "full")  # has saved itself
    assert draining.may_save(first)
    # A node without a known end may end at any moment: its trials save themselves at once.
    draining.follow("full", STEP)
    draining.follow("elsewhere", STEP)
    draining.set_draining({})
    leaving(draining)
    assert draining.set_draining({"node 1": 1_013.2, "node 2": None}, 100.0).keys() == {"full"}
    assert not draining.set_draining({"node 1": 1_023.2, "node 2": None}, 100.0)


def test_what_is_left_behind_is_named_once_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = {"node 1": 1_005_000, "node 2": 0}
    given, lines = [], list[str]()

    def set_draining(*arguments: Any) -> dict[str, Activity]:
        given.append(arguments)
        return {"full": STEP}

    machines: Any = SimpleNamespace(draining=lambda: ends)
    board = SimpleNamespace(set_draining=SimpleNamespace(remote=set_draining))
    monkeypatch.setattr("ray.get", lambda value: value)
    drains = NodeDrains(machines, board, lines.append, 100.0)
    drains()
    drains()
    assert given == [({"node 1": 1_005.0, "node 2": None}, 100.0)]
    assert len(lines) == 1
    assert lines[0].startswith("full does not save itself before its node is taken down: its checkpoint of")
