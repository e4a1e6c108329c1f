"""The state of a running trial: where it runs, and the fields of its record that are known so far."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.config.ending import EndingRules
from trainables.memory.in_trial import InTrial, TrialMeter
from trainables.results import Record, Status
from trainables.system import provenance
from trainables.training.phases import Phases
from trainables.training.policy import default_device
from trainables.training.training_callback import Control
from trainables.training.worker_group import worker_count
from trainables.trial.config import TrialConfig
from trainables.trial.resident_base import ResidentBase


@dataclass(frozen=True)
class TrialContext:
    """Where a trial runs: its run folder, the slot, and the number of workers.

    ``handed_over_at`` is when the slot was given the trial, in seconds since 1970. ``bases`` lends the base model, and
    keeps it for later trials of the process that are given the same ``bases``.
    """

    run: Path
    slot: str | None = None
    slot_trial: int | None = None
    handed_over_at: float | None = None
    workers: int = 1
    bases: ResidentBase = field(default_factory=lambda: ResidentBase(keeps=False))

    def folder(self, config: TrialConfig) -> Path:
        return self.run / "trials" / config.trial_id()


@dataclass
class Trial:
    """A running trial; ``facts`` are the fields of its record that are known so far.

    ``requested`` is the config that gives the trial its id; ``config`` is what runs: its paths are on this machine, and
    it may have fewer rows at a time. ``in_trial``: how its memory is read while it runs, where that is done.
    ``ending``: how it may end early.
    """

    requested: TrialConfig
    config: TrialConfig
    context: TrialContext
    control: Control
    facts: dict[str, Any] = field(default_factory=dict)
    phases: Phases = field(default_factory=Phases)
    # Whether workers may be waiting for one another, so that one that fails alone has to take the others with it.
    in_lockstep: bool = field(default_factory=lambda: worker_count() > 1)
    in_trial: InTrial | None = None
    ending: EndingRules = field(default_factory=EndingRules)
    paused: bool = False  # rather than interrupted: it goes on later, or was one of the worse of its cell
    meter: TrialMeter = field(init=False)

    def __post_init__(self) -> None:
        self.meter = TrialMeter(self.config, self.in_trial)

    @property
    def folder(self) -> Path:
        return self.context.folder(self.requested)

    def is_scored(self, status: Status) -> bool:
        """Whether a trial that has trained, and ended so, is scored on the test rows and its memory measured."""
        return status == "done" or (status == "stopped" and self.ending.score_stopped)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """A block in which the trial's model is scored: errors in it and its memory count as the evaluation's."""
        with self.phases.during("eval"), self.meter.phase("eval"):
            yield

    def record(self, status: Status, error: str | None = None) -> Record:
        """The record of the trial as if it ended now, with the facts so far."""
        return Record(
            **self.requested.identity(),
            status=status,
            error=error,
            slot=self.context.slot,
            slot_trial=self.context.slot_trial,
            workers=self.context.workers,
            host=socket.gethostname(),
            device=default_device(),
            ended_at=provenance.now(),
            commit=provenance.commit(),
            packages=provenance.package_versions(),
            **self.facts,
        )
