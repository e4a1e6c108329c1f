"""What the process of W&B sends: the runs of trials, the summary run, artifacts, the report and the project's view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import wandb

from sweeps.spec.wandb_names import MAX_LENGTH
from sweeps.tracking.base import FollowedRun, FollowedTrial, TrackedRun, TrackedTrial
from sweeps.tracking.run_report import RunReport
from sweeps.tracking.run_summary import RunSummary
from sweeps.tracking.wandb_content import artifacts, tables, trial_values
from sweeps.tracking.wandb_content.pages import Pages
from sweeps.tracking.wandb_content.panels import COMPARISON, FAILURES, FRONT, SAMPLES
from sweeps.tracking.wandb_content.sweep_report import SUMMARY_OF, Place
from trainables import results
from trainables.results import Record

STEP = "step"  # the axis of curves; equals W&B's own step


class WandbTrial(TrackedTrial):
    """The W&B run of a trial."""

    def __init__(self, trial: FollowedTrial, run: Any, models: artifacts.Models) -> None:
        self.trial, self.run, self.models = trial, run, models
        # W&B drops steps that it has.
        self.last_step = max(0, run.starting_step - 1)
        self._defined: set[str] = set()
        # W&B forgets how the curves of a run are summarized when it is begun again.
        self._define(point["name"] for point in results.read_curve(trial.folder))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._define(values)
        self.run.log({**values, STEP: step}, step=step)

    def _define(self, curves: Iterable[str]) -> None:
        for name in dict.fromkeys(curves):
            if name not in self._defined:
                self.run.define_metric(name, step_metric=STEP, summary=trial_values.summary_rule(name))
                self._defined.add(name)

    def finish(self, record: Record | None) -> None:
        if record is None:
            self.run.finish()
            return
        self.summarize(record)
        if rows := list(tables.answers(self.trial.folder)):
            self.run.log({SAMPLES: tables.table(rows)})
        if self.models.wants(record):
            self.models.log(self.run, self.trial, record)
        self.run.finish(exit_code=1 if record.status == "failed" else 0)
        if self.models.wants(record) and artifacts.has_model(self.trial):
            self.models.mark(self.trial)

    def summarize(self, record: Record) -> None:
        """Sends the record. W&B's own summary of the curves is that of the points since the run was begun again."""
        self.run.config.update(trial_values.names_of(record), allow_val_change=True)
        curves = trial_values.curve_summary(results.read_curve(self.trial.folder))
        if trial_values.OBJECTIVE not in curves and record.status == "done" and record.objective is not None:
            # What a curve would have: the base model has none.
            curves[trial_values.OBJECTIVE] = dict.fromkeys(("max", "last"), record.objective)
        self.run.summary.update({**trial_values.summary(self.trial, record), **curves})


class WandbRuns(TrackedRun):
    """A sweep's W&B runs in a project. ``online``: whether W&B gets them at once, and with them a report."""

    def __init__(self, run: FollowedRun, project: str, online: bool, models: artifacts.Models) -> None:
        self.run, self.project, self.models = run, project, models
        self.pages = Pages(run) if online else None

    def begin(self, trial: FollowedTrial) -> WandbTrial:
        # The limit is a little above that of a cell's name.
        name = f"{trial.cell[: MAX_LENGTH - len(trial.name) - 1]}-{trial.name}"
        config = trial_values.config(trial)
        tags = trial_values.tags(config)
        tracked = WandbTrial(
            trial, self._run(trial.id, name, trial.cell, config=config, tags=tags), self.models
        )
        if self.pages is not None:
            self.pages.announce(Place(tracked.run.entity, tracked.run.project))
        return tracked

    def summarize(self) -> None:
        """Writes the summary run: tables, the image of the Pareto front, artifacts; and the report."""
        run_summary, report = RunSummary.read(self.run.folder), RunReport.read(self.run.folder)
        config = {SUMMARY_OF: trial_values.sweep_key(self.run), "run": self.run.name}
        with self._run(self._summary_id, f"{self.run.name}-summary", "summary", config=config) as summary:
            content = {
                COMPARISON: run_summary.comparison(),
                SAMPLES: list(report.sample_answers()),
                FAILURES: tables.failures(report.run),
            }
            summary.log(
                {name: tables.table(rows) for name, rows in content.items() if rows or name == COMPARISON}
            )
            if run_summary.write_pareto_front(image := self.run.folder / "wandb" / "pareto.png"):
                summary.log({FRONT: wandb.Image(str(image))})
            artifacts.log_results(summary, self.run, run_summary)
            place = Place(summary.entity, summary.project)
        if self.pages is not None:
            self.pages.complete(place, report)
        self._log_models(report)  # last: a model that can't be sent costs nothing else

    def _log_models(self, report: RunReport) -> None:
        for record in self.models.at_end(report.run.records):
            trial = FollowedTrial.read(self.run, self.run.folder / "trials" / record.trial_id)
            if not artifacts.has_model(trial) or self.models.is_sent(trial):
                continue
            tracked = self.begin(trial)
            tracked.summarize(record)
            self.models.log(tracked.run, trial, record)
            tracked.run.finish()
            self.models.mark(trial)

    @property
    def _summary_id(self) -> str:
        return f"{self.run.id}-summary"

    def _run(self, id_: str, name: str, job_type: str, **options: Any) -> Any:
        return wandb.init(
            project=self.project,
            id=id_,
            name=name,
            group=self.run.name,
            job_type=job_type,
            notes=trial_values.notes(self.run),
            resume="allow",
            # Several trials train at the same time, so several W&B runs are open in this process.
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=True, init_timeout=60),
            **options,
        )
