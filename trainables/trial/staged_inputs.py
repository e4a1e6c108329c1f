"""What a spec names by paths of the driver's machine, for nodes that don't have them: copies in the run folder.

``given.json`` there says which: ``{"url": null, "paths": {"/data/rows.jsonl": {"at": "3f2a.../rows.jsonl", "files":
{"3f2a.../rows.jsonl": ["/data/rows.jsonl", 1234]}}}}``. A node that has a path's files, by name and size, uses them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.data.sources import is_hub
from trainables.models import locate
from trainables.storage import cache
from trainables.storage.url_store import Store
from trainables.trial.config import TrialConfig

NAME, FOLDER = "given.json", "given"


class Given:
    """The copies that a run folder has. Without any, everything is where its config says."""

    def __init__(self, run: Path, url: str | None = None, paths: Mapping[str, Any] | None = None) -> None:
        self.run, self.url, self.paths = run, url, paths or {}

    @classmethod
    def of(cls, run: Path) -> Given:
        """Those of the run in a folder, or at the URL that its ``given.json`` names."""
        path = run / NAME
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return cls(run, found.get("url"), found.get("paths"))

    def config(self, config: TrialConfig) -> TrialConfig:
        """The trial with paths that are here; its id is the same."""
        if not self.paths:
            return config
        stage = {
            key: trained.model_copy(update={"folder": self._path(trained.folder)})
            for part, key, trained in config.trained()
            if part == "stage"
        }
        return config.model_copy(
            update={
                "model": self.model(config.model),
                "data": self.data(config.data),
                "stage": config.stage.model_copy(update=stage),
            }
        )

    def model(self, model: ModelConfig) -> ModelConfig:
        """The model where it is here; a name that this node has nothing for becomes a path."""
        changes: dict[str, Any] = {"path": self._path(model.path)}
        named = self.paths.get(by_name(model.name)) if model.name else None
        if named and model.name and not _is_here(model.name):
            changes = {"name": None, "path": self._brought(named)}
        if model.start is not None:
            changes["start"] = model.start.model_copy(update={"folder": self._path(model.start.folder)})
        return model.model_copy(update=changes)

    def data(self, data: DataConfig) -> DataConfig:
        changes: dict[str, Any] = {"folder": self._path(data.folder)}
        changes["train"] = self._names(data, data.train)
        changes["eval"] = None if data.eval is None else self._names(data, data.eval)
        changes["template"] = data.template and str(self._path(Path(data.template)))
        return data.model_copy(update=changes)

    def _names(self, data: DataConfig, names: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(names, tuple):
            return tuple(self._name(data, name) for name in names)
        return self._name(data, names)

    def _name(self, data: DataConfig, name: str) -> str:
        wanted = key(name, data.folder)
        return str(self._path(Path(wanted))) if wanted in self.paths else name

    def _path(self, path: Path | None) -> Path | None:
        """Where a path's files are: there, or in a copy."""
        found = self.paths.get(str(path))
        if found is None or all(holds(*file) for file in found["files"].values()):
            return path
        return self._brought(found)

    def _brought(self, found: Mapping[str, Any]) -> Path:
        if self.url is None:
            return self.run / FOLDER / found["at"]
        folder, _, rest = found["at"].partition("/")
        store = Store(f"{self.url}/{FOLDER}/{folder}")
        names = [name.partition("/")[2] for name in found["files"]]
        return cache.entry(FOLDER, folder, lambda into: store.pull(names, into)) / rest


def _is_here(model: str) -> bool:
    try:
        return locate.source(model).local() is not None
    except locate.ModelError:  # its hub's package is missing here
        return False


def by_name(model: str) -> str:
    """What a model that has a name and no path is listed under."""
    return f"model {model}"


def key(name: str, folder: Path | None) -> str:
    """What a data set of a hub or a path is listed under."""
    return name if is_hub(name) else str(absolute(name, folder))


def absolute(name: str, folder: Path | None) -> Path:
    """The path that the name of a data set stands for, if it is one; relative ones are relative to ``folder``."""
    path = Path(name).expanduser()
    return path if path.is_absolute() or folder is None else folder / path


def holds(path: str, size: int) -> bool:
    """Whether a file is here as it was there."""
    here = Path(path)
    return here.is_file() and here.stat().st_size == size
