"""One attempt to run the remaining trials of a plan: Ray, one Tuner over all cells, and the tasks of its loop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweeps.cluster import node_resources
from sweeps.cluster.node_resources import Machines
from sweeps.cluster.session import DRIVERS, SLOTS, session
from sweeps.console.sweep_progress import SweepProgress
from sweeps.execution import staging
from sweeps.execution.loop_tasks import LeaveWhenSaved, NodeDrains, SlotLogs, StopRequests, once_a_second
from sweeps.execution.preview_process import preview_written
from sweeps.planning.plan import Plan
from sweeps.runs.mirror import RunMirror
from sweeps.search import trial_sizes
from sweeps.search.admission import Admission
from sweeps.search.capacity import CapacityRequests, CapacityWatch
from sweeps.search.remaining_work import RemainingWork
from sweeps.search.searcher import CellSearch, LoopCallback
from sweeps.search.shutdown import Shutdown
from sweeps.search.trial_queue import TrialQueue
from sweeps.search.trial_sizes import Sizes
from trainables.system import redaction
from trainables.system.signals import handling

LEAVE_SECONDS = 5.0  # for trials to save themselves after Ctrl-C
REMOTE_LEAVE_SECONDS = 60.0  # the same for a run at a URL, where checkpoints have to be uploaded
# Times a trial's slot may die before the trial counts as failed. Many, because machines vanish through no fault of
# the trial.
SLOT_FAILURES = 20

Task = Callable[[], object]  # called at every iteration of Tune's loop


class SweepInterrupted(KeyboardInterrupt):
    """The sweep ended before its work was done; everything finished is kept and the run can be resumed."""


class SweepDriver:
    """Runs the remaining trials of a plan: those that its run folder shows unfinished when the driver is made.

    ``shutdown`` is requested by Ctrl-C, ``paretune stop``, or a wait for capacity that was too long.
    """

    def __init__(
        self,
        plan: Plan,
        run_folder: Path,
        address: str | None,
        progress: SweepProgress,
        mirror: RunMirror,
        shutdown: Shutdown,
        force: bool = False,
    ) -> None:
        self.plan, self.run_folder, self.address = plan, run_folder, address
        self.progress, self.mirror, self.shutdown, self.force = progress, mirror, shutdown, force
        self._work = RemainingWork(plan, run_folder)

    def work_left(self) -> bool:
        return self._work.any_remaining()

    def sweep(self) -> None:
        """Returns once every trial has a record.

        Raises :class:`SweepInterrupted`, ``StorageError`` when the run's store failed for too long, and ``DataError``
        for rows that no trial could be trained on.
        """
        plan, progress = self.plan, self.progress
        with preview_written(plan, self.run_folder) as preview, self._ray_session() as ray:
            # It has worked while Ray started; rows that can't be trained on end the sweep here.
            preview.finish()
            # After the session has begun: these import Ray, whose settings it puts into the environment.
            from sweeps.cluster.actors import open_board

            # On a cluster, another sweep may have the same name.
            board_name = f"board-{plan.spec.name}-{os.getpid()}"
            board = open_board(board_name)
            machines = Machines(ray)
            admission = Admission(machines.available, plan.spec.resources.concurrent or DRIVERS)
            at_start = admission.machines
            slots = trial_sizes.slots(plan, at_start)
            progress.begin(plan, self.run_folder, slots=slots)
            if self.address:
                staging.stage(ray, plan, self.run_folder, self.mirror.store, progress.log)
            sizes = Sizes.for_plan(plan, at_start, slots, self.force)
            queue = TrialQueue(self._work, sizes, admission)
            for warning in trial_sizes.warnings(plan, sizes):
                progress.log(warning)
            requests = CapacityRequests(ray) if self.address else None
            wait_seconds = plan.spec.resources.wait_seconds
            watch = CapacityWatch(queue, self.shutdown, progress.log, wait_seconds, requests)
            tasks = self._tasks(machines, board, watch)
            search = CellSearch(
                self._work, queue, self.mirror, self.shutdown, idle=lambda: [task() for task in tasks]
            )
            with self._signals_handled(board):
                try:
                    self._tuner(search, board_name, tasks).fit()
                except BaseException:
                    # Once trials are ending, Tune may fail in any way; what counts is the request to end.
                    if not self.shutdown.requested:
                        raise
                finally:
                    if requests is not None:
                        requests.close()
            # A mirror that can't write requests the end by a signal, so its error is the true reason.
            if self.shutdown.requested:
                raise self.mirror.failure or SweepInterrupted

    def _tasks(self, machines: Machines, board: Any, watch: CapacityWatch) -> list[Task]:
        tasks: list[Task] = [
            self.progress.tick,
            once_a_second(StopRequests(self.run_folder)),
            once_a_second(NodeDrains(machines, board)),
            once_a_second(watch),
        ]
        if self.mirror.store is not None:
            tasks.append(once_a_second(SlotLogs(board, self.run_folder)))
        if not self.address:
            tasks.append(once_a_second(LeaveWhenSaved(self.shutdown, board, _interrupt)))
        return tasks

    @contextmanager
    def _ray_session(self) -> Iterator[Any]:
        """Ray, joined or started on this machine; its own messages go to ``sweep.log``."""
        local: dict[str, Any] = {
            "num_cpus": os.cpu_count(),
            "resources": {SLOTS: DRIVERS},
            "_memory": node_resources.this_machine().memory,
        }
        with (
            (self.run_folder / "sweep.log").open("a", encoding="utf-8") as log,
            session(redaction.RedactedFile(log), self.address, **({} if self.address else local)) as ray,
        ):
            yield ray

    @contextmanager
    def _signals_handled(self, board: Any) -> Iterator[None]:
        """On the first Ctrl-C (or SIGTERM) trials save themselves and the sweep ends; the second one ends it at once.

        An alarm ends a sweep whose trials take longer than :data:`LEAVE_SECONDS` to save themselves.
        """

        def leave(number: int, frame: Any) -> None:
            if self.shutdown.requested:
                raise SweepInterrupted
            self.shutdown.request()
            # Not waited for: a handler of signals must not hang where the cluster doesn't answer.
            board.interrupt.remote()
            self.progress.interrupted()
            at_url = self.mirror.store is not None
            signal.setitimer(signal.ITIMER_REAL, REMOTE_LEAVE_SECONDS if at_url else LEAVE_SECONDS)

        def cut_off(number: int, frame: Any) -> None:
            raise SweepInterrupted

        with handling([signal.SIGINT, signal.SIGTERM], leave), handling([signal.SIGALRM], cut_off):
            try:
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)

    def _tuner(self, search: CellSearch, board_name: str, tasks: Sequence[Task]) -> Any:
        from ray import tune

        from sweeps.execution.slot import Slot, SlotRequest
        from sweeps.search.asha import CellAsha

        plan, store = self.plan, self.mirror.store
        _keep_credentials_off_command_lines()
        return tune.Tuner(
            tune.with_resources(Slot, SlotRequest.for_trial),
            param_space={
                "run": store.url if store is not None else str(self.run_folder),
                "board": board_name,
                "stall_seconds": plan.spec.resources.stall_seconds,
                "evaluate_at": {cell.name: list(cell.rungs) for cell in plan.cells},
            },
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=CellAsha(plan, self.run_folder, board_name),
                num_samples=-1,  # the search says when it is done
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(self.run_folder / ".ray"),
                verbose=0,
                callbacks=[LoopCallback(task) for task in tasks],
                failure_config=tune.FailureConfig(max_failures=SLOT_FAILURES),
            ),
        )


def _interrupt() -> None:
    raise SweepInterrupted


def _keep_credentials_off_command_lines() -> None:
    """Tune hands AWS's keys to each actor as part of a process's command line, for every user of a node to see.

    On the driver's machine they are in the environment anyway, and for a run at a URL each node has its own.
    """
    from ray.tune.execution import class_cache

    propagated = class_cache.ENV_VARS_TO_PROPAGATE
    propagated -= {name for name in propagated if name.startswith("AWS_")}
