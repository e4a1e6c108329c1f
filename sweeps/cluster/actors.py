"""The two small actors through which a sweep's parts talk.

One *board* per sweep, named, on the driver's node: which trials the search stopped, where each runs, and whether
to leave. One *hub* per slot: the job its worker group has, the group's reports, the answers to them.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

NAMESPACE = "paretune"


class Board:
    """The search's word to the slots: which trials to stop, and whether everybody leaves."""

    def __init__(self) -> None:
        self._stopped: set[str] = set()
        self._interrupted = False
        self._leaving: frozenset[str] = frozenset()  # nodes that are to be taken down
        self._moving: set[str] = set()
        self._under_way: set[str] = set()  # trials that train, and have not ended since
        self._notes: list[str] = []

    def note(self, line: str) -> None:
        """Takes a line for the log of a run whose folder the slots don't have."""
        self._notes.append(line)

    def notes(self) -> list[str]:
        """The lines since this was asked last."""
        notes, self._notes = self._notes, []
        return notes

    def stop(self, trial_id: str) -> None:
        self._stopped.add(trial_id)

    def stopped(self, trial_id: str) -> bool:
        return trial_id in self._stopped

    def interrupt(self) -> None:
        self._interrupted = True

    def interrupted(self) -> bool:
        return self._interrupted

    def leave(self, nodes: list[str]) -> None:
        """Notes which nodes are to be taken down: what runs there saves itself and goes on elsewhere."""
        self._leaving = frozenset(nodes)

    def leaving(self, node: str) -> bool:
        return node in self._leaving

    def move(self, trial_id: str) -> None:
        """Has a trial save itself and go on in another place: its slot's node is to be taken down."""
        self._moving.add(trial_id)

    def moved(self, trial_id: str) -> None:
        """Notes that a trial has saved itself to go on elsewhere."""
        self._moving.discard(trial_id)

    def to_save(self, trial_id: str, node: str) -> bool:
        """Whether a trial that runs on a node should save itself and leave; it asks at every step."""
        self._under_way.add(trial_id)
        return self._interrupted or node in self._leaving or trial_id in self._moving

    def ended(self, trial_id: str) -> None:
        """Notes that a trial's record is written, whatever it says."""
        self._under_way.discard(trial_id)

    def under_way(self) -> int:
        """How many trials have something that they could save."""
        return len(self._under_way)


class Hub:
    """Between a slot and its worker group. A job that a dead worker left unfinished is handed out again."""

    def __init__(self) -> None:
        self._job: dict[str, Any] | None = None
        self._attempts = 0  # since the job last got further
        self._starved = 0  # attempts that were ended for want of memory
        self._starving = False  # whether the last one was, as far as is known by now
        self._kills: int | None = None  # the node's count of such ends when the job was last handed out
        self._failed: dict[str, Any] | None = None  # the job's record, by a worker that failed in it alone
        self._handed: tuple[str, str] | None = None  # the group whose first worker was handed which job last
        self._workers: dict[int, tuple[str, int]] = {}  # (node, process) of each rank of the group
        self._heard: float | None = None  # when the job's worker last gave a sign of life; None without a job
        self._answers: dict[tuple[str, int], str] = {}
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self._closed = False

    async def give(self, job: dict[str, Any]) -> None:
        async with self._changed:
            self._job, self._attempts, self._answers = job, 0, {}
            self._starved, self._starving = 0, False
            self._kills = self._failed = self._handed = None
            self._job["given_at"] = time.time()
            self._changed.notify_all()

    async def close(self) -> None:
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
        """The slot's job, once it is another than ``done_id``; ``None`` when there are no more.

        Every worker of the group asks; the first one's asking counts as an attempt, and the others are told what it was
        told: they wait for it. ``oom_kills`` is the count of its node: where it has grown since the last attempt, the
        system ended that one's worker for want of memory. ``starved`` counts these, and those that Ray ended.
        ``attempt`` counts from 1 again whenever the job has got further. ``where`` is the asking worker's node and
        process.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._is_due(done_id, rank, group))
            if self._closed or self._job is None:
                return None
            self._heard = time.monotonic()
            self._workers |= {rank: where} if where else {}
            if rank == 0:
                self._attempts += 1
                self._starving |= None not in (oom_kills, self._kills) and oom_kills != self._kills
                self._starved += self._starving
                self._starving, self._kills = False, oom_kills
                self._handed = (group, self._job["trial_id"])
                self._changed.notify_all()
            told = {"attempt": self._attempts, "starved": self._starved, "failed": self._failed}
            return {**self._job, **told}

    def _is_due(self, done_id: str | None, rank: int, group: str) -> bool:
        """Whether there is another job than ``done_id``, and the group's first worker has it already."""
        if self._job is None or self._job["trial_id"] == done_id:
            return False
        return rank == 0 or self._handed == (group, self._job["trial_id"])

    async def moved(self) -> None:
        """Notes that the job was left to be gone on with elsewhere, which is no attempt that failed."""
        self._attempts = max(0, self._attempts - 1)
        if self._job is not None:
            await self.report({"kind": "moved", "trial_id": self._job["trial_id"]})

    async def failed(self, record: dict[str, Any]) -> None:
        """Notes the job's record by a worker that failed in it alone, and takes its group along."""
        self._failed = record

    async def starve(self) -> None:
        """Notes that a worker was ended for want of memory."""
        self._starving = True

    async def further(self) -> None:
        """Notes that the job has saved itself, and won't begin before that again."""
        self._attempts = 0

    async def alive(self) -> None:
        """A worker is at its job."""
        self._heard = time.monotonic()

    async def silent(self) -> tuple[float, list[tuple[str, int]]]:
        """The seconds since the job's workers gave a sign of life, 0 without a job; and (node, process) of each."""
        quiet = 0.0 if self._heard is None else time.monotonic() - self._heard
        return quiet, list(self._workers.values())

    async def report(self, event: dict[str, Any]) -> None:
        self._heard = None if event.get("kind") == "done" else time.monotonic()
        await self._events.put(event)

    async def event(self, timeout: float) -> dict[str, Any] | None:
        """The group's next report, ``None`` if there was none for ``timeout`` seconds."""
        try:
            return await asyncio.wait_for(self._events.get(), timeout)
        except TimeoutError:
            return None

    async def decide(self, trial_id: str, step: int, decision: str) -> None:
        async with self._changed:
            self._heard = time.monotonic()  # its worker could do nothing but wait for this
            self._answers[trial_id, step] = decision
            self._changed.notify_all()

    async def answer(self, trial_id: str, step: int) -> str:
        """The decision on the report at ``step``, waited for."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or (trial_id, step) in self._answers)
            return self._answers.get((trial_id, step), "interrupt")


def open_board(name: str) -> Any:
    """Starts a sweep's board under ``name``, or finds it; it is lost with the driver's node, and with no other."""
    options = {"name": name, "namespace": NAMESPACE, "get_if_exists": True, "max_concurrency": 8}
    return ray.remote(Board).options(**options, **_here()).remote()


def find_board(name: str) -> Any:
    """The board that the driver opened. ``ValueError`` when the driver is gone."""
    return ray.get_actor(name, namespace=NAMESPACE)


def open_hub() -> Any:
    """A hub for one slot; it ends with the slot, or with its node."""
    return ray.remote(Hub).options(max_concurrency=64, **_here()).remote()


def _here() -> dict[str, Any]:
    """Options of an actor that takes nothing of the node that it is asked for on, and stays there."""
    node = ray.get_runtime_context().get_node_id()
    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}
