"""A slot: the actor of a Tune trial that keeps one warm Ray Train worker group and hands it trial after trial.

Starting a process, importing torch and forming a group take longer than the first steps of many a trial; a slot pays
for that once. Tune reuses the actor (``reuse_actors``): ``reset_config`` gives it the next trial.
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
from sweeps.cluster.placement_groups import remove_groups_of_dead_slots
from sweeps.cluster.session import SLOTS
from trainables.storage import files
from trainables.storage.urls import is_url
from trainables.system import provenance
from trainables.trial import scratch

QUIET_SECONDS = 5.0  # without an event until the slot checks its worker group and its own node
CLOSE_SECONDS = 20.0  # for a worker group to end after its hub has closed
KILL_SECONDS = 30.0  # for a node to kill a stalled worker
UNSCORED = {"score_stopped": False}
GROUP_FAILURES = 8  # times a slot's group may be rebuilt before the slot itself is given up


class Slot(tune.Trainable):
    """Runs one trial at a time, by ``trial_id`` and ``cell`` in Tune's config.

    ``rungs`` holds, by cell, the steps at which the search decides whether a trial stops, and what it is compared by
    there; those up to ``passed`` lie behind the trial. ``ending`` are the rules by which trials of the search end,
    ``pausing`` those by which they save themselves when they pause.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self.board = find_board(config["board"])
        self.hub = open_hub()
        context = ray.get_runtime_context()
        self.actor, self.node = str(context.get_actor_id()), context.get_node_id()
        self.name = self.actor[:8]
        self.trials_served = 0
        self.run, self.stall_seconds = config["run"], config["stall_seconds"]
        self.failure: BaseException | None = None
        self.refusal: Exception | None = None  # why it can't take the trial that it was given
        # A daemon, so that a group that hangs doesn't keep the actor's process alive.
        self.group = threading.Thread(target=self._serve, args=(config,), daemon=True)
        self._check_nodes()
        self.group.start()  # while the hub's process starts
        self._hand_over(config)

    def _serve(self, config: dict[str, Any]) -> None:
        try:
            self._trainer(config).fit()
        except BaseException as error:
            # Raised in this thread it would be lost; the slot raises it when it waits for an event.
            self.failure = error

    def _trainer(self, config: dict[str, Any]) -> Any:
        from ray.train import FailureConfig, RunConfig, ScalingConfig

        from sweeps.cluster.train_callbacks import OutOfMemoryWatch
        from sweeps.execution.light_trainer import LightTrainer
        from trainables.runner.worker_entry import serve

        size = Size(**config["size"])
        return LightTrainer(
            self.actor,
            serve,
            train_loop_config={"hub": self.hub, "board": self.board, "cpus": size.cpus, "gpus": size.gpus},
            scaling_config=ScalingConfig(
                num_workers=size.workers, use_gpu=size.gpus > 0, resources_per_worker=size.bundle()
            ),
            run_config=RunConfig(
                name=f"slot-{self.name}",
                storage_path=config["ray_state"] or str(scratch.local_run_folder(config["run"]) / ".ray"),
                callbacks=[OutOfMemoryWatch(self.hub)],  # type: ignore[list-item]  # mypy finds those of the old Ray Train
                failure_config=FailureConfig(  # type: ignore[call-arg]  # mypy finds that of the old Ray Train
                    max_failures=GROUP_FAILURES, controller_failure_limit=1
                ),
            ),
        )

    def _hand_over(self, config: dict[str, Any]) -> None:
        self.job_id = config["trial_id"]
        self.unanswered: int | None = None
        job = {
            "trial_id": self.job_id,
            "run": config["run"],
            "config": json.loads(scratch.read_run_file(config["run"], f"trials/{self.job_id}/config.json")),
            **self._comparisons(config),
            # Outside of the search a trial ends early where a person stops it: its slot is to be free then.
            "ending": config["ending"].get(config["cell"], {}) if config["role"] == "search" else UNSCORED,
            "slot": self.name,
            "slot_trial": self.trials_served,
        }
        self.trials_served += 1
        ray.get(self.board.begun.remote(self.job_id))
        ray.get(self.hub.give.remote(job))

    def _comparisons(self, config: dict[str, Any]) -> dict[str, Any]:
        """The steps at which the trial is compared, by validation and by training loss. Only the search does that."""
        rungs = config["rungs"].get(config["cell"], {}) if config["role"] == "search" else {}
        left = {step: by for step, by in rungs.items() if step > config["passed"]}
        return {
            "evaluate_at": [step for step, by in left.items() if by == "validation"],
            "loss_rungs": [step for step, by in rungs.items() if by == "training"],
            "passed": config["passed"],
            "pausing": config["pausing"].get(config["cell"], {}),
        }

    def _check_nodes(self) -> None:
        """Before each trial: ends the slot if its node will be taken down, and gives back what dead slots hold."""
        self._end_on_draining_node()
        remove_groups_of_dead_slots()

    def _end_on_draining_node(self) -> None:
        """Ends a slot whose node will be taken down; Tune makes another for its trial, on a node that stays."""
        if ray.get(self.board.is_draining.remote(self.node)):
            raise RuntimeError(f"slot {self.name} leaves its node, which will be taken down")

    def step(self) -> dict[str, Any]:
        """Answers the group's last report with the search's decision, then waits for the next report or the end."""
        if self.refusal is not None:
            raise RuntimeError(str(self.refusal)) from self.refusal
        # Tune's scheduler has seen the last report by now, and has told the board if the trial is to stop.
        if self.unanswered is not None:
            decision = ray.get(self.board.decision.remote(self.job_id))
            ray.get(self.hub.decide.remote(self.job_id, self.unanswered, decision))
            self.unanswered = None
        event = self._next_event()
        if event["kind"] == "done":
            record = event["record"]
            names = ("status", "objective", "quality", "peak_train_bytes", "setup_seconds", "steps")
            facts = {name: record[name] for name in names}
            return {**facts, "step": record["steps"] or 0, "done": True, "lost": event.get("lost")}
        self.unanswered = event["step"]
        return {"step": event["step"], "objective": event["objective"], "done": False}

    def _next_event(self) -> dict[str, Any]:
        while True:
            event = ray.get(self.hub.event.remote(QUIET_SECONDS))
            # The queue may still hold an event of this slot's previous trial.
            if event is not None and event["trial_id"] == self.job_id:
                if event["kind"] != "moved":
                    return event
                self._log(f"trial {self.job_id} has saved itself and leaves a node that will be taken down")
                # If only a worker's node goes, the slot stays, and Train starts another group.
                self._end_on_draining_node()
                continue
            if event is None and ray.get(self.board.is_draining.remote(self.node)):
                # Only the slot's node: the board itself tells workers whose own node is draining.
                ray.get(self.board.move.remote(self.job_id))
            if event is None and not self.group.is_alive():
                raise RuntimeError(f"slot {self.name}: its worker group ended: {self.failure}")
            if event is None and self.stall_seconds is not None:
                self._end_stalled()

    def _end_stalled(self) -> None:
        """Kills the group's processes when none has given a sign of life for too long; Train makes new ones."""
        quiet, workers = ray.get(self.hub.silence.remote())
        if quiet < self.stall_seconds:
            return
        self._log(f"trial {self.job_id} has given no sign of life for {quiet:.0f} s; its workers are killed")
        for node, process in workers:
            # A process id means something on its own node alone.
            on_node = NodeAffinitySchedulingStrategy(node, soft=False)
            task = _kill_process.options(scheduling_strategy=on_node).remote(process)
            # A node that is gone gives no answer.
            ray.wait([task], timeout=KILL_SECONDS)
        ray.get(self.hub.alive.remote())  # the next workers have as long again

    def _log(self, text: str) -> None:
        line = f"{provenance.now()[11:19]} {text}\n"
        if is_url(self.run):
            ray.get(self.board.add_log_line.remote(line))
            return
        with files.open_to_append(Path(self.run) / "sweep.log") as log:
            log.write(line)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next trial. An error, as on a node that will be taken down, is raised by the first step: Tune makes
        another slot for a trial that runs, and gives one up whose slot fails here.
        """
        self.refusal = None
        try:
            self._check_nodes()
            self._hand_over(new_config)
        except Exception as error:
            self.refusal = error
        return True

    def cleanup(self) -> None:
        ray.get(self.hub.close.remote())
        self.group.join(timeout=CLOSE_SECONDS)
        # In a run's own folder the driver removes this with the rest of Ray's state.
        if is_url(self.run):
            shutil.rmtree(
                scratch.local_run_folder(self.run) / ".ray" / f"slot-{self.name}", ignore_errors=True
            )

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: a trial's own checkpoints, in its folder, are what it resumes from."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load; see ``save_checkpoint``."""


class SlotRequest(tune.PlacementGroupFactory):
    """The resources of a slot's own actor; its group's are requested by Train.

    Requests of trials of different ``size`` differ, so that Tune doesn't reuse a slot for a trial that doesn't fit it.
    """

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
def _kill_process(process: int) -> None:
    """Kills a process of this node: a stalled one may not react to gentler signals."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
