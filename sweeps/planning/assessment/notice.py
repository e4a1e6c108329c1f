"""Whether trials can save themselves in the time that a scheduler or a cloud gives before it ends all processes.

A checkpoint has the weights that train (all of a model's, where no adapter is saved) and the optimizer's state. Its
size is predicted as memory is, and how fast it is written is estimated from the measured speed of the run's disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.cluster.board import SPARE_SECONDS
from sweeps.planning.checkpoint_size import checkpoint_bytes
from sweeps.spec.problems import Problem, SpecError
from trainables.system.byte_sizes import gib

if TYPE_CHECKING:
    from sweeps.planning.cell import Cell
    from sweeps.planning.plan import Plan
    from sweeps.spec.settings import ResourcesConfig

SETTING = "resources.notice_seconds"
VARIABLE = "PARETUNE_NOTICE_SECONDS"
# What schedulers wait by default between SIGTERM and SIGKILL, by a variable that is set in their jobs.
DEFAULTS = {
    "SLURM_JOB_ID": (30.0, "Slurm's default of KillWait"),
    "KUBERNETES_SERVICE_HOST": (30.0, "Kubernetes' default of terminationGracePeriodSeconds"),
}
AUTOSAVE_MINUTES = 5
CHECKPOINTS = 10  # that the advice has a trial save


@dataclass(frozen=True)
class Notice:
    """The seconds from SIGTERM to the end of all processes; ``source`` says where the number comes from."""

    seconds: float
    source: str

    def __str__(self) -> str:
        return f"{self.seconds:g} s of notice ({self.source})"


def notice_of(resources: ResourcesConfig, environment: Mapping[str, str] = os.environ) -> Notice | None:
    """The notice by the spec, the environment, or the scheduler's default; ``None`` where no end is foreseen.

    >>> str(notice_of(ResourcesConfig(), {"SLURM_JOB_ID": "7"}))
    "30 s of notice (Slurm's default of KillWait)"

    Raises ``SpecError`` for a variable that is no number.
    """
    if resources.notice_seconds is not None:
        return Notice(resources.notice_seconds, SETTING)
    if value := environment.get(VARIABLE):
        try:
            return Notice(float(value), VARIABLE)
        except ValueError:
            raise SpecError(Problem(VARIABLE, "", f"a number of seconds is wanted, got {value!r}")) from None
    return next((Notice(*default) for name, default in DEFAULTS.items() if name in environment), None)


def problems(
    plan: Plan, notice: Notice | None, bytes_per_second: float | None, at_once: int
) -> Iterator[Problem]:
    """A warning for each cell whose checkpoints take longer to write than the notice, where both are known.

    ``at_once``: how many trials run, and save themselves, at the same time.
    """
    if notice is None or bytes_per_second is None:
        return
    for cell in plan.cells:
        size = checkpoint_bytes(cell)
        if size is None or _seconds(size, bytes_per_second, at_once) <= notice.seconds - SPARE_SECONDS:
            continue
        one, path = _seconds(size, bytes_per_second), ("train", "save_steps")
        several = (
            f", {_seconds(size, bytes_per_second, at_once):.0f} s for {at_once} trials" if at_once > 1 else ""
        )
        fits = f" for all of the {at_once}" if one <= notice.seconds - SPARE_SECONDS else ""
        what = (
            f"{cell.name}: a checkpoint is predicted to have {gib(size)} and takes {one:.1f} s to write{several}, at "
            f"{gib(round(bytes_per_second))}/s as estimated from the disk's speed; {notice} are too short{fits}. "
            f"{_loss(cell, size)}"
        )
        yield plan.spec.source.problem(path, what, error=False)


def upload_problems(plan: Plan, notice: Notice, output: str) -> Iterator[Problem]:
    """A warning for a run at a URL with trials that save nothing before their end: how fast it takes checkpoints is
    unknown.
    """
    if any((cell.first().train.save_steps or cell.steps) >= cell.steps for cell in plan.cells):
        what = (
            f"{notice}: how fast checkpoints reach {output} is not known beforehand, so a trial that is ended may lose "
            f"what it has trained since its last one there, up to {AUTOSAVE_MINUTES} minutes; train.save_steps bounds "
            "that in steps"
        )
        yield plan.spec.source.problem(("train", "save_steps"), what, error=False)


def _seconds(size: int, bytes_per_second: float, trials: int = 1) -> float:
    return size * trials / bytes_per_second


def _loss(cell: Cell, size: int) -> str:
    """What a trial loses that has no time to save itself, and which ``save_steps`` bounds that."""
    save_steps = cell.first().train.save_steps
    if save_steps is not None and save_steps < cell.steps:
        return f"A trial that is ended trains at most {save_steps} of its {cell.steps} steps again (train.save_steps)"
    every = max(1, cell.steps // CHECKPOINTS)
    count = cell.steps // every
    return (
        f"A trial that is ended trains again what it has since its last checkpoint, up to {AUTOSAVE_MINUTES} minutes "
        f"of training; with save_steps: {every}, at most {every} of its {cell.steps} steps ({count} checkpoints of a "
        f"trial are {gib(count * size)})"
    )
