"""SwanLab: one run per trial, written offline once the trial has ended, and one summary run with the answer.

``swanlab sync`` sends them. A run's id consists of the sweep's id and the trial's: what is sent twice is one run there.
SwanLab has one active run in a process, so a trial's steps are kept until it has ended.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from sweeps.spec.settings import TrackingConfig
from sweeps.tracking import flat_values
from sweeps.tracking.base import FollowedRun, FollowedTrial, TrackedRun, TrackedTrial, Tracker
from sweeps.tracking.run_summary import RunSummary
from trainables.results import Record


class SwanLab(Tracker):
    """Writes into the run folder's ``swanlab``; contacts nobody."""

    name: ClassVar[str] = "swanlab"
    label: ClassVar[str] = "SwanLab"

    project: str

    @classmethod
    def requested(cls, tracking: TrackingConfig) -> Self | None:
        return cls(project=tracking.project) if tracking.swanlab == "offline" else None

    def announcement(self, folder: Path) -> str:
        return f"offline: {self.how_to_send(folder)}"

    def how_to_send(self, folder: Path) -> str:
        # The pattern stays outside of the quotes, for the shell to expand.
        return f"swanlab sync {shlex.quote(str(folder))}/run-*"

    def open(self, run: FollowedRun) -> TrackedRun:
        return SwanlabRuns(run, self.project)


class SwanlabRuns(TrackedRun):
    """A sweep's SwanLab runs."""

    def __init__(self, run: FollowedRun, project: str) -> None:
        import swanlab

        self.run, self.project, self.swanlab = run, project, swanlab

    def begin(self, trial: FollowedTrial) -> SwanlabTrial:
        return SwanlabTrial(self, trial)

    def summarize(self) -> None:
        """Writes the summary run: the answer, and the image of the Pareto front."""
        summary = RunSummary.read(self.run.folder)
        shown: dict[str, Any] = {}
        if summary.answer is not None:
            shown["answer"] = self.swanlab.Text(summary.answer)
        if summary.write_pareto_front(image := self.run.folder / SwanLab.name / "pareto.png"):
            shown["pareto"] = self.swanlab.Image(str(image))
        if shown:
            self.write("summary", f"{self.run.name}-summary", "summary", {}, {0: shown})

    def write(
        self,
        id_: str,
        name: str,
        job_type: str,
        config: dict[str, Any],
        steps: Mapping[int, Mapping[str, Any]],
        state: str = "success",
    ) -> None:
        """Writes a run with the values of its steps."""
        run = self.swanlab.init(
            mode="offline",
            log_dir=str(self.run.folder / SwanLab.name),
            project=self.project,
            id=f"{self.run.id}-{id_}",
            resume="allow",
            name=name,
            group=self.run.name,
            job_type=job_type,
            config=config,
        )
        for step, values in steps.items():
            run.log(dict(values), step=step)
        run.finish(state)


class SwanlabTrial(TrackedTrial):
    """The steps of a trial, until it has ended. An interrupted one has no run before it is resumed and ends."""

    def __init__(self, runs: SwanlabRuns, trial: FollowedTrial) -> None:
        self.runs, self.trial = runs, trial
        self.steps: dict[int, dict[str, float]] = {}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.steps[step] = dict(values)

    def finish(self, record: Record | None) -> None:
        if record is None:
            return
        found = flat_values.results(record, {name for values in self.steps.values() for name in values})
        self.steps[self.last_step] = {**self.steps.get(self.last_step, {}), **found}
        config = {**flat_values.settings(self.trial), **flat_values.facts(record)}
        state = "crashed" if record.status in ("failed", "out_of_memory") else "success"
        name = f"{self.trial.cell}-{self.trial.name}"
        self.runs.write(self.trial.name, name, self.trial.cell, config, self.steps, state)
