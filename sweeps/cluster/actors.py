"""The two small actors through which the processes of a sweep talk.

One *board* per sweep, a named actor on the driver's node: which trials the search has stopped, which nodes are
draining, whether the sweep is ending. One *hub* per slot: the job of its worker group, the group's reports, and the
answers to them.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps.cluster.board import Board
from sweeps.cluster.job_state import JobState

NAMESPACE = "paretune"


class Hub:
    """Between a slot and its worker group. A job that a dead worker left unfinished is handed out again."""

    def __init__(self) -> None:
        self._state: JobState | None = None  # of the slot's current job
        self._jobs = 0  # given so far
        self._workers: dict[int, tuple[str, int]] = {}  # (node, process) of each rank of the group
        self._last_sign_of_life: float | None = None  # of the job's workers, monotonic; None without a job
        self._answers: dict[tuple[str, int], str] = {}  # the search's decisions by (trial, step)
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self._closed = False

    async def give(self, job: dict[str, Any]) -> None:
        """Takes the slot's next job, in place of the last one."""
        async with self._changed:
            # A trial whose results were lost runs once more, perhaps at once and on the same workers.
            self._jobs += 1
            job = {**job, "handed_over_at": time.time(), "job": f"{job['trial_id']} {self._jobs}"}
            self._state, self._answers = JobState(job), {}
            self._changed.notify_all()

    async def close(self) -> None:
        """Lets everybody who waits go: there are no more jobs."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def next_job(
        self,
        done_id: str | None,
        rank: int = 0,
        oom_kills: int | None = None,
        where: tuple[str, int] | None = None,
        group: str = "",
    ) -> dict[str, Any] | None:
        """The slot's job, once it is another than ``done_id`` (its key ``job``); ``None`` when there are no more.

        Every worker of the group calls this. The first worker's call counts as an attempt; the others wait for it, and
        get what it got. ``oom_kills``: how many processes its node has killed because memory ran out. ``where``: the
        calling worker's node and process.

        The job comes with three more keys (see :class:`JobState`): ``attempt``, counted from 1 again whenever the job
        has made progress; ``out_of_memory_kills``, the attempts that ended because memory ran out; and ``failed``, the
        record of a worker that failed alone.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._is_due(done_id, rank, group))
            if self._closed or self._state is None:
                return None
            self._last_sign_of_life = time.monotonic()
            # By rank, so that a new group's processes replace those of the group that died.
            self._workers |= {rank: where} if where else {}
            if rank == 0:
                self._state.hand_out(group, oom_kills)
                self._changed.notify_all()  # the group's other workers wait for this
            return self._state.for_worker()

    def _is_due(self, done_id: str | None, rank: int, group: str) -> bool:
        state = self._state
        return state is not None and state.job["job"] != done_id and state.is_ready_for(rank, group)

    async def moved(self) -> None:
        """The job leaves its node to continue on another one, which doesn't count as a failed attempt."""
        if self._state is not None:
            self._state.note_moved()
            await self.report({"kind": "moved", "trial_id": self._state.trial_id})

    async def failed(self, record: dict[str, Any]) -> None:
        """Keeps the job's record from a worker that failed alone and takes its group down with it."""
        if self._state is not None:
            self._state.failed_record = record

    async def memory_ran_out(self) -> None:
        """Ray killed one of the job's workers because its node ran low on memory."""
        if self._state is not None:
            self._state.note_memory_ran_out()

    async def checkpoint_saved(self) -> None:
        """The job has saved a checkpoint, so it won't start from an earlier step again."""
        if self._state is not None:
            self._state.note_progress()

    async def alive(self) -> None:
        """A worker is at its job."""
        self._last_sign_of_life = time.monotonic()

    async def silence(self) -> tuple[float, list[tuple[str, int]]]:
        """Seconds since the job's workers last gave a sign of life, 0 without a job; and each one's (node, process)."""
        last = self._last_sign_of_life
        return 0.0 if last is None else time.monotonic() - last, list(self._workers.values())

    async def report(self, event: dict[str, Any]) -> None:
        """Queues an event of the group for the slot: a validation result, or the end of the job."""
        # After its job a worker waits for the next one, which is no silence.
        self._last_sign_of_life = None if event.get("kind") == "done" else time.monotonic()
        await self._events.put(event)

    async def event(self, timeout: float) -> dict[str, Any] | None:
        """The group's next event; ``None`` if there was none for ``timeout`` seconds."""
        try:
            return await asyncio.wait_for(self._events.get(), timeout)
        except TimeoutError:
            return None

    async def decide(self, trial_id: str, step: int, decision: str) -> None:
        """Answers the report at ``step`` with the search's decision, ``continue`` or ``stop``."""
        async with self._changed:
            self._last_sign_of_life = time.monotonic()  # its worker could do nothing but wait for this
            self._answers[trial_id, step] = decision
            self._changed.notify_all()

    async def answer(self, trial_id: str, step: int) -> str:
        """Waits for the decision on the report at ``step``; ``interrupt`` once the hub is closed."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or (trial_id, step) in self._answers)
            return self._answers.get((trial_id, step), "interrupt")


def open_board(name: str) -> Any:
    """Starts a sweep's board under ``name``, or gets the one there is; it dies with the driver's node, and no other."""
    options = {"name": name, "namespace": NAMESPACE, "get_if_exists": True, "max_concurrency": 8}
    return ray.remote(Board).options(**options, **_on_this_node()).remote()


def find_board(name: str) -> Any:
    """The board that the driver opened. Raises ``ValueError`` when the driver is gone."""
    return ray.get_actor(name, namespace=NAMESPACE)


def open_hub() -> Any:
    """Starts a hub for the calling slot; it ends with the slot, or with its node."""
    return ray.remote(Hub).options(max_concurrency=64, **_on_this_node()).remote()


def _on_this_node() -> dict[str, Any]:
    """Options of an actor that runs on the calling process's node and takes none of its resources."""
    node = ray.get_runtime_context().get_node_id()
    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}
