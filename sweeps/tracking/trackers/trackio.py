"""Trackio: one run per trial as it trains, and one summary run with the answer, in a local database.

It lies in the run folder, or where ``TRACKIO_DIR`` says, for a dashboard of several sweeps. The name of a trial's run
consists of the cell, the sweep's id and the trial's, and ``group`` is the sweep's name.
"""

from __future__ import annotations

import contextvars
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from sweeps.spec.settings import TrackingConfig
from sweeps.tracking import flat_values
from sweeps.tracking.base import FollowedRun, FollowedTrial, TrackedRun, TrackedTrial, Tracker
from sweeps.tracking.run_summary import RunSummary
from trainables.results import Record

FOLDER = "TRACKIO_DIR"
# Each of these would have Trackio send runs elsewhere.
_REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_DATASET_ID", "TRACKIO_BUCKET_ID")


class Trackio(Tracker):
    """Writes into a local database; contacts nobody."""

    name: ClassVar[str] = "trackio"
    label: ClassVar[str] = "Trackio"

    project: str
    shared_folder: str | None  # that the user's environment names, absolute

    @classmethod
    def requested(cls, tracking: TrackingConfig) -> Self | None:
        if tracking.trackio != "local":
            return None
        folder = os.environ.get(FOLDER)
        return cls(project=tracking.project, shared_folder=str(Path(folder).absolute()) if folder else None)

    def announcement(self, folder: Path) -> str:
        place = shlex.quote(self.shared_folder or str(folder))
        return f"{FOLDER}={place} trackio show --project {shlex.quote(self.project)}"

    def environment(self, folder: Path, empty: Path, inherited: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in inherited.items() if name not in _REMOTE}
        return {**kept, FOLDER: self.shared_folder or str(folder)}

    @property
    def destination(self) -> str:
        return f"{self.shared_folder or ''} {self.project}"

    def open(self, run: FollowedRun) -> TrackedRun:
        return TrackioRuns(run, self.project)


class TrackioTrial(TrackedTrial):
    """The Trackio run of a trial."""

    def __init__(self, run: Any) -> None:
        self.run = run
        # What a run that is resumed has; the client has no public name for it.
        self.last_step = getattr(run, "_initial_last_step", None) or 0

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def finish(self, record: Record | None) -> None:
        if record is not None:
            found = {**flat_values.results(record), **flat_values.facts(record)}
            self.run.log(found, step=self.last_step)
        self.run.finish()


class TrackioRuns(TrackedRun):
    """A sweep's Trackio runs."""

    def __init__(self, run: FollowedRun, project: str) -> None:
        import trackio

        self.run, self.project, self.trackio = run, project, trackio
        # The database may be deleted, or be left behind at a URL.
        self.is_new = not any(f"-{run.id}-" in name for name in self._names())

    def begin(self, trial: FollowedTrial) -> TrackioTrial:
        return TrackioTrial(self._run(f"{trial.cell}-{trial.id}", flat_values.settings(trial)))

    def summarize(self) -> None:
        """Writes the summary run: the answer, and the image of the Pareto front."""
        summary = RunSummary.read(self.run.folder)
        run = self._run(f"{self.run.name}-{self.run.id}-summary", {})
        if summary.answer is not None:
            run.log({"answer": self.trackio.Markdown(summary.answer)}, step=0)
        if summary.write_pareto_front(image := self.run.folder / Trackio.name / "pareto.png"):
            run.log({"pareto": self.trackio.Image(str(image))}, step=0)
        run.finish()

    def _names(self) -> list[str]:
        try:
            return [run.name for run in self.trackio.Api().runs(self.project)]
        except ValueError:  # there is no such project yet
            return []

    def _run(self, name: str, config: dict[str, Any]) -> Any:
        # Trackio ends the run before that is open in the same context; several trials train at the same time.
        return contextvars.Context().run(
            self.trackio.init,
            project=self.project,
            name=name,
            group=self.run.name,
            config=config,
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
