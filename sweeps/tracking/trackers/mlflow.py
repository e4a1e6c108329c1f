"""MLflow: in the experiment of the project's name, a run for the sweep, and below it a run for each trial.

``paretune.id``, a tag, has the sweep's id or the trial's, by which a resumed sweep finds its runs; ``paretune.step`` is
the last step that a trial's run has, written together with its values.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import unquote, urlsplit

from sweeps.spec.settings import TrackingConfig
from sweeps.spec.tracker_addresses import is_database, sqlite_file
from sweeps.tracking import flat_values
from sweeps.tracking.base import FollowedRun, FollowedTrial, TrackedRun, TrackedTrial, Tracker
from sweeps.tracking.connectivity import is_reachable
from sweeps.tracking.run_summary import RunSummary
from trainables.results import Record, Status
from trainables.storage.home import home
from trainables.system import redaction

ID, STEP = "paretune.id", "paretune.step"
STATUSES: Mapping[Status, str] = {
    "done": "FINISHED", "stopped": "KILLED", "out_of_memory": "FAILED", "failed": "FAILED", "interrupted": "KILLED",
}  # fmt: skip
# MLflow's limits (mlflow/utils/validation.py): parameters and tags of one request, all of its entities, and characters.
MAX_PARAMS, MAX_METRICS, MAX_VALUE, MAX_TAG = 100, 900, 6000, 5000
# Of another run, such as the one of a script that starts a sweep.
_OF_ANOTHER_RUN = re.compile(
    r"MLFLOW_(RUN_ID|RUN_CONTEXT|EXPERIMENT_\w+|TRACKING_URI|TRACKING_DIR|NESTED_RUN\w*)"
)
# MLflow's own are two minutes for an answer, and telemetry.
DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


class MLflow(Tracker):
    """Sends to the MLflow server, or writes to the database, at ``uri``."""

    name: ClassVar[str] = "mlflow"
    label: ClassVar[str] = "MLflow"

    uri: str
    project: str

    @classmethod
    def requested(cls, tracking: TrackingConfig) -> Self | None:
        return None if tracking.mlflow is None else cls(uri=tracking.mlflow, project=tracking.project)

    def announcement(self, folder: Path) -> str:
        place = f"{redaction.redacted(self.uri)}, experiment {self.project}"
        if self.uri.startswith(("http://", "https://")) and not is_reachable(self.uri):
            return f"{place}; it can't be reached now, and is tried for some minutes"
        return place

    def environment(self, folder: Path, empty: Path, inherited: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in inherited.items() if not _OF_ANOTHER_RUN.fullmatch(name)}
        return {**DEFAULTS, **kept, **_login(self.uri)}

    @property
    def destination(self) -> str:
        return f"{redaction.redacted(self.uri)} {self.project}"

    def open(self, run: FollowedRun) -> TrackedRun:
        return MlflowRuns(run, _without_login(self.uri), self.project)


class MlflowTrial(TrackedTrial):
    """The MLflow run of a trial."""

    def __init__(self, client: Any, run: Any) -> None:
        self.client, self.id = client, run.info.run_id
        self.last_step = int(run.data.tags.get(STEP, 0))
        self._metrics: list[Any] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if len(self._metrics) + len(values) > MAX_METRICS:
            self.flush()
        self._metrics += _metrics(values, step)
        self.last_step = step

    def flush(self) -> None:
        if self._metrics:
            self.client.log_batch(self.id, metrics=self._metrics, tags=_tags({STEP: self.last_step}))
            self._metrics = []

    def finish(self, record: Record | None) -> None:
        if record is None:
            self.client.set_terminated(self.id, status="KILLED")
            return
        found = flat_values.results(record, self.client.get_run(self.id).data.metrics)
        self.client.log_batch(
            self.id, metrics=_metrics(found, self.last_step), tags=_tags(flat_values.facts(record))
        )
        self.client.set_terminated(self.id, STATUSES[record.status], _milliseconds(record.ended_at))


class MlflowRuns(TrackedRun):
    """A sweep's runs in an experiment."""

    def __init__(self, run: FollowedRun, uri: str, project: str) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=uri)
        self.run = run
        self.experiment = self._experiment(uri, project)
        described = {
            "mlflow.note.content": run.environment.get("question"),
            "command": run.environment.get("command"),
        }
        self.is_new = self._find(run.id) is None
        self.parent = self._find_or_create(run.id, run.name, described).info.run_id

    def begin(self, trial: FollowedTrial) -> MlflowTrial:
        tags = {"mlflow.parentRunId": self.parent, "cell": trial.cell}
        found = self._find_or_create(trial.id, f"{trial.cell}-{trial.name}", tags)
        settings = flat_values.settings(trial)
        for params in _chunks([_param(name, value) for name, value in settings.items()], MAX_PARAMS):
            self.client.log_batch(found.info.run_id, params=params)
        return MlflowTrial(self.client, found)

    def summarize(self) -> None:
        """Writes the answer as the sweep's description, and its tables and report as artifacts."""
        summary = RunSummary.read(self.run.folder)
        if summary.answer is not None:
            self.client.set_tag(self.parent, "mlflow.note.content", summary.answer[:MAX_TAG])
        for table in summary.tables:
            self.client.log_artifact(self.parent, str(table))
        if summary.report is not None:
            self.client.log_artifacts(self.parent, str(summary.report), "report")
        self.client.set_terminated(self.parent, "FINISHED")

    def close(self) -> None:
        if self.client.get_run(self.parent).info.status == "RUNNING":
            self.client.set_terminated(self.parent, "KILLED")

    def _experiment(self, uri: str, project: str) -> str:
        """The id of the experiment, which is made if there is none."""
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(project)
        if found is None:
            try:
                return str(self.client.create_experiment(project, artifact_location=_artifacts(uri)))
            except MlflowException:  # another sweep may just have made it
                found = self.client.get_experiment_by_name(project)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise ValueError(
                f"MLflow's experiment {project} is deleted: restore it, or set another tracking.project"
            )
        return str(found.experiment_id)

    def _find(self, id_: str) -> Any | None:
        found = self.client.search_runs([self.experiment], f"tags.`{ID}` = '{id_}'", max_results=1)
        return found[0] if found else None

    def _find_or_create(self, id_: str, name: str, tags: Mapping[str, Any]) -> Any:
        found = self._find(id_)
        if found is not None:
            self.client.update_run(found.info.run_id, status="RUNNING")
            return found
        source = {
            "mlflow.source.name": "paretune",
            "mlflow.source.git.commit": self.run.environment.get("commit"),
        }
        known = {tag.key: tag.value for tag in _tags({ID: id_, **source, **tags})}
        return self.client.create_run(self.experiment, tags=known, run_name=name)


def _login(uri: str) -> dict[str, str]:
    """The variables that have the user and the password of a server's address, which MLflow repeats in its errors."""
    url = urlsplit(uri)
    if url.scheme not in ("http", "https") or not (url.username and url.password):
        return {}
    user, password = unquote(url.username), unquote(url.password)
    return {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}


def _without_login(uri: str) -> str:
    url = urlsplit(uri)
    return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl() if _login(uri) else uri


def _artifacts(uri: str) -> str | None:
    """Where an experiment in a database keeps its artifacts: beside the database's file, for one at a server in the
    user's own folder; ``None`` where MLflow's server decides.

    Of itself, MLflow would put them into the working folder, which is removed.
    """
    if (file := sqlite_file(uri)) is not None:
        return str(file.parent / "mlartifacts")
    return str(home() / "mlflow-artifacts") if is_database(uri) else None


def _metrics(values: Mapping[str, float], step: int) -> list[Any]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(_name(name), value, now, step) for name, value in values.items()]


def _param(name: str, value: Any) -> Any:
    from mlflow.entities import Param

    return Param(_name(name), str(value)[:MAX_VALUE])


def _tags(values: Mapping[str, Any]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(name, str(value)[:MAX_TAG]) for name, value in values.items() if value is not None]


def _name(name: str) -> str:
    """The name with the characters that MLflow takes in those of metrics and parameters."""
    return re.sub(r"[^\w./ :-]", "_", name)[:250]


def _chunks(values: list[Any], size: int) -> Iterator[list[Any]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _milliseconds(moment: str | None) -> int | None:
    return None if moment is None else int(datetime.fromisoformat(moment).timestamp() * 1000)
