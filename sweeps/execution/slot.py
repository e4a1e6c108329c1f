"""A slot: a Tune trial's actor that keeps one warm Ray Train worker group and hands it trial after trial.

Starting a process, importing torch and forming a group take longer than many a trial's first steps; a slot pays
for that once. Tune reuses the actor (``reuse_actors``): ``reset_config`` is the next trial.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps.cluster.actors import find_board, open_hub
from sweeps.cluster.packing import Size
from sweeps.cluster.placement_groups import naming, release_of_the_dead
from sweeps.cluster.session import SLOTS
from trainables.storage.urls import is_url
from trainables.system import provenance
from trainables.trial import scratch

QUIET_SECONDS = 5.0  # between looks at whether the worker group, and the slot's own node, are still there
CLOSE_SECONDS = 20.0
KILL_SECONDS = 30.0
GROUP_FAILURES = 8  # times a slot's group may be rebuilt before the slot itself is given up


class Slot(tune.Trainable):
    """One trial at a time, named by ``trial_id`` and ``cell`` in its config; ``evaluate_at`` holds steps by cell."""

    def setup(self, config: dict[str, Any]) -> None:
        self.board = find_board(config["board"])
        self.hub = open_hub()
        context = ray.get_runtime_context()
        self.actor, self.node = str(context.get_actor_id()), context.get_node_id()
        self.name = self.actor[:8]
        self.served = 0
        self.run, self.stall_seconds = config["run"], config["stall_seconds"]
        self.failure: BaseException | None = None
        self.group = threading.Thread(target=self._serve, args=(config,), daemon=True)
        self._look_around()
        self.group.start()  # while the hub's process starts
        self._give(config)

    def _serve(self, config: dict[str, Any]) -> None:
        try:
            self._trainer(config).fit()
        except BaseException as error:
            self.failure = error

    def _trainer(self, config: dict[str, Any]) -> Any:
        from ray.train import FailureConfig, RunConfig, ScalingConfig

        from trainables.runner.worker_loop import serve

        size = Size(**config["size"])
        return _light_trainer()(
            self.actor,
            serve,
            train_loop_config={"hub": self.hub, "board": self.board, "cpus": size.cpus},
            scaling_config=ScalingConfig(
                num_workers=size.workers, use_gpu=size.gpus > 0, resources_per_worker=size.bundle()
            ),
            run_config=RunConfig(
                name=f"slot-{self.name}",
                storage_path=str(scratch.local_run_folder(config["run"]) / ".ray"),
                callbacks=[_starving(self.hub)],
                failure_config=FailureConfig(  # type: ignore[call-arg]  # mypy finds that of the old Ray Train
                    max_failures=GROUP_FAILURES, controller_failure_limit=1
                ),
            ),
        )

    def _give(self, config: dict[str, Any]) -> None:
        self.job_id = config["trial_id"]
        self.unanswered: int | None = None
        job = {
            "trial_id": self.job_id,
            "run": config["run"],
            "config": json.loads(scratch.read_run_file(config["run"], f"trials/{self.job_id}/config.json")),
            "evaluate_at": config["evaluate_at"].get(config["cell"], []),
            "slot": self.name,
            "slot_trial": self.served,
        }
        self.served += 1
        ray.get(self.hub.give.remote(job))

    def _look_around(self) -> None:
        """Before each trial: whether this node stays, and whether there is anything to be had of slots that died."""
        self._stay_only_where_it_lasts()
        release_of_the_dead()

    def _stay_only_where_it_lasts(self) -> None:
        """Ends a slot whose node is to be taken down; Tune makes another for its trial, on a node that stays."""
        if ray.get(self.board.is_draining.remote(self.node)):
            raise RuntimeError(f"slot {self.name} leaves its node, which is to be taken down")

    def step(self) -> dict[str, Any]:
        """Answers the last report with the search's decision, then waits for the next one, or for the end."""
        if self.unanswered is not None:
            decision = "stop" if ray.get(self.board.stopped.remote(self.job_id)) else "continue"
            ray.get(self.hub.decide.remote(self.job_id, self.unanswered, decision))
            self.unanswered = None
        event = self._next_event()
        if event["kind"] == "done":
            record = event["record"]
            kept = ("status", "objective", "quality", "peak_train_bytes", "setup_seconds", "steps")
            told = {name: record[name] for name in kept}
            return {**told, "step": record["steps"] or 0, "done": True, "lost": event.get("lost")}
        self.unanswered = event["step"]
        return {"step": event["step"], "objective": event["objective"], "done": False}

    def _next_event(self) -> dict[str, Any]:
        while True:
            event = ray.get(self.hub.event.remote(QUIET_SECONDS))
            if event is not None and event["trial_id"] == self.job_id:
                if event["kind"] != "moved":
                    return event
                self._log(f"trial {self.job_id} has saved itself and leaves a node that is to be taken down")
                self._stay_only_where_it_lasts()
                continue
            if event is None and ray.get(self.board.is_draining.remote(self.node)):
                ray.get(self.board.move.remote(self.job_id))
            if event is None and not self.group.is_alive():
                raise RuntimeError(f"slot {self.name}: its worker group ended: {self.failure}")
            if event is None and self.stall_seconds is not None:
                self._end_stalled()

    def _end_stalled(self) -> None:
        """Ends the group's processes when none has given a sign of life for too long; Train makes new ones."""
        quiet, workers = ray.get(self.hub.silence.remote())
        if quiet < self.stall_seconds:
            return
        self._log(f"trial {self.job_id} has said nothing for {quiet:.0f} s; its workers are ended")
        for node, process in workers:
            there = NodeAffinitySchedulingStrategy(node, soft=False)
            task = _kill.options(scheduling_strategy=there).remote(process)
            ray.wait([task], timeout=KILL_SECONDS)
        ray.get(self.hub.alive.remote())  # the next ones have as long

    def _log(self, text: str) -> None:
        line = f"{provenance.now()[11:19]} {text}\n"
        if is_url(self.run):
            ray.get(self.board.add_log_line.remote(line))
            return
        with (Path(self.run) / "sweep.log").open("a", encoding="utf-8") as log:
            log.write(line)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._look_around()
        self._give(new_config)
        return True

    def cleanup(self) -> None:
        ray.get(self.hub.close.remote())
        self.group.join(timeout=CLOSE_SECONDS)
        if is_url(self.run):
            shutil.rmtree(
                scratch.local_run_folder(self.run) / ".ray" / f"slot-{self.name}", ignore_errors=True
            )

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial's own checkpoints, in its folder, are what it resumes from."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load; see ``save_checkpoint``."""


class SlotRequest(tune.PlacementGroupFactory):
    """A slot's own place, beside its group's; slots of another size are others, and don't serve in its stead."""

    def __init__(self, size: Size) -> None:
        super().__init__([{"CPU": 0, SLOTS: 1}])
        self.size = size

    @classmethod
    def for_trial(cls, config: dict[str, Any]) -> SlotRequest:
        """The request of a slot that can run a trial of this config."""
        return cls(Size(**config["size"]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SlotRequest) and self.size == other.size

    def __hash__(self) -> int:
        return hash(self.size)


@ray.remote(num_cpus=0)
def _kill(process: int) -> None:
    """Ends a process of this node that may no longer listen to anything else."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def _starving(hub: Any) -> Any:
    """Tells the hub when Ray ended a worker because its node ran low on memory: the trial didn't fit."""
    from ray.train import UserCallback

    class Starving(UserCallback):
        def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
            if any(ran_out_of_memory(error) for error in worker_exceptions.values()):
                ray.get(hub.memory_ran_out.remote())

    return Starving()


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether Ray's memory monitor ended a worker. Other deaths' messages speak of memory as well, as a guess."""
    failure = getattr(error, "health_check_failure", error)
    said = str(failure)
    return isinstance(failure, ray.exceptions.OutOfMemoryError) or "NODE_OUT_OF_MEMORY" in said


def _light_trainer() -> Any:
    """A ``TorchTrainer`` without two helpers that are a process each and two seconds of start-up.

    One manages Ray data sets, and there are none; the other frees what a dead controller held, by way of the
    dashboard, and there may be none (see ``holdings``). Neither does a lone worker get a process group:
    torch's store for it listens on all interfaces and asks nobody for a token.
    """
    from ray.train.torch import TorchTrainer
    from ray.train.torch.config import TorchConfig, _TorchBackend
    from ray.train.v2._internal.callbacks import DatasetsCallback
    from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
    from torch.distributed import is_nccl_available

    # Ray goes by the GPUs it counts, which may be more than torch was built for.
    backend = None if is_nccl_available() else "gloo"

    class Backend(_TorchBackend):
        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            if len(worker_group) > 1:
                super().on_start(worker_group, backend_config)

    class Config(TorchConfig):
        @property
        def backend_cls(self) -> Any:
            return Backend

    class LightTrainer(TorchTrainer):
        def __init__(self, slot: str, *args: Any, **options: Any) -> None:
            self.slot = slot
            super().__init__(*args, torch_config=Config(backend), **options)

        def _create_default_callbacks(self) -> list[Any]:
            unneeded = (DatasetsCallback, PlacementGroupCleanerCallback)
            usual = super()._create_default_callbacks()  # type: ignore[misc]  # mypy finds the old Ray Train's
            kept = [callback for callback in usual if not isinstance(callback, unneeded)]
            return [*kept, naming(self.slot)]

    return LightTrainer
