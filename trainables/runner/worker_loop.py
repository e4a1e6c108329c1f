"""A worker of a slot's warm Ray Train group: runs trial after trial, until the slot closes.

It talks to its slot through the hub, an actor of which it calls ``next_job(done_id, rank, oom_kills, where, group)``,
``alive()``, ``checkpoint_saved()``, ``report(event)``, ``answer(trial_id, step)``, ``moved()``, ``failed(record)``.
Of the sweep's board it calls ``interrupted()``, ``requests(trial_id, node)``, ``moved(trial_id)``, ``ended(trial_id)``,
``follow(trial_id, activity)``, ``alive(trial_id)``, ``forget(trial_id)``, ``storage_fails(trial_id, reason)``.

Most of what goes wrong in a trial ends in its record. These exceptions end more than the trial:

========================  ==============================================  ==========================================
exception                 meaning                                         what follows
========================  ==============================================  ==========================================
``SweepGone``             board or hub is dead                            the worker ends; no record is written, so a
                                                                          resumed sweep continues the trial
``WorkerGroupBroken``     one worker of the group failed alone, or died   its record goes to the hub; ``RuntimeError``
                                                                          has Ray Train start another group
``TrialMoved``            the trial has saved a checkpoint, as its node   Ray Train starts another group on another
                          will be taken down                              node, which resumes the trial
any other, with a group   the run folder can't be written to              Ray Train starts another group, which
of several workers                                                        resumes from the last checkpoint
========================  ==============================================  ==========================================
"""

from __future__ import annotations

import gc
import json
import os
from dataclasses import dataclass, field
from typing import Any

import ray
import ray.train.torch
import torch

from trainables.config.ending import EndingRules
from trainables.memory.gpu_share import limit_allocator
from trainables.memory.in_trial import InTrial
from trainables.memory.measuring_process import MeasuringProcess
from trainables.methods.own_code import OwnMethodError
from trainables.models.folder import ModelError
from trainables.results import Record, write_record
from trainables.runner.hub_control import HubControl, SweepGone, actor_result
from trainables.runner.run import TrialContext, end_trial, run_trial, would_retry
from trainables.runner.workspace import Workspace, workspace_for
from trainables.storage import outage
from trainables.storage.url_store import StorageError
from trainables.storage.urls import is_url
from trainables.system import machine
from trainables.system.background import call_periodically
from trainables.training.pausing import Pausing
from trainables.training.worker_group import WorkerGroupBroken
from trainables.trial.config import TrialConfig
from trainables.trial.resident_base import ResidentBase

# Times a trial may take its worker down without saving another checkpoint; after that it counts as failed.
MAX_ATTEMPTS = 3
ALIVE_SECONDS = 5.0  # between signs of life to the board


class TrialMoved(Exception):  # noqa: N818
    """The trial has been saved and left, to be resumed on another node."""


@dataclass(frozen=True)
class WorkerLoop:
    """One of ``workers`` processes that run a slot's trials together; ``rank`` 0 is the one that writes and reports.

    ``node`` is Ray's id of this node, ``group`` the id of the placement group. ``measuring``: how trials' memory is
    measured, ``None`` where it isn't. ``bases`` keeps the base model from trial to trial. ``paused``: the trials that
    have paused here, and have not gone on here since.
    """

    hub: Any
    board: Any
    workers: int = 1
    rank: int = 0
    node: str = ""
    group: str = ""
    measuring: MeasuringProcess | InTrial | None = None
    bases: ResidentBase = field(default_factory=ResidentBase)
    paused: set[str] = field(default_factory=set)

    @classmethod
    def setup(cls, hub: Any, board: Any, cpus: float, gpus: float = 0) -> WorkerLoop:
        """The loop of this process, which Ray Train has started; libraries are imported and devices chosen.

        ``cpus`` and ``gpus`` are those of one worker.
        """
        on_gpu = torch.cuda.is_available()
        if not on_gpu:
            # Set by Ray where it counts GPUs, also those that this torch isn't built for.
            os.environ.pop("ACCELERATE_TORCH_DEVICE", None)
            torch.set_num_threads(max(1, int(cpus)))
        context = ray.train.get_context()
        workers = context.get_world_size()
        if on_gpu and workers > 1:
            torch.cuda.set_device(ray.train.torch.get_device())  # all workers of a node see all of its GPUs
        if on_gpu:
            limit_allocator(gpus)  # before anything is allocated
        group = ray.util.get_current_placement_group()
        measuring = InTrial() if on_gpu else MeasuringProcess(workers)
        _warm_up()
        return cls(
            hub,
            board,
            workers,
            context.get_world_rank(),
            ray.get_runtime_context().get_node_id(),
            group.id.hex() if group is not None else "",
            measuring,
        )

    def serve_jobs(self) -> None:
        """Runs jobs until the hub has no more. The module's table says which exceptions leave it."""
        done: str | None = None
        where = (self.node, os.getpid())
        try:
            while True:
                waiting = self.hub.next_job.remote(done, self.rank, machine.oom_kills(), where, self.group)
                job = ray.get(waiting)
                if job is None:
                    return
                self.serve_job(job)
                done = job["job"]
        except SweepGone:
            return
        except WorkerGroupBroken as broken:
            if broken.record is not None:
                actor_result(self.hub.failed.remote(broken.record.model_dump(mode="json")))
            raise RuntimeError(f"this worker group can't continue: {broken}") from broken

    def serve_job(self, job: dict[str, Any]) -> None:
        """Runs one job in its workspace, delivers what the trial left, and reports its record to the hub."""
        # Names this attempt: the group's workers on one node share a download, a later attempt makes its own.
        claim = f"{self.group} {job['handed_over_at']}"

        def beat() -> None:
            self.hub.alive.remote()
            self.board.alive.remote(job["trial_id"])

        workspace = workspace_for(job["run"], job["trial_id"], claim, self.rank == 0, beat)
        record = self.run_job(job, workspace)
        # Before the node is left: another one resumes from what is at the URL.
        delivery_error = workspace.deliver(record)
        # Where the sweep itself goes on, a trial that has not paused was interrupted as its node will be taken down.
        unfinished = record.status == "interrupted" and job["trial_id"] not in self.paused
        if unfinished and not actor_result(self.board.interrupted.remote()):
            self._leave_node(job["trial_id"])
        if self.rank == 0:
            actor_result(self.board.ended.remote(job["trial_id"]))
            event = {"kind": "done", "trial_id": job["trial_id"], **_end_report(record, delivery_error)}
            ray.get(self.hub.report.remote(event))

    def run_job(self, job: dict[str, Any], workspace: Workspace) -> Record:
        """The record of a job's trial, run or resumed, or of what ended its workers before."""
        config = TrialConfig.model_validate(job["config"])
        context = TrialContext(
            workspace.run, job["slot"], job["slot_trial"], job["handed_over_at"], self.workers, self.bases
        )
        record = _record_of_earlier_attempts(job, config, context)
        if record is not None:
            return record
        self.paused.discard(job["trial_id"])
        evaluate_at = frozenset(job["evaluate_at"])
        ending = EndingRules.model_validate(job["ending"])
        gauge = workspace.memory_gauge(self.measuring, self.workers) if self.measuring is not None else None
        halved = bool(job["out_of_memory_kills"] or job.get("failed"))
        # At a URL a checkpoint is safe once it is uploaded, which the trial's end waits for.
        kept_here = not is_url(job["run"])
        control = HubControl(
            self.hub,
            self.board,
            job["trial_id"],
            evaluate_at,
            self.node,
            kept_here,
            frozenset(job["loss_rungs"]),
            Pausing(**job["pausing"]),
            job["passed"],
        )
        # What a dead worker was at is lost, and not waited for any more.
        if self.rank == 0:
            self.board.forget.remote(job["trial_id"])
        while True:
            try:
                # The job is the plan's own, so the code of a method of one's own may run here.
                local = workspace.fetch(config).with_own_code()
                config = TrialConfig.model_validate(job["config"])  # with the class that was imported
                # A sweep that ends waits only for trials whose workers live.
                living = call_periodically(lambda: self.board.alive.remote(job["trial_id"]), ALIVE_SECONDS)
                with workspace.uploading(), living:
                    record = run_trial(config, context, control, evaluate_at, gauge, halved, local, ending)
                self.paused.update({job["trial_id"]} if control.paused else ())
                return record
            except (StorageError, ModelError) as error:
                return end_trial(config, context, "failed", f"its inputs could not be fetched: {error}")
            except OwnMethodError as error:
                return end_trial(config, context, "failed", str(error))
            except Exception as error:
                if (failure := outage.storage_failure(error, context.run)) is None:
                    raise
                # The trial starts again from its last checkpoint, so nothing is waited for when the sweep ends.
                self.board.storage_fails.remote(job["trial_id"], failure)
                # With several workers, too: until then a new group would fail at once.
                if not outage.wait_until_writable(context.run, control.alive):
                    raise
                self.board.forget.remote(job["trial_id"])
                if self.workers > 1:
                    raise  # the others are at another step: all resume from the last checkpoint, in a new group

    def close(self) -> None:
        if isinstance(self.measuring, MeasuringProcess):
            self.measuring.close()

    def _leave_node(self, trial_id: str) -> None:
        """Ends this group; Ray Train starts another one elsewhere, which resumes the trial from where it saved."""
        if self.rank == 0:
            actor_result(self.board.moved.remote(trial_id))
            actor_result(self.hub.moved.remote())
        raise TrialMoved(f"trial {trial_id} continues elsewhere: a node that it runs on will be taken down")


def _record_of_earlier_attempts(
    job: dict[str, Any], config: TrialConfig, context: TrialContext
) -> Record | None:
    """The record of a job that isn't to be run again, because of how earlier attempts ended; it is written here."""
    failed = Record.model_validate(job["failed"]) if job.get("failed") else None
    if failed is not None and not would_retry(config, failed, context.workers):
        write_record(context.folder(config), failed)
        return failed
    # The first kill halves the rows; the second, or the first without a retry, ends the trial.
    if job["out_of_memory_kills"] > (1 if config.train.retry_out_of_memory else 0):
        killed = "its worker was killed because the node's memory had run out"
        return end_trial(config, context, "out_of_memory", killed)
    if job["attempt"] > MAX_ATTEMPTS:
        died = (
            f"its worker died {MAX_ATTEMPTS} times before it reached another checkpoint, or was ended because it gave "
            "no sign of life for resources.stall_seconds; sweep.log says which"
        )
        return end_trial(config, context, "failed", died)
    return None


def _end_report(record: Record, delivery_error: str | None) -> dict[str, Any]:
    """What the hub gets when a trial has ended. A record that could not be written goes this way, with the error."""
    values = record.model_dump(mode="json")
    if delivery_error is None:
        return {"record": values}
    status = "interrupted" if record.status == "interrupted" else "failed"
    values |= {"status": status, "error": delivery_error}
    return {"record": values, "lost": json.dumps(values)}


def _warm_up() -> None:
    """Imports what every trial needs, so that the first one starts sooner.

    What has been allocated by then stays: taken out of garbage collection, it isn't walked through between trials.
    """
    import peft  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
    from trl import SFTTrainer  # noqa: F401

    gc.collect()
    gc.freeze()
