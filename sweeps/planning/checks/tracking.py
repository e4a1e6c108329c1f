"""What is checked of the trackers that a spec asks for, before a run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec

from sweeps.planning.checks import wandb_variables
from sweeps.spec.problems import Problem, format_value
from sweeps.spec.settings import TrackingConfig
from sweeps.spec.spec import Spec

# What trackers import beside Paretune's own dependencies, by the keys of their settings, which are the extras' names.
PACKAGES = {"mlflow": "mlflow", "swanlab": "swanlab", "trackio": "trackio"}
_OF_SWANLAB = re.compile(r"[0-9a-zA-Z_.+-]{1,100}")  # swanlab/sdk/internal/pkg/constraints
NOT_ASKED_FOR = (None, "off")


def notes(tracking: TrackingConfig) -> Iterator[str]:
    """What the user should know of the trackers."""
    if wandb_variables.is_on(tracking):
        yield from wandb_variables.left_out(wandb_variables.project(tracking))


def problems(spec: Spec) -> Iterator[Problem]:
    """What trackers would refuse, and packages that are missing; names and addresses are checked as a spec is read."""
    if wandb_variables.is_on(spec.tracking):
        yield from wandb_variables.problems(spec.tracking)
    for key, package in PACKAGES.items():
        if getattr(spec.tracking, key) not in NOT_ASKED_FOR and find_spec(package) is None:
            what = f"{package} is not installed: pip install 'paretune[{key}]'"
            yield spec.source.problem(("tracking", key), what)
    if spec.tracking.swanlab != "off" and not _OF_SWANLAB.fullmatch(spec.tracking.project):
        what = "SwanLab takes 1 to 100 letters, digits, - _ + and . in the name of a project, got "
        proposed = (
            re.sub(r"[^\w.+-]+", "-", spec.tracking.project, flags=re.ASCII).strip("-")[:100] or "paretune"
        )
        what += f"{format_value(spec.tracking.project)}. Did you mean {proposed}?"
        yield spec.source.problem(("tracking", "project"), what)
