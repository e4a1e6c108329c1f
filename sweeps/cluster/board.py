"""What the whole sweep must know, in one actor that all of its processes can ask. No Ray here, and no waiting."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sweeps.cluster.write_speeds import WriteSpeeds
from trainables.training.activity import Activity

SILENT_SECONDS = 60.0  # after which a worker that gives no sign of life is dead, and its trial not waited for
SPARE_SECONDS = 2.0  # of a notice, for the rest of the sweep's end


@dataclass(frozen=True)
class Waiting:
    """What a sweep that ends waits for, by trial: trials that save themselves, and (``abandoned``) those that have no
    time to. ``failures``: why trials can't write at the moment.
    """

    saving: dict[str, Activity]
    abandoned: dict[str, Activity]
    failures: dict[str, str]


class Board:
    """Which trials to stop, which nodes are draining, whether the sweep is ending, and what trials are doing."""

    def __init__(self) -> None:
        # By trial, the reason in words; None: it is behind the others of its cell.
        self._stopped: dict[str, str | None] = {}
        self._stopped_by_hand: frozenset[str] = frozenset()
        self._paused: set[str] = set()  # until they are handed out again
        self._interrupted = False
        self._draining: dict[
            str, float | None
        ] = {}  # nodes that will be taken down, with their ends if known
        self._nodes: dict[str, set[str]] = {}  # of each trial, those of its workers
        self._moving: set[str] = set()
        self._activities: dict[str, Activity] = {}  # of trials in training that have no record yet
        self._heard: dict[str, float] = {}  # when their workers last gave a sign of life, monotonic
        # Trials that have no time to save themselves: before the sweep's end, and before that of their node.
        self._abandoned: frozenset[str] = frozenset()
        self._left_behind: set[str] = set()
        self._expected_speed: float | None = None  # of the run's disk, bytes per second
        # Checkpoints of this sweep: bytes, and bytes per second.
        self._written: set[tuple[int, float]] = set()
        self._failures: dict[str, str] = {}
        self._log_lines: list[str] = []

    def add_log_line(self, line: str) -> None:
        """Takes a line for the log of a run whose folder the slots don't have."""
        self._log_lines.append(line)

    def take_log_lines(self) -> list[str]:
        """The lines added since the last call."""
        lines, self._log_lines = self._log_lines, []
        return lines

    def stop(self, trial_id: str, reason: str | None = None) -> None:
        """Has a trial end early, as the search has decided: for the ``reason``, or as it is behind others."""
        self._stopped[trial_id] = reason

    def pause(self, trial_id: str) -> None:
        """Has a trial end for now, until the others of its cell have come as far."""
        self._paused.add(trial_id)

    def decision(self, trial_id: str) -> str:
        """What a trial does that has reported: ``stop``, ``pause`` or ``continue``."""
        if trial_id in self._stopped:
            return "stop"
        return "pause" if trial_id in self._paused else "continue"

    def begun(self, trial_id: str) -> None:
        """Notes that a trial was handed to a slot, perhaps again after a pause."""
        self._paused.discard(trial_id)

    def stop_reason(self, trial_id: str) -> str | None:
        return self._stopped.get(trial_id)

    def interrupt(self, seconds: float | None = None, bytes_per_second: float | None = None) -> None:
        """Has every trial save itself and end: the sweep was interrupted.

        With ``seconds``, after which all processes are ended, only trials whose checkpoints fit into that time save
        themselves, by the speed of those that this sweep has written, else at ``bytes_per_second``. Without, all do.
        """
        if seconds is not None:
            speeds = WriteSpeeds(frozenset(self._written), bytes_per_second)
            fitting = trials_that_fit(self._living(), seconds, speeds.seconds)
            self._abandoned = frozenset(self._activities) - fitting
        self._interrupted = True

    def interrupted(self) -> bool:
        return self._interrupted

    def set_draining(
        self, nodes: Mapping[str, float | None], bytes_per_second: float | None = None
    ) -> dict[str, Activity]:
        """Sets which nodes will be taken down, each with the moment of its end (``time.time``), if that is known.

        Trials that run there save themselves and continue elsewhere, except for those whose checkpoints don't fit into
        the time that is left, by the speeds that :meth:`interrupt` goes by: they train until their node ends, or save
        themselves once it has more time or stays. Returns what those that are newly left behind are doing, by trial.
        """
        self._draining, self._expected_speed = dict(nodes), bytes_per_second
        before, self._left_behind = self._left_behind, self._without_time()
        return {trial: self._activities[trial] for trial in self._left_behind - before}

    def _without_time(self) -> set[str]:
        """The trials on draining nodes whose checkpoints don't fit into the time that is left."""
        there, seconds = dict[str, Activity](), dict[str, float]()
        for trial, activity in self._living().items():
            if nodes := self._nodes.get(trial, set()) & self._draining.keys():
                ends = [end for node in nodes if (end := self._draining[node]) is not None]
                there[trial], seconds[trial] = activity, min(ends, default=math.inf) - time.time()
        speeds = WriteSpeeds(frozenset(self._written), self._expected_speed)
        return there.keys() - trials_that_fit(there, seconds, speeds.seconds)

    def is_draining(self, node: str) -> bool:
        return node in self._draining

    def move(self, trial_id: str) -> None:
        """Has a trial save itself and continue elsewhere: its slot's node will be taken down."""
        self._moving.add(trial_id)

    def moved(self, trial_id: str) -> None:
        """Notes that a trial has saved itself to continue elsewhere."""
        self.forget(trial_id)

    def to_save(self, trial_id: str, node: str) -> bool:
        """Whether a trial that runs on ``node`` should save itself and leave."""
        self._nodes.setdefault(trial_id, set()).add(node)
        leaving = self._interrupted or node in self._draining or trial_id in self._moving
        return leaving and self.may_save(trial_id)

    def stop_by_hand(self, trials: list[str]) -> None:
        """Has these trials, and no others, end at their next step, as a person has asked."""
        self._stopped_by_hand = frozenset(trials)

    def requests(self, trial_id: str, node: str) -> tuple[bool, bool]:
        """What a trial is asked for at every step: whether to save itself and leave, and whether to end for good."""
        return self.to_save(trial_id, node), trial_id in self._stopped_by_hand

    def may_save(self, trial_id: str) -> bool:
        """Whether a trial may begin a checkpoint: not if it was abandoned, as the time left is too short."""
        return trial_id not in self._abandoned and trial_id not in self._left_behind

    def follow(self, trial_id: str, activity: Activity) -> None:
        """Takes what a trial is doing."""
        self._activities[trial_id] = activity
        if activity.bytes_per_second:
            self._written.add((activity.checkpoint_bytes, activity.bytes_per_second))
        self.alive(trial_id)

    def alive(self, trial_id: str) -> None:
        """Notes that a trial's worker lives."""
        self._heard[trial_id] = time.monotonic()

    def doing(self, trials: list[str]) -> dict[str, Activity | None]:
        """What each of these trials is doing whose worker has given a sign of life; ``None`` for one that has not begun
        to train, and for an untrained model that is scored.
        """
        return {trial: self._activities.get(trial) for trial in trials if trial in self._heard}

    def storage_fails(self, trial_id: str, reason: str) -> None:
        """Notes that a trial can't write; it starts again from its last checkpoint once it can."""
        self.forget(trial_id)
        self._failures[trial_id] = reason

    def forget(self, trial_id: str) -> None:
        """Notes that a trial's worker begins with it, or begins again: it has nothing that isn't saved."""
        self._activities.pop(trial_id, None)
        self._failures.pop(trial_id, None)
        self._nodes.pop(trial_id, None)
        self._moving.discard(trial_id)
        if self._left_behind:  # it leaves the disk to others
            self._left_behind &= self._without_time()

    def ended(self, trial_id: str) -> None:
        """Notes that a trial's record is written, whatever its status."""
        self.forget(trial_id)

    def waiting(self) -> Waiting:
        """What the sweep has to wait for before it may end."""
        unsaved = {trial: activity for trial, activity in self._living().items() if activity.unsaved}
        return Waiting(
            saving={trial: unsaved[trial] for trial in unsaved if self.may_save(trial)},
            abandoned={trial: unsaved[trial] for trial in unsaved if not self.may_save(trial)},
            failures=dict(self._failures),
        )

    def _living(self) -> dict[str, Activity]:
        now = time.monotonic()
        return {
            trial: activity
            for trial, activity in list(self._activities.items())
            if now - self._heard.get(trial, now) < SILENT_SECONDS
        }


def trials_that_fit(
    activities: Mapping[str, Activity],
    seconds: float | Mapping[str, float],
    writing_seconds: Callable[[int], float],
) -> frozenset[str]:
    """The trials that can save themselves within ``seconds``, or those of each trial, on one disk, those with most to
    lose first.

    A trial has to end its step and to write its checkpoint, while the others write theirs: until it is done, each of
    them gets as much of the disk as it does, or less. ``writing_seconds``: of a number of bytes, with the disk alone.

    >>> full = Activity("training", step=9, saved_step=0, unsaved_seconds=90, checkpoint_bytes=1_600)
    >>> lora = Activity("training", step=9, saved_step=0, unsaved_seconds=80, checkpoint_bytes=100)
    >>> sorted(trials_that_fit({"full": full, "lora": lora}, 10, lambda size: size / 100))
    ['lora']
    """
    alone, spare = dict[str, float](), dict[str, float]()  # of the trials that fit
    # What is being written already goes on being written.
    for trial, activity in sorted(
        activities.items(), key=lambda item: (item[1].phase != "saving", -item[1].unsaved_seconds)
    ):
        writing = writing_seconds(activity.bytes_to_write)
        ending_step = activity.step_seconds if activity.phase == "training" else 0.0
        left = seconds[trial] if isinstance(seconds, Mapping) else seconds
        own = (
            left - SPARE_SECONDS - ending_step - writing - sum(min(writing, each) for each in alone.values())
        )
        others = {other: spare[other] - min(writing, alone[other]) for other in alone}
        if min(own, *others.values(), math.inf) >= 0:
            alone[trial] = writing
            spare = {**others, trial: own}
    return frozenset(alone)
