"""What runs inside a slot's warm Ray Train worker group: trial after trial, until the slot closes.

The group talks to its slot through a hub, an actor whose methods are named here: ``next_job(done_id, rank, kills,
where)``, ``alive()``, ``report(event)``, ``answer(trial_id, step)``; and to the sweep's board: ``serve(trial_id,
placement_group)``, ``interrupted()``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

MAX_ATTEMPTS = 3  # times a trial may take its worker down before it counts as failed


def serve(settings: dict[str, Any]) -> None:
    """The train loop of the slot's ``TorchTrainer``: serves jobs from ``settings["hub"]`` until it closes."""
    from trainables import noise

    noise.silence()
    import ray
    import ray.train.torch
    import torch

    from trainables import machine
    from trainables.group import GroupBroken
    from trainables.measuring import MeasuringProcess

    hub, board = settings["hub"], settings["board"]
    context = ray.train.get_context()
    workers, rank = context.get_world_size(), context.get_world_rank()
    if not torch.cuda.is_available():
        torch.set_num_threads(max(1, int(settings["cpus"])))
    elif workers > 1:
        torch.cuda.set_device(ray.train.torch.get_device())  # the workers of a machine see one another's GPUs
    here = (ray.get_runtime_context().get_node_id(), os.getpid())
    # The measuring processes are all on this machine, each with a GPU of its own.
    room = not torch.cuda.is_available() or torch.cuda.device_count() >= workers
    measuring = MeasuringProcess(workers) if room else None
    _warm_up()
    try:
        done: str | None = None
        while (job := ray.get(hub.next_job.remote(done, rank, machine.oom_kills(), here))) is not None:
            if rank == 0:
                group = ray.util.get_current_placement_group()
                ray.get(board.serve.remote(job["trial_id"], group))
            record = _run(job, hub, board, workers, measuring)
            done = job["trial_id"]
            if rank == 0:
                ray.get(hub.report.remote({"kind": "done", "trial_id": done, "record": record}))
    except Deserted:
        return  # the trial has no record, so a resumed sweep goes on with it
    except GroupBroken as broken:
        raise RuntimeError(f"this worker group can't go on: {broken}") from broken  # Train makes another
    finally:
        if measuring is not None:
            measuring.close()


def _run(job: dict[str, Any], hub: Any, board: Any, workers: int, measuring: Any) -> dict[str, Any]:
    from trainables.config import TrialConfig
    from trainables.run import Place, end_trial, run_trial, would_retry

    config = TrialConfig.model_validate(job["config"])
    place = Place(Path(job["run"]), job["slot"], job["slot_trial"], job["given_at"], workers)
    known = _ended_before(job, place.folder(config))
    if known is not None and not would_retry(config, known):
        return known.model_dump(mode="json")
    if job["starved"] and (job["attempt"] > 2 or not config.train.retry_out_of_memory):
        starved = "its worker was ended because the node's memory had run out"
        return end_trial(config, place, "out_of_memory", starved).model_dump(mode="json")
    if job["attempt"] > MAX_ATTEMPTS:
        died = (
            f"its worker died {MAX_ATTEMPTS} times while running it, or was ended because it said nothing for "
            "resources.stall_seconds; sweep.log says which"
        )
        return end_trial(config, place, "failed", died).model_dump(mode="json")
    control = FromHub(hub, board, job["trial_id"])
    at = frozenset(job["evaluate_at"])
    halved = job["starved"] or known is not None
    record = run_trial(config, place, control, at, measuring, halved=halved)
    return record.model_dump(mode="json")


def _ended_before(job: dict[str, Any], folder: Path) -> Any:
    """The record of this very job, where one worker alone failed in it and took the group along; else ``None``."""
    from trainables import results

    record = results.read_record(folder) if job["attempt"] > 1 else None
    ours = record is not None and (record.slot, record.slot_trial) == (job["slot"], job["slot_trial"])
    return record if ours and record is not None and record.status in ("failed", "out_of_memory") else None


class Deserted(BaseException):
    """The sweep is gone, its board or the slot's hub: no failure of the trial, so it isn't caught as one."""


class FromHub:
    """The search's decisions, by way of the slot's hub."""

    def __init__(self, hub: Any, board: Any, trial_id: str) -> None:
        self.hub, self.board, self.trial_id = hub, board, trial_id

    def report(self, step: int, values: dict[str, float]) -> Any:
        if int(os.environ.get("RANK", "0")) == 0:
            event = {"kind": "report", "trial_id": self.trial_id, "step": step, **values}
            _told(self.hub.report.remote(event))
        return _told(self.hub.answer.remote(self.trial_id, step))

    def interrupted(self) -> bool:
        self.hub.alive.remote()  # it is asked at every step
        return bool(_told(self.board.interrupted.remote()))


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
