"""The process that records a run folder in W&B; ``tracking.Tracker`` starts it.

    python -m sweeps.tracking.wandb_process RUN PROJECT

The line ``summary`` on standard input writes the summary run; the end of standard input ends the process.

The id of a trial's W&B run consists of the sweep's id and the trial's, so that the same trial of another sweep is
another run, and that of a resumed or longer sweep the same. ``group`` is the sweep's name, ``job_type`` the cell, and a
step is a training step.
"""

from __future__ import annotations

import json
import os
import select
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wandb

from sweeps.tracking import sweep_id
from trainables import results
from trainables.results import Record
from trainables.storage import files
from trainables.storage.damaged_files import read_object, reading

POLL_SECONDS = 1.0
MAX_NAME_LENGTH = 128  # W&B's limit, which is a little above that of a cell's name


@dataclass
class TrialRun:
    """The W&B run of a trial, and the last training step that was sent to it."""

    run: Any
    sent_step: int = 0


class RunFollower:
    """Sends what is new in a run folder each time it is updated."""

    def __init__(self, folder: Path, project: str) -> None:
        self.folder, self.project = folder, project
        self.trial_runs: dict[str, TrialRun] = {}
        self.sent = folder / "wandb" / "sent"  # has an empty file for each trial that is sent completely
        self.sent.mkdir(parents=True, exist_ok=True)
        environment = read_object(folder / "environment.json")
        self.group = environment.get("name") or folder.name
        self.sweep = sweep_id.read(folder, environment)

    def update(self, last: bool = False) -> None:
        """Sends new points and ends the W&B runs of trials that have a record; with ``last``, of all trials."""
        for trial in results.trial_folders(self.folder):
            if (self.sent / trial.name).exists():
                continue
            record = results.read_record(trial)
            trial_run = self.trial_runs.get(trial.name) or self._begin(trial)
            self._send(trial, trial_run, whole=last or record is not None)
            if record is not None and record.status != "interrupted":
                self._finish(trial, trial_run, record)
        if last:
            for trial_run in self.trial_runs.values():
                trial_run.run.finish()

    def _begin(self, trial: Path) -> TrialRun:
        config = read_object(trial / "config.json")
        with reading(trial / "config.json"):
            cell = str(config["cell"])
        trial_run = TrialRun(
            wandb.init(
                project=self.project,
                id=f"{self.sweep}-{trial.name}",
                name=f"{cell[: MAX_NAME_LENGTH - len(trial.name) - 1]}-{trial.name}",
                group=self.group,
                job_type=cell,
                config=config,
                resume="allow",
                # Several trials train at the same time, so several W&B runs are open in this process.
                reinit="create_new",
                settings=wandb.Settings(console="off", silent=True, init_timeout=60),
            )
        )
        self.trial_runs[trial.name] = trial_run
        return trial_run

    def _send(self, trial: Path, trial_run: TrialRun, whole: bool) -> None:
        """Sends complete steps in order. The newest step may still get points, so without ``whole`` it waits."""
        steps: dict[int, dict[str, float]] = {}
        for point in results.read_curve(trial):
            steps.setdefault(point["step"], {})[point["name"]] = point["value"]
        ready = sorted(steps) if whole else sorted(steps)[:-1]
        for step in ready:
            # W&B takes steps in increasing order alone.
            if step > trial_run.sent_step:
                trial_run.run.log(steps[step], step=step)
                trial_run.sent_step = step

    def _finish(self, trial: Path, trial_run: TrialRun, record: Record) -> None:
        values = record.model_dump(mode="json", exclude={"config", "packages", "metrics"})
        test = {f"test/{name}": value for name, value in record.metrics.items()}
        trial_run.run.summary.update({k: v for k, v in {**values, **test}.items() if v is not None})
        trial_run.run.finish(exit_code=1 if record.status == "failed" else 0)
        # Marked last: after a crash before, the trial is sent again, to the W&B run of the same id.
        (self.sent / trial.name).touch()
        del self.trial_runs[trial.name]

    def summarize(self) -> None:
        """Writes the summary run: comparison table, image of the Pareto front, and the records as an artifact."""
        from reports.analysis.cell_table import table
        from reports.analysis.spreadsheet_cells import plain
        from reports.plots.figures import pareto_png

        run = results.read_run(self.folder)
        rows = table(run)
        with wandb.init(
            project=self.project,
            id=f"{self.sweep}-summary",
            name=f"{self.group}-summary",
            group=self.group,
            job_type="summary",
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=True, init_timeout=60),
        ) as summary:
            columns: list[str | int] = [*rows[0]] if rows else []
            values = [_column([plain(row[str(column)]) for row in rows]) for column in columns]
            summary.log({"comparison": wandb.Table(columns=columns, data=list(zip(*values, strict=True)))})
            if any(None not in (record.quality, record.peak_bytes) for record in run.records):
                summary.log({"pareto": wandb.Image(str(_image(self.folder, pareto_png(run))))})
            artifact = wandb.Artifact(f"{self.group}-records", type="records")
            for name in ("trials.parquet", "curves.parquet"):
                artifact.add_file(str(self.folder / name))
            summary.log_artifact(artifact)


def _image(folder: Path, png: bytes) -> Path:
    path = folder / "wandb" / "pareto.png"
    with files.atomic(path) as temporary:
        temporary.write_bytes(png)
    return path


def _column(values: list[Any]) -> list[Any]:
    """The values of a column of a table, which W&B takes of one type alone: mixed ones and structures as texts."""
    kinds = {_kind(value) for value in values if value is not None}
    if len(kinds) < 2 and kinds <= {str, bool, float}:
        return values
    return [value if isinstance(value, str | None) else json.dumps(value, default=str) for value in values]


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)


def main() -> None:
    """Records the run folder until standard input ends."""
    os.environ.setdefault("WANDB_START_METHOD", "thread")
    follower = RunFollower(Path(sys.argv[1]), sys.argv[2])
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], POLL_SECONDS)
        line = sys.stdin.readline() if ready else None
        # Any line means that the sweep is over: `summary`, or the empty one at the end of the input.
        follower.update(last=line is not None)
        if line is None:
            continue
        if line.strip() == "summary":
            follower.summarize()
        return


if __name__ == "__main__":
    main()
