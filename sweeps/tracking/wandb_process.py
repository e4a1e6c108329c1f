"""The process that follows a run folder into W&B; ``tracking.Tracker`` starts it.

    python -m sweeps.tracking.wandb_process RUN PROJECT    "summary" on standard input: the summary run; its end: finish

A trial's W&B run has the trial's id (and the sweep's start, so that another sweep's equal trial is another run),
``group`` the sweep's name, ``job_type`` its cell. A step is a training step.
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

from trainables import results
from trainables.results import Record
from trainables.storage import files

LOOK_SECONDS = 1.0


@dataclass
class Following:
    """One trial's W&B run and how far its curve has been sent."""

    run: Any
    sent: int = 0


class Follower:
    """Sends what is new in a run folder, look by look."""

    def __init__(self, folder: Path, project: str) -> None:
        self.folder, self.project = folder, project
        self.open: dict[str, Following] = {}
        self.marks = folder / "wandb" / "sent"  # one empty file per trial whose run is complete
        self.marks.mkdir(parents=True, exist_ok=True)
        environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
        self.group = environment.get("name") or folder.name
        self.sweep = files.sha256([str(folder.resolve()), environment.get("plan")])[:6]

    def look(self, last: bool = False) -> None:
        """Sends new points; ends the runs of trials that have a record, and with ``last`` all others too."""
        for trial in results.trial_folders(self.folder):
            if (self.marks / trial.name).exists():
                continue
            record = results.read_record(trial)
            following = self.open.get(trial.name) or self._begin(trial)
            self._send(trial, following, whole=last or record is not None)
            if record is not None and record.status != "interrupted":
                self._finish(trial, following, record)
        if last:
            for following in self.open.values():
                following.run.finish()

    def _begin(self, trial: Path) -> Following:
        config = json.loads((trial / "config.json").read_text(encoding="utf-8"))
        following = Following(
            wandb.init(
                project=self.project,
                id=f"{self.sweep}-{trial.name}",
                name=f"{config['cell']}-{trial.name}",
                group=self.group,
                job_type=config["cell"],
                config=config,
                resume="allow",
                reinit="create_new",
                settings=wandb.Settings(console="off", silent=True, init_timeout=60),
            )
        )
        self.open[trial.name] = following
        return following

    def _send(self, trial: Path, following: Following, whole: bool) -> None:
        """Sends whole steps in order: the newest step may still be growing, so it waits for the next look."""
        steps: dict[int, dict[str, float]] = {}
        for point in results.read_curve(trial):
            steps.setdefault(point["step"], {})[point["name"]] = point["value"]
        ready = sorted(steps) if whole else sorted(steps)[:-1]
        for step in ready:
            if step > following.sent:
                following.run.log(steps[step], step=step)
                following.sent = step

    def _finish(self, trial: Path, following: Following, record: Record) -> None:
        values = record.model_dump(mode="json", exclude={"config", "packages", "metrics"})
        test = {f"test/{name}": value for name, value in record.metrics.items()}
        following.run.summary.update({k: v for k, v in {**values, **test}.items() if v is not None})
        following.run.finish(exit_code=1 if record.status == "failed" else 0)
        (self.marks / trial.name).touch()
        del self.open[trial.name]

    def summarize(self) -> None:
        """The sweep's own run: the comparison as a table, the front as an image, the records as an artifact."""
        from reports.analysis.comparison import table
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
            data = [[_plain(row[str(column)]) for column in columns] for row in rows]
            summary.log({"comparison": wandb.Table(columns=columns, data=data)})
            if any(None not in (record.quality, record.peak_train_bytes) for record in run.records):
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


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else json.dumps(value, default=str)


def main() -> None:
    """Follows until standard input ends."""
    os.environ.setdefault("WANDB_START_METHOD", "thread")
    follower = Follower(Path(sys.argv[1]), sys.argv[2])
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], LOOK_SECONDS)
        line = sys.stdin.readline() if ready else None
        follower.look(last=line is not None)
        if line is None:
            continue
        if line.strip() == "summary":
            follower.summarize()
        return


if __name__ == "__main__":
    main()
