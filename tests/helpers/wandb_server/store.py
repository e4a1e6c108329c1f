"""What clients of W&B saved at the stand-in server: runs with their history, files, artifacts, views."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Path = tuple[str, str]  # entity and project


def encoded_id(kind: str, *parts: Any) -> str:
    """An opaque id, as W&B's are: base64 of ``KIND:PARTS``."""
    return base64.b64encode(":".join([kind, *map(str, parts)]).encode()).decode()


@dataclass
class Run:
    """A run. ``lines``: the lines of its streamed files by name; ``inits``: how often a client began it."""

    entity: str
    project: str
    id: str
    values: dict[str, Any] = field(default_factory=dict)  # of the newest `upsertBucket`
    config: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, dict[int, str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    inits: int = 0
    exit_code: int | None = None
    used_artifacts: list[str] = field(default_factory=list)

    @property
    def history(self) -> dict[int, dict[str, Any]]:
        """The logged values by step."""
        steps: dict[int, dict[str, Any]] = {}
        for line in self.lines_of("wandb-history.jsonl"):
            values = json.loads(line)
            steps.setdefault(int(values["_step"]), {}).update(values)
        return steps

    @property
    def summary(self) -> dict[str, Any]:
        lines = self.lines_of("wandb-summary.json")
        return json.loads(lines[-1]) if lines else json.loads(self.values.get("summaryMetrics") or "{}")

    def lines_of(self, name: str) -> list[str]:
        return [line for _, line in sorted(self.lines.get(name, {}).items())]

    def stream(self, name: str, offset: int, content: list[str]) -> None:
        """Takes lines of a streamed file from ``offset``; those that were there are replaced."""
        self.lines.setdefault(name, {}).update(enumerate(content, start=offset))


@dataclass
class Artifact:
    """A version of an artifact: ``manifest`` is its JSON, ``contents`` are the uploaded files by path."""

    entity: str
    project: str
    type: str
    name: str
    id: str
    values: dict[str, Any] = field(default_factory=dict)
    run: str | None = None
    version: int = 0
    committed: bool = False
    manifest: dict[str, Any] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Store:
    """Everything that was saved, and what was asked: the names of GraphQL operations in their order."""

    entity: str = "team"
    runs: dict[tuple[str, str, str], Run] = field(default_factory=dict)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)  # by the path of the storage's URL

    def run(self, entity: str | None, project: str, name: str) -> Run | None:
        return self.runs.get((entity or self.entity, project, name))

    def runs_of(self, project: str) -> dict[str, Run]:
        """The runs of a project by their ids."""
        return {run.id: run for run in self.runs.values() if run.project == project}

    def reports(self, project: str) -> list[dict[str, Any]]:
        """The saved reports of a project, the oldest first."""
        return self._views(project, "runs")

    def workspaces(self, project: str) -> list[dict[str, Any]]:
        """The saved workspace views of a project, the oldest first."""
        return self._views(project, "project-view")

    def _views(self, project: str, kind: str) -> list[dict[str, Any]]:
        return [
            view for view in self.views.values() if (view["projectName"], view["type"]) == (project, kind)
        ]

    def versions(self, project: str, name: str) -> list[Artifact]:
        """The committed versions of an artifact, the oldest first."""
        found = (each for each in self.artifacts if each.committed)
        return [each for each in found if (each.project, each.name) == (project, name)]

    def names_of_artifacts(self, project: str) -> set[str]:
        return {each.name for each in self.artifacts if each.project == project and each.committed}

    def artifact(self, artifact_id: str) -> Artifact:
        return next(each for each in self.artifacts if each.id == artifact_id)

    def projects(self) -> Iterator[Path]:
        yield from {(run.entity, run.project) for run in self.runs.values()}
