"""What the stand-in server does at mutations: it keeps runs, views and artifacts as W&B does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.helpers.wandb_server.queries import Queries, connection
from tests.helpers.wandb_server.store import Artifact, Run, Store, encoded_id


@dataclass
class Mutations:
    """The root of mutations. ``address`` is the server's URL."""

    store: Store
    queries: Queries
    address: str

    typename = "Mutation"

    # Runs

    def upsertBucket(self, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        entity, project = (
            input.get("entityName") or self.store.entity,
            input.get("modelName") or "uncategorized",
        )
        key = (entity, project, str(input["name"]))
        inserted = key not in self.store.runs
        run = self.store.runs.setdefault(key, Run(*key))
        run.inits += 1
        run.values |= {name: value for name, value in input.items() if value is not None}
        # A run that is updated has no exit code until it ends again.
        run.exit_code = None
        run.config |= json.loads(input.get("config") or "{}")
        return {"bucket": self.queries._run(run), "inserted": inserted}

    def createRunFiles(self, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        run = f"{input['entityName']}/{input['projectName']}/{input['runName']}"
        files = [
            {"name": name, "uploadUrl": f"{self.address}/storage/runs/{run}/{name}"}
            for name in input["files"]
        ]
        return {"runID": encoded_id("Run", run), "uploadHeaders": [], "files": files}

    def upsertModel(self, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"model": self.queries.project(input["name"], input.get("entityName")), "inserted": True}

    # Reports and workspaces

    def upsertView(self, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        view_id = input.get("id")
        if view_id is not None and view_id not in self.store.views:
            raise LookupError(f"there is no view {view_id}")
        view_id = view_id or encoded_id("View", len(self.store.views) + 1)
        inserted = view_id not in self.store.views
        view = self.store.views.setdefault(view_id, {"id": view_id, "saves": 0})
        view |= {name: value for name, value in input.items() if name != "id"}
        view["saves"] += 1
        return {"view": self.queries.view(view_id), "inserted": inserted}

    # Artifacts

    def createArtifact(self, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        names = input.get("artifactCollectionNames") or [input.get("artifactCollectionName")]
        known = [
            each
            for each in self.store.versions(input["projectName"], names[0])
            if each.values.get("digest") == input.get("digest")
        ]
        artifact = known[-1] if known else self._new_artifact(input, names[0])
        return {"artifact": self.queries.artifact_fields(artifact), "__typename": "CreateArtifactPayload"}

    def _new_artifact(self, input: dict[str, Any], name: str) -> Artifact:
        artifact = Artifact(
            entity=input["entityName"],
            project=input["projectName"],
            type=input["artifactTypeName"],
            name=name,
            id=encoded_id("Artifact", len(self.store.artifacts) + 1),
            values=dict(input),
            run=input.get("runName"),
            version=len(self.store.versions(input["projectName"], name)),
        )
        self.store.artifacts.append(artifact)
        return artifact

    def createArtifactManifest(self, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return self._manifest(input["artifactID"])

    def updateArtifactManifest(self, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return self._manifest(input["artifactManifestID"])

    def _manifest(self, artifact_id: str) -> dict[str, Any]:
        # The manifest's id is that of its artifact, so that both mutations lead to the same file.
        url = f"{self.address}/storage/artifacts/{artifact_id}.manifest.json"
        file = {"id": artifact_id, "uploadUrl": url, "uploadHeaders": []}
        return {"artifactManifest": {"id": artifact_id, "file": file}}

    def createArtifactFiles(self, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        nodes = [
            {
                "name": each["name"],
                "storagePath": f"artifacts/{each['artifactID']}/{each['name']}",
                "uploadUrl": f"{self.address}/storage/artifacts/{each['artifactID']}/{each['name']}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": each["artifactID"]},
            }
            for each in input["artifactFiles"]
        ]
        return {"files": connection(nodes)}

    def commitArtifact(self, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        artifact = self.store.artifact(input["artifactID"])
        prefix = f"artifacts/{artifact.id}"
        artifact.manifest = json.loads(self.store.uploads[f"{prefix}.manifest.json"])
        for path in artifact.manifest["contents"]:
            if f"{prefix}/{path}" in self.store.uploads:
                artifact.contents[path] = self.store.uploads[f"{prefix}/{path}"]
        artifact.committed = True
        return {"artifact": self.queries.artifact_fields(artifact)}

    def useArtifact(self, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        artifact = self.store.artifact(input["artifactID"])
        run = self.store.run(input.get("entityName"), input["projectName"], input["runName"])
        if run is not None:
            run.used_artifacts.append(f"{artifact.name}:v{artifact.version}")
        return {"artifact": self.queries.artifact_fields(artifact)}

    def updateArtifact(self, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        artifact = self.store.artifact(input["artifactID"])
        artifact.values |= {name: value for name, value in input.items() if value is not None}
        return {"artifact": self.queries.artifact_fields(artifact)}
