"""What runs inside a slot's warm Ray Train worker group: trial after trial, until the slot closes.

The group talks to its slot through a hub, an actor whose methods are named here: ``next_job(done_id, rank, kills,
where, group)``, ``alive()``, ``further()``, ``report(event)``, ``answer(trial_id, step)``, ``moved()``,
``failed(record)``; and to the sweep's board: ``interrupted()``, ``to_save(trial_id, node)``, ``moved(trial_id)``,
``ended(trial_id)``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.results import Record
    from trainables.runner.run import Place
    from trainables.runner.workspace import Where
    from trainables.trial.config import TrialConfig

MAX_ATTEMPTS = 3  # times a trial may take its worker down without getting further before it counts as failed


def serve(settings: dict[str, Any]) -> None:
    """The train loop of the slot's ``TorchTrainer``: serves jobs from ``settings["hub"]`` until it closes."""
    from trainables.system import quiet

    quiet.silence()
    import ray
    import ray.train.torch
    import torch

    from trainables.memory.measuring_process import MeasuringProcess
    from trainables.results import Record
    from trainables.runner.workspace import where
    from trainables.system import machine
    from trainables.training.worker_group import GroupBroken

    hub, board = settings["hub"], settings["board"]
    if not torch.cuda.is_available():
        os.environ.pop(
            "ACCELERATE_TORCH_DEVICE", None
        )  # Ray's word; it counts GPUs that torch may not be built for
        torch.set_num_threads(max(1, int(settings["cpus"])))
    context = ray.train.get_context()
    workers, rank = context.get_world_size(), context.get_world_rank()
    if torch.cuda.is_available() and workers > 1:
        torch.cuda.set_device(ray.train.torch.get_device())  # the workers of a machine see one another's GPUs
    here = (ray.get_runtime_context().get_node_id(), os.getpid())
    group = ray.util.get_current_placement_group()
    named = group.id.hex() if group is not None else ""
    # The measuring processes are all on this machine, each with a GPU of its own.
    room = not torch.cuda.is_available() or torch.cuda.device_count() >= workers
    measuring = MeasuringProcess(workers) if room else None
    _warm_up()
    try:
        done: str | None = None
        while (job := ray.get(hub.next_job.remote(done, rank, machine.oom_kills(), here, named))) is not None:
            claim = f"{named} {job['given_at']}"
            place = where(job["run"], job["trial_id"], claim, rank == 0, hub.alive.remote)
            record = _run({**job, "node": here[0]}, hub, board, workers, measuring, place)
            lost = place.deliver(Record.model_validate(record))
            if record["status"] == "interrupted" and not _told(board.interrupted.remote()):
                _move_on(job, hub, board, rank)
            done = job["trial_id"]
            if rank == 0:
                _told(board.ended.remote(done))
                ray.get(hub.report.remote({"kind": "done", "trial_id": done, **_told_of(record, lost)}))
    except Deserted:
        return  # the trial has no record, so a resumed sweep goes on with it
    except GroupBroken as broken:
        if broken.record is not None:
            _told(hub.failed.remote(broken.record.model_dump(mode="json")))
        raise RuntimeError(f"this worker group can't go on: {broken}") from broken  # Train makes another
    finally:
        if measuring is not None:
            measuring.close()


def _run(
    job: dict[str, Any], hub: Any, board: Any, workers: int, measuring: Any, at: Where | None = None
) -> dict[str, Any]:
    from trainables.models.folder import ModelError
    from trainables.runner.run import Place, end_trial, run_trial
    from trainables.runner.workspace import InPlace
    from trainables.storage import outage
    from trainables.storage.url_store import StorageError
    from trainables.trial.config import TrialConfig

    at = at or InPlace(Path(job["run"]))
    config = TrialConfig.model_validate(job["config"])
    place = Place(at.run, job["slot"], job["slot_trial"], job["given_at"], workers)
    ended = _ended_before(job, config, place)
    if ended is not None:
        return ended.model_dump(mode="json")
    steps = frozenset(job["evaluate_at"])
    measures = at.measuring(measuring, workers) if measuring is not None else None
    halved = bool(job["starved"] or job.get("failed"))
    control = FromHub(hub, board, job["trial_id"], steps, job.get("node", ""))
    while True:
        try:
            here = at.fetch(config)
            with at.sending():
                record = run_trial(config, place, control, steps, measures, halved=halved, here=here)
            return record.model_dump(mode="json")
        except (StorageError, ModelError) as error:
            why = f"what it needs could not be brought here: {error}"
            return end_trial(config, place, "failed", why).model_dump(mode="json")
        except Exception as error:
            if outage.of_storage(error, place.run) is None or not outage.outlasted(place.run, control.alive):
                raise
            if workers > 1:
                raise  # the others are not where this one is: all begin again, from the last checkpoint


def _ended_before(job: dict[str, Any], config: TrialConfig, place: Place) -> Record | None:
    """The record of a job that isn't to be run again, for what befell its workers before; written."""
    from trainables.results import Record, write_record
    from trainables.runner.run import end_trial, would_retry

    failed = Record.model_validate(job["failed"]) if job.get("failed") else None
    if failed is not None and not would_retry(config, failed, place.workers):
        write_record(place.folder(config), failed)
        return failed
    if job["starved"] > (1 if config.train.retry_out_of_memory else 0):
        starved = "its worker was ended because the node's memory had run out"
        return end_trial(config, place, "out_of_memory", starved)
    if job["attempt"] > MAX_ATTEMPTS:
        died = (
            f"its worker died {MAX_ATTEMPTS} times without getting to another checkpoint, or was ended because it said "
            "nothing for resources.stall_seconds; sweep.log says which"
        )
        return end_trial(config, place, "failed", died)
    return None


def _told_of(record: dict[str, Any], lost: str | None) -> dict[str, Any]:
    """What the hub is told of a trial's end. A record that could not be written goes this way, and says so."""
    if lost is None:
        return {"record": record}
    status = "interrupted" if record["status"] == "interrupted" else "failed"
    record = {**record, "status": status, "error": lost}
    return {"record": record, "lost": json.dumps(record)}


def _move_on(job: dict[str, Any], hub: Any, board: Any, rank: int) -> None:
    """Ends this group: Train makes another elsewhere, which goes on with the trial where it saved itself."""
    if rank == 0:
        _told(board.moved.remote(job["trial_id"]))
        _told(hub.moved.remote())
    raise Moving(f"trial {job['trial_id']} goes on elsewhere: a node that it runs on is to be taken down")


class Moving(Exception):  # noqa: N818
    """The trial was saved and left, to be gone on with in another place."""


class Deserted(BaseException):
    """The sweep is gone, its board or the slot's hub: no failure of the trial, so it isn't caught as one."""


class FromHub:
    """The search's decisions, by way of the slot's hub. It decides ``at`` some steps; what is validated between them is
    in the curve, and costs the driver nothing.
    """

    def __init__(
        self, hub: Any, board: Any, trial_id: str, at: frozenset[int] = frozenset(), node: str = ""
    ) -> None:
        self.hub, self.board, self.trial_id, self.at, self.node = hub, board, trial_id, at, node

    def report(self, step: int, values: dict[str, float]) -> Any:
        if step not in self.at:
            return "continue"
        if int(os.environ.get("RANK", "0")) == 0:
            event = {"kind": "report", "trial_id": self.trial_id, "step": step, **values}
            _told(self.hub.report.remote(event))
        return _told(self.hub.answer.remote(self.trial_id, step))

    def alive(self) -> None:
        """Gives a sign of life."""
        self.hub.alive.remote()

    def saved(self) -> None:
        self.hub.further.remote()

    def interrupted(self) -> bool:
        self.alive()  # it is asked at every step
        return bool(_told(self.board.to_save.remote(self.trial_id, self.node)))


def _told(answer: Any) -> Any:
    """What an actor of the sweep answers. Raises :class:`Deserted` when it is dead."""
    import ray

    try:
        return ray.get(answer)
    except ray.exceptions.RayActorError as error:
        raise Deserted from error


def _warm_up() -> None:
    """Imports what every trial needs, so that the first one waits less.

    What is there by then stays: taken out of garbage collection, it isn't walked through between trials.
    """
    import gc

    import peft  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
    from trl import SFTTrainer  # noqa: F401

    gc.collect()
    gc.freeze()
