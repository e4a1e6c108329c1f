"""The artifacts of a sweep: its records and report, and the models of its trials."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import wandb

from sweeps.spec.wandb_names import MAX_LENGTH
from sweeps.tracking.base import FollowedRun, FollowedTrial
from sweeps.tracking.run_summary import RunSummary
from sweeps.tracking.wandb_content import trial_card, trial_values
from trainables import results
from trainables.results import Record
from trainables.storage import files
from trainables.storage.regular_files import require_own

MODEL = "model"  # the folder of a trial's weights or adapter
MODEL_FILES = ("config.json", "record.json")  # of a trial; with its model they are what `paretune chat` needs


def artifact_name(*parts: str) -> str:
    """The name of an artifact, which W&B takes of letters, digits, ``-``, ``_`` and ``.`` alone.

    >>> artifact_name("my run", "records")
    'my-run-records'
    """
    end = f"-{parts[-1]}"
    start = re.sub(r"[^a-zA-Z0-9_.-]", "-", "-".join(parts[:-1]))
    return f"{start[: MAX_LENGTH - len(end)]}{end}"


def has_model(trial: FollowedTrial) -> bool:
    """Whether a trial's model or adapter is in its folder."""
    return (trial.folder / MODEL).is_dir()


def log_results(summary: Any, run: FollowedRun, content: RunSummary) -> None:
    """Sends the records and curves of all trials, and the report."""
    name = trial_values.sweep_key(run)  # several sweeps of one name have artifacts of their own
    records = wandb.Artifact(artifact_name(name, "records"), type="records")
    for table in content.tables:
        records.add_file(str(table))
    summary.log_artifact(records)
    if content.report is not None:
        report = wandb.Artifact(artifact_name(name, "report"), type="report")
        report.add_dir(str(content.report))
        summary.log_artifact(report)


@dataclass(frozen=True)
class Models:
    """Which trials' models are sent: of each cell the best, once the sweep has ended, or all as they end.

    ``marks``: the folder of the marks of what is sent to ``destination``.
    """

    choice: Literal["best", "all"] | None
    marks: Path
    destination: str

    def wants(self, record: Record) -> bool:
        """Whether the model of a trial is sent as the trial ends."""
        return self.choice == "all" and record.role != "base"

    def is_sent(self, trial: FollowedTrial) -> bool:
        """Whether the model of a trial went with it, where all do; the best are sent again, as results change."""
        mark = self._mark(trial)
        return self.choice == "all" and mark.exists() and mark.read_text(encoding="utf-8") == self.destination

    def mark(self, trial: FollowedTrial) -> None:
        """Notes that the model of a trial is sent."""
        files.write_text(self._mark(trial), self.destination)

    def _mark(self, trial: FollowedTrial) -> Path:
        return self.marks / f"{trial.name}.{MODEL}"

    def at_end(self, records: Sequence[Record]) -> Iterator[Record]:
        """The trials whose models are sent at the end of the sweep: of ``all``, those that were sent without."""
        if self.choice != "best":
            yield from filter(self.wants, records)
            return
        for cell in dict.fromkeys(record.cell for record in records if record.role != "base"):
            chosen = results.best(record for record in records if record.cell == cell)
            if chosen is not None:
                yield chosen

    def log(self, run: Any, trial: FollowedTrial, record: Record) -> None:
        """Sends a trial's model or adapter with its card, as an output of the trial's run; nothing without a model.

        Raises ``DamagedFile`` for a model with a link in it.
        """
        if not has_model(trial):
            return
        values = {"cell": record.cell, "quality": record.quality, "quality_name": record.quality_name}
        artifact = wandb.Artifact(
            artifact_name(trial.cell, trial.name),
            type="model",
            description=f"{record.cell}, trained by the sweep {trial.run.name}",
            metadata={name: value for name, value in values.items() if value is not None},
        )
        artifact.add_dir(str(require_own(trial.folder / MODEL)), name=MODEL)
        for name in MODEL_FILES:
            artifact.add_file(str(require_own(trial.folder / name)), name=name)
        if (text := trial_card.card(trial.folder)) is not None:
            with artifact.new_file(trial_card.NAME, encoding="utf-8") as file:
                file.write(text)
        run.log_artifact(artifact)
