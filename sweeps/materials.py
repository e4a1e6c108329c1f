"""What a plan needs that isn't in the spec: the data's rows, the models' folders, and the hashes of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.problems import did_you_mean
from trainables import commands
from trainables.config import DataConfig, ModelConfig
from trainables.data import Data, DataError, load
from trainables.model_folder import Architecture, ModelError

EMBEDDED = (commands.NAME,)


@dataclass(frozen=True)
class BaseModel:
    """A model that is on this machine."""

    fingerprint: str
    architecture: Architecture


@dataclass(frozen=True)
class Missing:
    """Why something can't be had; ``leaf`` is what named it. ``later``: ``run`` will fetch it."""

    leaf: str
    what: str
    later: bool = False


@dataclass
class Materials:
    """Finds models and data, each once. With ``fetch`` a named model that isn't here is downloaded."""

    fetch: bool = False
    _models: dict[ModelConfig, BaseModel | Missing] = field(default_factory=dict)

    def has(self, config: DataConfig) -> bool:
        """Whether there is such data at all."""
        return config.train in EMBEDDED or Path(config.train).exists()

    def data(self, config: DataConfig) -> Data | Missing:
        try:
            return load(config)
        except DataError as error:
            near = "" if Path(config.train).suffix else did_you_mean(Path(config.train).name, EMBEDDED)
            return Missing("train", f"{error}{near}")

    def model(self, config: ModelConfig) -> BaseModel | Missing:
        if config not in self._models:
            self._models[config] = self._look_up(config)
        return self._models[config]

    def _look_up(self, config: ModelConfig) -> BaseModel | Missing:
        from trainables import models

        leaf = "path" if config.name is None else "name"
        try:
            if config.name is not None and not self.fetch and models.source(config.name).local() is None:
                return Missing(
                    leaf, f"{config.name} is not on this machine yet; run will fetch it", later=True
                )
            folder = models.folder(config, fetch=self.fetch)
            return BaseModel(models.fingerprint(folder), models.architecture(folder))
        except ModelError as error:
            return Missing(leaf, str(error))


def locate(tree: dict[str, Any], folder: Path) -> None:
    """Makes a trial's paths absolute, in place; relative ones are relative to ``folder``, the spec's."""
    model, data = tree.get("model"), tree.get("data")
    if isinstance(model, dict) and isinstance(model.get("path"), str):
        model["path"] = str(_absolute(model["path"], folder))
    if isinstance(data, dict):
        own = data.pop("folder", None)
        folders = [folder, folder / "data"] if own is None else [_absolute(str(own), folder)]
        if isinstance(data.get("train"), str) and data["train"] not in EMBEDDED:
            candidates = [_absolute(data["train"], place) for place in folders]
            data["train"] = str(next((path for path in candidates if path.exists()), candidates[0]))


def _absolute(path: str, folder: Path) -> Path:
    return (folder / Path(path).expanduser()).resolve()
