"""What the process of W&B sends: the runs of trials, and the summary run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import wandb

from sweeps.tracking.base import FollowedRun, FollowedTrial, TrackedRun, TrackedTrial
from sweeps.tracking.run_summary import RunSummary, typed_columns
from trainables.results import Record

MAX_NAME_LENGTH = 128  # W&B's limit, which is a little above that of a cell's name


class WandbTrial(TrackedTrial):
    """The W&B run of a trial."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def finish(self, record: Record | None) -> None:
        if record is None:
            self.run.finish()
            return
        values = record.model_dump(mode="json", exclude={"config", "packages", "metrics"})
        test = {f"test/{name}": value for name, value in record.metrics.items()}
        self.run.summary.update({k: v for k, v in {**values, **test}.items() if v is not None})
        self.run.finish(exit_code=1 if record.status == "failed" else 0)


class WandbRuns(TrackedRun):
    """A sweep's W&B runs in a project."""

    def __init__(self, run: FollowedRun, project: str) -> None:
        self.run, self.project = run, project

    def begin(self, trial: FollowedTrial) -> WandbTrial:
        name = f"{trial.cell[: MAX_NAME_LENGTH - len(trial.name) - 1]}-{trial.name}"
        return WandbTrial(self._run(trial.id, name, trial.cell, config=trial.config))

    def summarize(self) -> None:
        """Writes the summary run: comparison table, image of the Pareto front, and the records as an artifact."""
        results = RunSummary.read(self.run.folder)
        with self._run(f"{self.run.id}-summary", f"{self.run.name}-summary", "summary") as summary:
            columns = typed_columns(results.comparison())
            data = list(zip(*columns.values(), strict=True))
            summary.log({"comparison": wandb.Table(columns=list(columns), data=data)})
            if results.write_pareto_front(image := self.run.folder / "wandb" / "pareto.png"):
                summary.log({"pareto": wandb.Image(str(image))})
            artifact = wandb.Artifact(f"{self.run.name}-records", type="records")
            for table in results.tables:
                artifact.add_file(str(table))
            summary.log_artifact(artifact)

    def _run(self, id_: str, name: str, job_type: str, **options: Any) -> Any:
        return wandb.init(
            project=self.project,
            id=id_,
            name=name,
            group=self.run.name,
            job_type=job_type,
            resume="allow",
            # Several trials train at the same time, so several W&B runs are open in this process.
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=True, init_timeout=60),
            **options,
        )
