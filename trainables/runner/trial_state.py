"""A trial under way: where it runs, and what is known of it so far."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.results import Record, Status
from trainables.system import provenance
from trainables.training.phases import Phases
from trainables.training.policy import device
from trainables.training.training_callback import Control
from trainables.training.worker_group import workers
from trainables.trial.config import TrialConfig


@dataclass(frozen=True)
class Place:
    """Where a trial runs: its run folder, its slot, since when the slot has had it (seconds since 1970)."""

    run: Path
    slot: str | None = None
    slot_trial: int | None = None
    given_at: float | None = None
    workers: int = 1

    def folder(self, config: TrialConfig) -> Path:
        return self.run / "trials" / config.trial_id()


@dataclass
class Trial:
    """A trial under way: what is known of it so far, which is what its record says if it ends here.

    ``asked`` is the config that it is known by; it runs with ``config``, which may take fewer rows at a time.
    """

    asked: TrialConfig
    config: TrialConfig
    place: Place
    control: Control
    facts: dict[str, Any] = field(default_factory=dict)
    phases: Phases = field(default_factory=Phases)
    together: bool = field(
        default_factory=lambda: workers() > 1
    )  # whether workers may wait for one another now

    @property
    def folder(self) -> Path:
        return self.place.folder(self.asked)

    def record(self, status: Status, error: str | None = None) -> Record:
        return Record(
            **self.asked.identity(),
            status=status,
            error=error,
            slot=self.place.slot,
            slot_trial=self.place.slot_trial,
            workers=self.place.workers,
            host=socket.gethostname(),
            device=device(),
            ended_at=provenance.now(),
            commit=provenance.commit(),
            packages=provenance.packages(),
            **self.facts,
        )
