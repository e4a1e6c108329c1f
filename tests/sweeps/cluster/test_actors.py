"""The hub between a slot and its workers, and the sweep's board: which calls they get and answer. No Ray."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from sweeps.cluster.actors import Hub
from sweeps.cluster.board import Board
from sweeps.cluster.train_callbacks import was_killed_for_memory
from tests.helpers.trials import make_config, write_rows
from trainables.results import read_record
from trainables.runner import worker_loop
from trainables.runner.run import TrialContext, run_trial
from trainables.runner.trial_state import Trial
from trainables.runner.workspace import LocalWorkspace
from trainables.training.activity import Activity
from trainables.training.training_callback import NoControl
from trainables.trial.config import TrialConfig

# Of a job whose trial the search compares with no other.
NOT_COMPARED: dict[str, Any] = {
    "evaluate_at": [],
    "loss_rungs": [],
    "passed": 0,
    "pausing": {},
    "ending": {},
}


def play(story: Coroutine[Any, Any, Any]) -> Any:
    """Runs a story; one that waits for what never comes fails after five seconds."""
    return asyncio.run(asyncio.wait_for(story, 5))


def job(trial_id: str) -> dict[str, Any]:
    return {"trial_id": trial_id}


async def waits(hub: Hub, done: str | None) -> asyncio.Task[Any]:
    task = asyncio.create_task(hub.next_job(done))
    await asyncio.sleep(0.02)
    assert not task.done()
    return task


def test_a_worker_gets_the_job_it_waits_for_and_then_waits_for_another() -> None:
    async def story() -> None:
        hub = Hub()
        waiting = await waits(hub, None)
        await hub.give(job("a"))
        first = await waiting
        assert first["trial_id"] == "a"
        waiting = await waits(hub, first["job"])
        await hub.give(job("b"))
        assert (await waiting)["trial_id"] == "b"

    play(story())


def test_a_trial_whose_results_were_lost_may_run_once_more_on_the_same_workers() -> None:
    async def story() -> None:
        hub = Hub()
        await hub.give(job("a"))
        first = await hub.next_job(None)
        assert first is not None
        waiting = await waits(hub, first["job"])
        await hub.give(job("a"))
        again = await waiting
        assert again["trial_id"] == "a"
        await waits(hub, again["job"])

    play(story())


def test_a_job_says_when_it_was_given() -> None:
    async def story() -> tuple[float, float]:
        hub = Hub()
        await hub.give(job("a"))
        await asyncio.sleep(0.05)
        first = await hub.next_job(None)
        again = await hub.next_job(None)
        assert first is not None
        assert again is not None
        return first["handed_over_at"], again["handed_over_at"]

    first, again = play(story())
    assert first == again > 1e9


def test_an_unfinished_job_is_handed_out_again_with_its_count() -> None:
    async def story() -> list[int]:
        hub = Hub()
        await hub.give(job("a"))
        attempts = [(await hub.next_job(None))["attempt"] for _ in range(3)]  # type: ignore[index]
        await hub.give(job("b"))
        return [*attempts, (await hub.next_job("a"))["attempt"]]  # type: ignore[index]

    assert play(story()) == [1, 2, 3, 1]


def test_a_job_that_gets_further_between_its_workers_deaths_may_lose_as_many_as_it_does() -> None:
    """On machines that are taken back all the time a long trial loses workers, and is no failure for that."""

    async def story() -> list[int]:
        hub, attempts = Hub(), []
        await hub.give(job("a"))
        for further in (True, True, True, False, False):
            attempts.append((await hub.next_job(None))["attempt"])  # type: ignore[index]
            if further:
                await hub.checkpoint_saved()
        return attempts

    assert play(story()) == [1, 1, 1, 1, 2]


def test_only_the_first_worker_of_a_group_counts_as_an_attempt() -> None:
    async def story() -> list[int]:
        hub = Hub()
        await hub.give(job("a"))
        return [(await hub.next_job(None, rank))["attempt"] for rank in (0, 1, 2, 0, 1, 2)]  # type: ignore[index]

    assert play(story()) == [1, 1, 1, 2, 2, 2]


def test_the_other_workers_of_a_group_wait_for_the_first_workers_job() -> None:
    async def story() -> list[int]:
        hub = Hub()
        await hub.give(job("a"))
        await hub.next_job(None, 0, group="killed")
        early = asyncio.create_task(hub.next_job(None, 1, group="new"))
        await asyncio.sleep(0.02)
        assert not early.done()
        first = await hub.next_job(None, 0, group="new")
        return [each["attempt"] for each in (first, await early) if each is not None]

    assert play(story()) == [2, 2]


def test_reports_come_in_order_and_silence_is_none() -> None:
    async def story() -> list[Any]:
        hub = Hub()
        await hub.report({"step": 1})
        await hub.report({"step": 2})
        return [await hub.event(1), await hub.event(1), await hub.event(0.02)]

    assert play(story()) == [{"step": 1}, {"step": 2}, None]


def test_every_worker_of_a_group_gets_the_answer_to_its_step() -> None:
    async def story() -> list[str]:
        hub = Hub()
        waiting = [asyncio.create_task(hub.answer("a", 4)) for _ in range(2)]
        await hub.decide("a", 2, "continue")
        await hub.decide("b", 4, "stop")
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in waiting)
        await hub.decide("a", 4, "stop")
        return [*await asyncio.gather(*waiting), await hub.answer("a", 2)]

    assert play(story()) == ["stop", "stop", "continue"]


def test_answers_to_an_earlier_job_are_forgotten() -> None:
    async def story() -> bool:
        hub = Hub()
        await hub.give(job("a"))
        await hub.decide("a", 4, "stop")
        await hub.give(job("b"))
        waiting = asyncio.create_task(hub.answer("a", 4))
        await asyncio.sleep(0.02)
        forgotten = not waiting.done()
        waiting.cancel()
        return forgotten

    assert play(story())


def test_a_closed_hub_lets_everybody_go() -> None:
    async def story() -> list[Any]:
        hub = Hub()
        waiting = [asyncio.create_task(hub.next_job(None)), asyncio.create_task(hub.answer("a", 1))]
        await asyncio.sleep(0.02)
        await hub.close()
        return [*await asyncio.gather(*waiting), await hub.next_job(None)]

    assert play(story()) == [None, "interrupt", None]


def test_the_board_remembers_whom_to_stop_or_pause_and_that_everybody_leaves() -> None:
    board = Board()
    board.stop("a")
    board.pause("b")
    assert [board.decision(trial) for trial in "abc"] == ["stop", "pause", "continue"]
    board.begun("b")  # handed out again
    assert board.decision("b") == "continue"
    assert not board.interrupted()
    board.interrupt()
    assert board.interrupted()


def test_the_board_has_trials_save_themselves_where_a_node_is_to_be_taken_down() -> None:
    board = Board()
    assert not board.to_save("a", "node 1")
    board.set_draining({"node 1": None})
    assert board.is_draining("node 1")
    assert board.to_save("a", "node 1")
    assert not board.to_save("a", "node 2")
    assert not board.interrupted()  # the sweep goes on
    board.move("a")
    assert board.to_save("a", "node 2")
    board.moved("a")
    assert not board.to_save("a", "node 2")
    board.set_draining({})
    board.interrupt()
    assert board.to_save("b", "node 1")


def test_a_job_that_moves_to_another_node_has_not_failed() -> None:
    async def story() -> tuple[list[int], Any]:
        hub = Hub()
        await hub.give(job("a"))
        attempts = []
        for _ in range(5):
            attempts.append((await hub.next_job(None))["attempt"])  # type: ignore[index]
            await hub.moved()
        return attempts, await hub.event(1)

    attempts, event = play(story())
    assert attempts == [1] * 5
    assert event == {"kind": "moved", "trial_id": "a"}


class Heard:
    """A hub or board that notes what it is told, and says yes."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        def remote(*given: Any) -> str:
            self.calls.append((name, given))
            return "stop"

        return SimpleNamespace(remote=remote)


def run_job(job: dict[str, Any], hub: Any = None, board: Any = None, workers: int = 1) -> dict[str, Any]:
    """Runs a job in its run folder as a slot's worker does, and gives its record as JSON."""
    loop = worker_loop.WorkerLoop(hub, board or Heard(), workers)
    return loop.run_job(job, LocalWorkspace(Path(job["run"]))).model_dump(mode="json")


def test_what_is_validated_between_the_searchs_steps_costs_the_driver_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray, "get", lambda answer: answer)
    hub = Heard()
    control = worker_loop.HubControl(hub, Heard(), "a", frozenset({2, 4}))
    decisions = [control.report(step, {"objective": 0.5}) for step in range(1, 6)]
    assert decisions == ["continue", "stop", "continue", "stop", "continue"]
    assert [given[0]["step"] for name, given in hub.calls if name == "report"] == [2, 4]


@pytest.mark.parametrize(("kept_here", "expected"), [(True, [20, 25]), (False, [20, 20])])
def test_at_a_url_a_checkpoint_is_not_safe_where_it_is_written(kept_here: bool, expected: list[int]) -> None:
    board = Heard()
    control = worker_loop.HubControl(Heard(), board, "a", kept_here=kept_here)
    control.follow(Activity("training", step=20, saved_step=20))  # it began at this one, which is at the URL
    control.follow(Activity("training", step=25, saved_step=25))
    assert [given[1].saved_step for _, given in board.calls] == expected


def test_a_worker_begins_with_nothing_unsaved_and_says_at_once_that_it_can_not_write(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path, tmp_path: Path
) -> None:
    board, tries = Heard(), iter([OSError(errno.ENOSPC, "No space left on device"), None])

    def run_trial(config: TrialConfig, context: TrialContext, *given: Any) -> Any:
        if (error := next(tries)) is not None:
            raise error
        return worker_loop.end_trial(config, context, "done", "")

    monkeypatch.setattr(worker_loop, "run_trial", run_trial)
    config = make_config(tiny_model, write_rows(tmp_path / "rows.jsonl"))
    facts = {"slot": None, "slot_trial": None, "handed_over_at": 0.0, **NOT_COMPARED}
    attempts = {"attempt": 1, "out_of_memory_kills": 0, "failed": None}
    trial = {"trial_id": config.trial_id(), "run": str(tmp_path), "config": config.model_dump(mode="json")}
    run_job({**trial, **facts, **attempts}, Heard(), board)
    assert [(name, *given[1:]) for name, given in board.calls] == [
        ("forget",),
        ("storage_fails", f"{tmp_path}: [Errno 28] No space left on device"),
        ("forget",),
    ]


@pytest.mark.parametrize("attempt", [worker_loop.MAX_ATTEMPTS + 1])
def test_a_trial_that_kills_its_worker_every_time_becomes_a_failed_row(
    tiny_model: Path, tmp_path: Path, attempt: int
) -> None:
    """Handed out once more than it may be, it isn't run again: model and rows aren't even looked at."""
    config = make_config(tiny_model, write_rows(tmp_path / "rows.jsonl"))
    trial_id = config.trial_id()

    async def story() -> dict[str, Any]:
        hub = Hub()
        await hub.give(
            {
                "trial_id": trial_id,
                "config": config.model_dump(mode="json"),
                "run": str(tmp_path),
                "slot": "s",
                "slot_trial": 3,
                **NOT_COMPARED,
            }
        )
        handed = [await hub.next_job(None) for _ in range(attempt)]
        assert handed[-1] is not None
        return handed[-1]

    record = run_job(play(story()), workers=1)
    assert record["status"] == "failed"
    assert f"died {worker_loop.MAX_ATTEMPTS} times" in record["error"]
    assert (record["slot"], record["slot_trial"]) == ("s", 3)
    written = read_record(tmp_path / "trials" / trial_id)
    assert written is not None
    assert written.status == "failed"


def handed(hub: Hub, config: TrialConfig, run: Path) -> dict[str, Any]:
    """The trial as a job, given to the hub."""
    return {
        "trial_id": config.trial_id(), "config": config.model_dump(mode="json"), "run": str(run), "slot": "s",
        "slot_trial": 0, **NOT_COMPARED,
    }  # fmt: skip


def out_of_memory_kills(config: TrialConfig, run: Path, times: int) -> dict[str, Any]:
    """The job as a worker gets it after so many that were ended for want of memory."""

    async def story() -> dict[str, Any] | None:
        hub = Hub()
        await hub.give(handed(hub, config, run))
        for _ in range(times):
            await hub.next_job(None)
            await hub.memory_ran_out()
        return await hub.next_job(None)

    return play(story())


def test_a_job_says_whether_memory_ran_out_and_the_next_job_begins_anew(
    tiny_model: Path, tmp_path: Path
) -> None:
    config = make_config(tiny_model, "rows.jsonl")
    assert [out_of_memory_kills(config, tmp_path, times)["out_of_memory_kills"] for times in (0, 1, 2)] == [
        0,
        1,
        2,
    ]

    async def story() -> Any:
        hub = Hub()
        await hub.give(job("a"))
        await hub.memory_ran_out()
        await hub.give(job("b"))
        return await hub.next_job("a")

    assert not play(story())["out_of_memory_kills"]


@pytest.mark.parametrize(
    ("kills", "expected"),
    [((0, 0), False), ((0, 1), True), ((3, 5, 5), True), ((None, 1), False), ((1, None), False)],
)
def test_memory_ran_out_for_a_job_when_its_node_has_killed_a_process_for_it_meanwhile(
    kills: tuple[int | None, ...], expected: bool
) -> None:
    async def story() -> Any:
        hub = Hub()
        await hub.give(job("a"))
        return [await hub.next_job(None, 0, count) for count in kills][-1]

    assert play(story())["out_of_memory_kills"] == expected


def failed_alone(config: TrialConfig, run: Path, **facts: Any) -> dict[str, Any]:
    """The job as the next group gets it, once memory ran out in one worker of the last one."""
    place = TrialContext(run, slot="s", slot_trial=0, workers=2)
    record = Trial(config, config, place, NoControl(), facts).record(
        "out_of_memory", "MemoryError: none left"
    )

    async def story() -> dict[str, Any] | None:
        hub = Hub()
        await hub.give(handed(hub, config, run))
        await hub.next_job(None)
        await hub.failed(record.model_dump(mode="json"))
        return await hub.next_job(None)

    return play(story())


def test_what_befell_one_worker_of_a_group_is_the_trials_record_and_it_is_not_run_again(
    tmp_path: Path,
) -> None:
    config = make_config(Path("/nowhere"), "rows.jsonl")
    record = run_job(failed_alone(config, tmp_path, out_of_memory_in="backward"), workers=2)
    assert (record["status"], record["error"]) == ("out_of_memory", "MemoryError: none left")
    assert (record["slot"], record["workers"]) == ("s", 2)
    written = read_record(tmp_path / "trials" / config.trial_id())
    assert written is not None
    assert written.status == "out_of_memory"


@pytest.mark.parametrize(("facts", "again"), [({}, True), ({"retried_batch_size": 2}, False)])
def test_when_memory_runs_out_in_one_worker_all_continue_with_half_the_rows_if_the_spec_allows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], again: bool
) -> None:
    config = make_config(Path("/nowhere"), "rows.jsonl", retry_out_of_memory=True)
    assert config.halved(2) is not None
    job = failed_alone(config, tmp_path, out_of_memory_in="backward", **facts)
    halved = []

    def run_trial(*args: Any, **options: Any) -> Any:
        halved.append(args[5])
        return Trial(config, config, TrialContext(tmp_path), NoControl()).record("done")

    monkeypatch.setattr("trainables.runner.worker_loop.run_trial", run_trial)
    record = run_job(job, workers=2)
    assert (halved, record["status"]) == (([True], "done") if again else ([], "out_of_memory"))


def test_silence_is_counted_from_the_last_sign_of_life_and_only_while_there_is_a_job() -> None:
    async def story() -> list[float]:
        hub, found = Hub(), []
        found.append((await hub.silence())[0])
        await hub.give(job("a"))
        await hub.next_job(None, where=("node", 12))
        await asyncio.sleep(0.1)
        quiet, workers = await hub.silence()
        assert workers == [("node", 12)]
        found.append(quiet)
        for sign in (hub.alive(), hub.report({"kind": "report"})):
            await sign
            found.append((await hub.silence())[0])
        await hub.report({"kind": "done"})
        await asyncio.sleep(0.05)
        return [*found, (await hub.silence())[0]]

    without, quiet, *later, done = play(story())
    assert (without, done) == (0, 0)
    assert quiet >= 0.1 > max(later)


def test_of_a_group_that_was_made_anew_the_new_processes_are_known() -> None:
    async def story() -> Any:
        hub = Hub()
        await hub.give(job("a"))
        for place in (("node", 1), ("node", 2)):
            for rank in (0, 1):
                await hub.next_job(None, rank, where=(place[0], 10 * place[1] + rank))
        return (await hub.silence())[1]

    assert play(story()) == [("node", 20), ("node", 21)]


def test_a_trial_whose_worker_was_killed_when_memory_ran_out_did_not_fit(
    tiny_model: Path, tmp_path: Path
) -> None:
    config = make_config(tiny_model, "rows.jsonl")
    record = run_job(out_of_memory_kills(config, tmp_path, 1), workers=1)
    assert record["status"] == "out_of_memory"
    assert "the node's memory had run out" in record["error"]
    assert read_record(tmp_path / "trials" / config.trial_id()) is not None


def test_if_the_spec_allows_it_the_trial_is_retried_once_with_half_the_rows(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_loop, "HubControl", lambda *given: NoControl())
    config = make_config(tiny_model, write_rows(tmp_path / "rows.jsonl"), retry_out_of_memory=True)
    record = run_job(out_of_memory_kills(config, tmp_path, 1), workers=1)
    assert (record["status"], record["retried_batch_size"]) == ("done", 2)
    assert run_job(out_of_memory_kills(config, tmp_path, 2), workers=1)["status"] == "out_of_memory"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ray.exceptions.OutOfMemoryError("killed"), True),
        (RuntimeError("Worker exit type: NODE_OUT_OF_MEMORY Worker exit detail: ..."), True),
        # What Ray says of any worker that was killed:
        (RuntimeError("(1) The process is killed by SIGKILL by OOM killer due to high memory usage."), False),
        (ValueError("no"), False),
    ],
)
def test_rays_out_of_memory_kills_are_distinguished_from_its_guesses(
    error: Exception, expected: bool
) -> None:
    assert was_killed_for_memory(error) is expected


class Gone:
    """An actor that has died: whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        return self

    def remote(self, *args: Any) -> None:
        return None


def test_a_trial_whose_sweep_is_gone_has_not_failed_and_can_be_resumed(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def died(answer: Any) -> Any:
        raise ray.exceptions.ActorDiedError

    monkeypatch.setattr(ray, "get", died)
    config = make_config(tiny_model, write_rows(tmp_path / "rows.jsonl"), steps=3)
    with pytest.raises(worker_loop.SweepGone):
        run_trial(config, TrialContext(tmp_path), worker_loop.HubControl(Gone(), Gone(), config.trial_id()))
    assert not ray.is_initialized()
    assert read_record(tmp_path / "trials" / config.trial_id()) is None


def test_a_trial_asks_once_a_step_whether_to_leave_and_whether_a_person_has_stopped_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray, "get", lambda answer: answer)
    told = Board()
    board = SimpleNamespace(requests=SimpleNamespace(remote=told.requests))
    control = worker_loop.HubControl(Heard(), board, "a", node="node 1")
    assert (control.interrupted(), control.stopped_by_hand()) == (False, False)
    told.stop_by_hand(["a"])
    assert not control.stopped_by_hand()  # as far as it knew when it asked
    assert (control.interrupted(), control.stopped_by_hand()) == (False, True)
