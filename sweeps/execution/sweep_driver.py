"""One attempt to run the remaining trials of a plan: Ray, one Tuner over all cells, and the tasks of its loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from sweeps.cluster import node_resources
from sweeps.cluster.local_memory import LocalMachine
from sweeps.cluster.node_resources import Machines
from sweeps.cluster.placement_groups import remove_groups_of_dead_slots
from sweeps.cluster.session import DRIVERS, SLOTS, session
from sweeps.console.sweep_progress import SweepProgress
from sweeps.execution import staging
from sweeps.execution.interruption import Interruption, SweepInterrupted
from sweeps.execution.loop_tasks import (
    DeadSlots,
    FolderWatch,
    NodeDrains,
    SlotLogs,
    StopRequests,
    TrialRequests,
    once_a_second,
)
from sweeps.execution.preview_process import preview_written
from sweeps.execution.run_folder import keep_first_comparison
from sweeps.execution.running_trials import RunningTrials, WaitingTrials
from sweeps.planning.assessment.notice import notice_of
from sweeps.planning.plan import Cell, Plan
from sweeps.planning.resources.sizes import Sizes
from sweeps.runs.layout import read_environment
from sweeps.runs.mirror import RunMirror
from sweeps.runs.resume_points import resume_points
from sweeps.search import trial_sizes
from sweeps.search.admission import Admission
from sweeps.search.capacity import CapacityRequests, CapacityWatch
from sweeps.search.first_comparison import FirstComparison
from sweeps.search.remaining_work import RemainingWork
from sweeps.search.searcher import CellSearch, LoopCallback
from sweeps.search.shutdown import Shutdown
from sweeps.search.trial_queue import TrialQueue
from trainables.storage import files
from trainables.system import machine, redaction
from trainables.system.disk_speed import checkpoint_speed

__all__ = ["SweepDriver", "SweepInterrupted"]

# Times a trial's slot may die before the trial counts as failed. Many, because machines vanish through no fault of
# the trial.
SLOT_FAILURES = 20

Task = Callable[[], object]  # called at every iteration of Tune's loop


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
        # Before Ray and the trials, which need some of it.
        local = None if self.address else LocalMachine(node_resources.this_machine().memory)
        progress.log(f"joins the cluster at {self.address}" if self.address else "starts Ray on this machine")
        with preview_written(plan, self.run_folder) as preview, self._ray_session() as ray:
            # It has worked while Ray started; rows that can't be trained on end the sweep here.
            preview.finish()
            # After the session has begun: these import Ray, whose settings it puts into the environment.
            from sweeps.cluster.actors import open_board

            # On a cluster, another sweep may have the same name.
            board_name = f"board-{plan.spec.name}-{os.getpid()}"
            board = open_board(board_name)
            machines = Machines(ray)
            limit = plan.spec.resources.concurrent or DRIVERS
            available = machines.available
            admission = Admission(
                (lambda: local.with_memory(available())) if local is not None else available, limit
            )
            at_start = admission.machines
            slots = trial_sizes.slots(plan, at_start)
            progress.begin(plan, self.run_folder, slots=slots)
            for point in resume_points(self.run_folder, self.mirror.store):
                progress.log(str(point))
            if self.address:
                staging.stage(ray, plan, self.run_folder, self.mirror.store, progress.log)
            sizes = Sizes.for_cells(plan.cells, at_start, slots, self.force)
            queue = TrialQueue(self._work, sizes, admission, self._predicted_seconds())
            for warning in trial_sizes.warnings(plan, sizes):
                progress.log(warning)
            requests = CapacityRequests(ray) if self.address else None
            wait_seconds = plan.spec.resources.wait_seconds
            watch = CapacityWatch(queue, self.shutdown, progress.log, wait_seconds, requests)
            interruption = self._interruption(board)
            search = CellSearch(
                self._work, queue, self.mirror, self.shutdown, idle=lambda: [task() for task in tasks]
            )
            tasks = [
                *self._tasks(machines, board, watch, interruption),
                once_a_second(TrialRequests(search, board, progress.log)),
                *self._signs_of_life(search, board, slots),
            ]
            with interruption.signals_handled():
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

    @cached_property
    def _disk_speed(self) -> float | None:
        """Bytes per second at which checkpoints are written; ``None`` for a run at a URL, and where it is unknown."""
        return checkpoint_speed(self.run_folder) if self.mirror.store is None else None

    def _pausing(self, cell: Cell) -> dict[str, Any]:
        """By what a trial of the cell decides whether it saves itself when it pauses."""
        if not (cell.rungs and cell.search.breadth_first):
            return {}
        speed = {"bytes_per_second": self._disk_speed} if self._disk_speed else {}
        return {"share": 1 / cell.search.reduction_factor, **speed}

    def _predicted_seconds(self) -> dict[str, float]:
        """Of a whole trial of each cell, where it is known."""
        known = self.plan.times().cells.items()
        return {name: time.trial.seconds for name, time in known if time is not None}

    def _interruption(self, board: Any) -> Interruption:
        notice = notice_of(self.plan.spec.resources)
        speed = self._disk_speed if notice is not None else None
        on_cluster = self.address is not None
        return Interruption(
            self.shutdown, board, self.progress, self.mirror, on_cluster, notice, bytes_per_second=speed
        )

    def _tasks(
        self, machines: Machines, board: Any, watch: CapacityWatch, interruption: Interruption
    ) -> list[Task]:
        tasks: list[Task] = [
            self.progress.tick,
            *self._first_comparison(),
            once_a_second(StopRequests(self.run_folder, interruption.request, self.progress.log)),
            once_a_second(interruption),
            once_a_second(FolderWatch(self.run_folder, self.progress.log)),
            once_a_second(NodeDrains(machines, board, self.progress.log, interruption.bytes_per_second)),
            once_a_second(watch),
        ]
        if self.mirror.store is not None:
            tasks.append(once_a_second(SlotLogs(board, self.run_folder)))
        return tasks

    def _first_comparison(self) -> list[Task]:
        """The task that compares the cells at their first rung, unless that was done before the run was resumed."""
        known = read_environment(self.run_folder) or {}
        if "first_comparison" in known:
            return []
        keep = partial(keep_first_comparison, self.run_folder)
        seconds = known.get("seconds", 0.0)
        return [once_a_second(FirstComparison(self._work, self.run_folder, self.progress.log, keep, seconds))]

    def _signs_of_life(self, search: CellSearch, board: Any, slots: int) -> list[Task]:
        """The tasks that say what trials are doing and waiting for."""
        import ray

        def doing(trials: list[str]) -> dict[str, Any]:
            return ray.get(board.doing.remote(trials))

        steps = {cell.name: cell.steps for cell in self.plan.cells}
        running = RunningTrials(search, doing, steps, self.progress, self.run_folder)
        waiting = WaitingTrials(search, slots, self.progress.log)
        dead = DeadSlots(remove_groups_of_dead_slots, self.progress.log)
        return [once_a_second(task) for task in (running, waiting, dead)]

    @contextmanager
    def _ray_session(self) -> Iterator[Any]:
        """Ray, joined or started on this machine; its own messages go to ``sweep.log``."""
        local: dict[str, Any] = {
            "num_cpus": os.cpu_count(),
            "resources": {SLOTS: DRIVERS},
            # All of it: how much of it trials may have, `LocalMachine` says.
            "_memory": machine.total_memory_bytes() or None,
        }
        with (
            files.open_to_append(self.run_folder / "sweep.log") as log,
            session(redaction.RedactedFile(log), self.address, **({} if self.address else local)) as ray,
        ):
            yield ray

    def _tuner(self, search: CellSearch, board_name: str, tasks: Sequence[Task]) -> Any:
        from ray import tune

        from sweeps.execution.idle_slots import keep_idle_slots
        from sweeps.execution.slot import Slot, SlotRequest
        from sweeps.search.asha import CellAsha

        plan, store = self.plan, self.mirror.store
        # All nodes of a cluster need Tune's folder; on one machine it goes with the private folder of Ray's session.
        ray_state = self.run_folder / ".ray" if self.address is not None else _session_folder() / "state"
        _keep_credentials_off_command_lines()
        keep_idle_slots()
        return tune.Tuner(
            tune.with_resources(Slot, SlotRequest.for_trial),
            param_space={
                "run": store.url if store is not None else str(self.run_folder),
                "ray_state": str(ray_state) if self.address is None else None,
                "board": board_name,
                "stall_seconds": plan.spec.resources.stall_seconds,
                "rungs": {cell.name: cell.comparisons for cell in plan.cells},
                "pausing": {cell.name: self._pausing(cell) for cell in plan.cells},
                "ending": {cell.name: cell.ending.model_dump(mode="json") for cell in plan.cells},
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
                storage_path=str(ray_state),
                verbose=0,
                callbacks=[LoopCallback(task) for task in tasks],
                failure_config=tune.FailureConfig(max_failures=SLOT_FAILURES),
            ),
        )


def _session_folder() -> Path:
    import ray

    return Path(ray.get_runtime_context().get_temp_dir())


def _keep_credentials_off_command_lines() -> None:
    """Tune hands AWS's keys to each actor as part of a process's command line, for every user of a node to see.

    On the driver's machine they are in the environment anyway, and for a run at a URL each node has its own.
    """
    from ray.tune.execution import class_cache

    propagated = class_cache.ENV_VARS_TO_PROPAGATE
    propagated -= {name for name in propagated if name.startswith("AWS_")}
