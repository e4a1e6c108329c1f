"""What the stand-in server answers to queries: the fields that W&B's clients read, from the store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.helpers.wandb_server.store import Artifact, Run, Store, encoded_id

# Features of a server that the clients ask for. Without the others they take the way of older servers.
FEATURES = ("ARTIFACT_TAGS",)
CREATED = "2026-01-01T00:00:00"


def connection(nodes: Iterable[Any]) -> dict[str, Any]:
    """A GraphQL connection with all nodes on one page."""
    edges = [{"node": node, "cursor": str(number)} for number, node in enumerate(nodes)]
    end = edges[-1]["cursor"] if edges else None
    page = {"__typename": "PageInfo", "hasNextPage": False, "endCursor": end}
    return {"edges": edges, "pageInfo": page, "totalCount": len(edges)}


@dataclass
class Queries:
    """The root of queries. ``address`` is the server's URL."""

    store: Store
    address: str

    typename = "Query"

    @property
    def viewer(self) -> dict[str, Any]:
        entity = self.store.entity
        return {
            "__typename": "User", "id": encoded_id("User", entity), "entity": entity, "username": entity,
            "name": entity, "email": "nobody@example.org", "admin": False, "flags": "{}", "deletedAt": None,
            "defaultEntity": {"name": entity, "__typename": "Entity"}, "teams": connection([{"name": entity}]),
            "apiKeys": connection([]), "userEntity": self.entity(entity), "organizations": [],
        }  # fmt: skip

    @property
    def serverInfo(self) -> dict[str, Any]:  # noqa: N802
        return {
            "features": [{"name": name, "isEnabled": True} for name in FEATURES],
            "cliVersionInfo": {"max_cli_version": "99.0.0"},
            "latestLocalVersionInfo": {"outOfDate": False, "versionOnThisInstanceString": "99.0.0"},
        }

    def entity(self, name: str | None = None) -> dict[str, Any]:
        found = name or self.store.entity
        return {
            "__typename": "Entity", "id": encoded_id("Entity", found), "name": found, "isTeam": False,
            "xxhashDigestsEnabled": False, "organization": None,
            "projects": lambda **_: connection(self.project(each, found) for each in sorted(self._projects(found))),
        }  # fmt: skip

    def models(self, entityName: str | None = None, **_: Any) -> dict[str, Any]:  # noqa: N803
        entity = entityName or self.store.entity
        return connection(self.project(name, entity) for name in sorted(self._projects(entity)))

    projects = models

    def _projects(self, entity: str) -> set[str]:
        runs = {run.project for run in self.store.runs.values() if run.entity == entity}
        return runs | {
            view["projectName"] for view in self.store.views.values() if view["entityName"] == entity
        }

    def project(self, name: str, entityName: str | None = None) -> dict[str, Any]:  # noqa: N803
        entity = entityName or self.store.entity
        bucket: Callable[..., Any] = lambda name, **_: self._run(self.store.run(entity, project, name))  # noqa: E731
        project = name
        return {
            "__typename": "Project", "id": encoded_id("Project", entity, name), "internalId": name, "name": name,
            "entityName": entity, "entity": self.entity(entity), "createdAt": CREATED, "isBenchmark": False,
            "bucket": bucket, "run": bucket, "runCount": lambda **_: len(self._runs(entity, name)),
            "runs": lambda **_: connection(map(self._run, self._runs(entity, name))),
            "allViews": lambda **given: self._views(project, **given),
            "artifact": lambda name, **_: self._named_artifact(project, name),
            "artifactCollectionMembership": lambda name, **_: self._membership(project, name),
            "artifactType": lambda name, **_: self._artifact_type(entity, project, name),
        }  # fmt: skip

    model = project

    def _project_info(self, entity: str, name: str) -> dict[str, Any]:
        project = {"__typename": "Project", "id": encoded_id("Project", entity, name), "internalId": name}
        return {**project, "name": name, "entity": self.entity(entity), "entityName": entity}

    def _views(self, project: str, **given: Any) -> dict[str, Any]:
        kind, name = given.get("viewType", "runs"), given.get("viewName")
        views = [
            each
            for each in self.store.views.values()
            if (each["projectName"], each["type"]) == (project, kind)
        ]
        return connection(self.view(each["id"]) for each in views if name in (None, each["name"]))

    def _runs(self, entity: str, project: str) -> list[Run]:
        return [run for run in self.store.runs.values() if (run.entity, run.project) == (entity, project)]

    def _run(self, run: Run | None) -> dict[str, Any] | None:
        if run is None:
            return None
        history, events = run.lines_of("wandb-history.jsonl"), run.lines_of("wandb-events.jsonl")
        return {
            "__typename": "Run", "id": encoded_id("Run", run.id, run.project, run.entity), "internalId": run.id,
            "name": run.id, "displayName": run.values.get("displayName") or run.id,
            "state": "running" if run.exit_code is None else "crashed" if run.exit_code else "finished",
            "config": json.dumps(run.config), "summaryMetrics": json.dumps(run.summary), "systemMetrics": "{}",
            "group": run.values.get("groupName"), "jobType": run.values.get("jobType"),
            "tags": run.values.get("tags") or [], "notes": run.values.get("notes"), "sweepName": None,
            "description": run.values.get("description"), "createdAt": CREATED,
            "historyLineCount": len(history), "eventsLineCount": len(events),
            "logLineCount": len(run.lines_of("output.log")), "historyTail": json.dumps(history[-1:]),
            "eventsTail": json.dumps(events[-1:]), "historyKeys": None,
            "wandbConfig": lambda **_: json.dumps({"t": 1}), "user": self.viewer,
            "project": self._project_info(run.entity, run.project),
        }  # fmt: skip

    def view(self, id: str) -> dict[str, Any] | None:
        view = self.store.views.get(id)
        if view is None:
            return None
        project = self._project_info(view["entityName"], view["projectName"])
        shown = {
            name: view.get(name) for name in ("id", "type", "name", "displayName", "description", "spec")
        }
        times = {"createdAt": CREATED, "updatedAt": CREATED}
        return {
            "__typename": "View",
            **shown,
            **times,
            "project": project,
            "user": self.viewer,
            "accessTokens": [],
        }

    # Artifacts

    def artifact(self, id: str) -> dict[str, Any]:
        return self.artifact_fields(self.store.artifact(id))

    def _membership(self, project: str, name: str) -> dict[str, Any] | None:
        artifact = self._named_artifact(project, name)
        if artifact is None:
            return None
        shared = {key: artifact[key] for key in ("id", "versionIndex", "createdAt", "aliases")}
        collection = artifact["artifactSequence"]
        of_type = {"__typename": "ArtifactCollectionMembership"}
        return {**of_type, **shared, "artifactCollection": collection, "artifact": artifact}

    def _named_artifact(self, project: str, name: str) -> dict[str, Any] | None:
        collection, _, version = name.partition(":")
        versions = self.store.versions(project, collection)
        chosen = [
            each
            for each in versions
            if version in (f"v{each.version}", each.values.get("digest"))
            or (version in ("latest", "") and each is versions[-1])
            or version in self._aliases(each)
        ]
        return self.artifact_fields(chosen[-1]) if chosen else None

    def _aliases(self, artifact: Artifact) -> list[str]:
        own = [each["alias"] for each in artifact.values.get("aliases") or ()]
        newest = self.store.versions(artifact.project, artifact.name)[-1:] == [artifact]
        return list(
            dict.fromkeys([*(alias for alias in own if alias != "latest"), *(["latest"] if newest else [])])
        )

    def _artifact_type(self, entity: str, project: str, name: str) -> dict[str, Any] | None:
        found = [each for each in self.store.artifacts if (each.project, each.type) == (project, name)]
        names = dict.fromkeys(each.name for each in found)
        known = {collection: self._collection(entity, project, name, collection) for collection in names}
        return {
            "__typename": "ArtifactType", "id": encoded_id("ArtifactType", name), "name": name, "description": None,
            "artifactCollection": lambda name, **_: known.get(name),
            "artifactCollections": lambda **_: connection(known.values()),
        }  # fmt: skip

    def _collection(self, entity: str, project: str, kind: str, name: str) -> dict[str, Any]:
        return {
            "__typename": "ArtifactSequence", "id": encoded_id("ArtifactCollection", name), "name": name,
            "state": "READY", "digestAlgorithm": None, "createdAt": CREATED, "tags": connection([]),
            "project": self._project_info(entity, project),
            "type": {"name": kind, "__typename": "ArtifactType"}, "aliases": connection([]), "description": None,
        }  # fmt: skip

    def artifact_fields(self, artifact: Artifact) -> dict[str, Any]:
        collection = self._collection(artifact.entity, artifact.project, artifact.type, artifact.name)
        newest = self.store.versions(artifact.project, artifact.name)[-1:]
        base = f"{self.address}/storage/artifacts/{artifact.id}"
        files = lambda **_: connection(  # noqa: E731
            {"name": path, "directUrl": f"{base}/{path}", "url": f"{base}/{path}", "sizeBytes": len(content)}
            | {"__typename": "File"}
            for path, content in artifact.contents.items()
        )
        return {
            "__typename": "Artifact", "id": artifact.id, "digest": artifact.values.get("digest"),
            "state": "COMMITTED" if artifact.committed else "PENDING",
            "description": artifact.values.get("description"),
            "metadata": artifact.values.get("metadata") or "{}", "versionIndex": artifact.version, "tags": [],
            "size": sum(map(len, artifact.contents.values())), "fileCount": len(artifact.contents),
            "createdAt": CREATED, "updatedAt": CREATED, "commitHash": artifact.id,
            "ttlIsInherited": True, "ttlDurationSeconds": -2, "historyStep": None, "type": artifact.type,
            "artifactType": {"__typename": "ArtifactType", "name": artifact.type, "id": artifact.type},
            "artifactSequence": {**collection, "latestArtifact": {"id": newest[0].id} if newest else None},
            "artifactCollections": connection([collection]), "artifactMembership": None,
            "aliases": [
                {"__typename": "ArtifactAlias", "id": alias, "alias": alias, "artifactCollectionName": artifact.name}
                | {"artifactCollection": collection}
                for alias in self._aliases(artifact)
            ],
            "currentManifest": {
                "__typename": "ArtifactManifest", "id": encoded_id("ArtifactManifest", artifact.id),
                "file": {"__typename": "File", "directUrl": f"{base}.manifest.json", "id": artifact.id},
            },
            "files": files, "filesByManifestEntries": files,
        }  # fmt: skip
