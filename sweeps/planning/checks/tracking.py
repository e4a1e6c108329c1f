"""What is checked of the trackers that a spec asks for, before a run."""

from __future__ import annotations

from collections.abc import Iterator

from sweeps.planning.checks import wandb_variables
from sweeps.spec.problems import Problem
from sweeps.spec.settings import TrackingConfig


def notes(tracking: TrackingConfig) -> Iterator[str]:
    """What the user should know of the trackers."""
    if wandb_variables.is_on(tracking):
        yield from wandb_variables.left_out(tracking.project)


def problems(tracking: TrackingConfig) -> Iterator[Problem]:
    """What trackers would refuse; names and addresses in the spec are checked as it is read."""
    if wandb_variables.is_on(tracking):
        yield from wandb_variables.problems(tracking)
