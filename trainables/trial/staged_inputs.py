"""Copies of a run's inputs that only the driver's machine has, for the nodes that lack them.

``given.json`` in the run folder lists them: ``{"url": null, "paths": {"/data/rows.jsonl": {"at": "3f2a.../rows.jsonl",
"files": {"3f2a.../rows.jsonl": ["/data/rows.jsonl", 1234]}}}}``. A node that has a path's files, of the same names and
sizes, uses its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.config.data import DataConfig
from trainables.config.evaluation_sets import SetSource
from trainables.config.model import ModelConfig
from trainables.data.sources import is_hub
from trainables.methods.base import FineTuning
from trainables.models import locate
from trainables.stages.rewards.stage import own_rewards
from trainables.stages.rewards.terms import FunctionReward, RewardTerm
from trainables.storage import cache
from trainables.storage.damaged_files import read_object
from trainables.storage.names import checked_name, within
from trainables.storage.url_store import Store
from trainables.trial.config import TrialConfig

INDEX_FILE, COPIES_FOLDER = "given.json", "given"


class StagedInputs:
    """The copies that a run folder has. Without any, every input is where its config says.

    ``url``: where the copies are when they aren't in the run folder. ``paths``: what ``given.json`` lists.
    """

    def __init__(self, run: Path, url: str | None = None, paths: Mapping[str, Any] | None = None) -> None:
        self.run, self.url, self.paths = run, url, paths or {}

    @classmethod
    def read(cls, run: Path) -> StagedInputs:
        """The copies that ``given.json`` in the run folder lists; none without that file."""
        path = run / INDEX_FILE
        index = read_object(path) if path.exists() else {}
        return cls(run, index.get("url"), index.get("paths"))

    def local_config(self, config: TrialConfig) -> TrialConfig:
        """The trial with paths that exist on this node; its id stays the same."""
        if not self.paths:
            return config
        stage: dict[str, Any] = {
            key: trained.model_copy(update={"folder": self._local_path(trained.folder)})
            for part, key, trained in config.trained()
            if part == "stage"
        }
        if own_rewards(config.stage):
            stage["rewards"] = tuple(map(self._local_reward, config.stage.rewards))  # type: ignore[union-attr]
        return config.model_copy(
            update={
                "model": self.local_model(config.model),
                "method": self._local_method(config.method),
                "data": self.local_data(config.data),
                "stage": config.stage.model_copy(update=stage),
            }
        )

    def local_model(self, model: ModelConfig) -> ModelConfig:
        """The model with paths that exist on this node; a named model that the node lacks becomes a path."""
        changes: dict[str, Any] = {"path": self._local_path(model.path)}
        named = self.paths.get(model_key(model.name)) if model.name else None
        # A node's own download of a named model takes precedence over the staged copy.
        if named and model.name and not _is_local(model.name):
            # The trial's id has the model's fingerprint in place of both, so it stays the same.
            changes = {"name": None, "path": self._copy(named)}
        if model.start is not None:
            changes["start"] = model.start.model_copy(update={"folder": self._local_path(model.start.folder)})
        return model.model_copy(update=changes)

    def _local_method(self, method: FineTuning | None) -> FineTuning | None:
        """The method with the place of its code on this node, if it is one's own."""
        path = getattr(method, "method_path", None)
        if method is None or path is None:
            return method
        return method.model_copy(update={"method_path": self._local_path(path)})

    def _local_reward(self, reward: RewardTerm) -> RewardTerm:
        """The reward with the place of its code on this node, if it is a function of one's own."""
        if not isinstance(reward, FunctionReward):
            return reward
        return reward.model_copy(update={"code_path": self._local_path(reward.code_path)})

    def local_data(self, data: DataConfig) -> DataConfig:
        """The data with paths that exist on this node, its template file and the file of its quality included."""
        changes: dict[str, Any] = {
            "folder": self._local_path(data.folder),
            "quality_file": self._local_path(data.quality_file),
        }
        changes["train"] = self._local_names(data, data.train)
        changes["eval"] = (
            {name: self._local_source(data, source) for name, source in data.eval.items()}
            if isinstance(data.eval, dict)
            else self._local_source(data, data.eval)
        )
        changes["template"] = data.template and str(self._local_path(Path(data.template)))
        return data.model_copy(update=changes)

    def _local_source(self, data: DataConfig, source: SetSource) -> SetSource:
        return None if source is None else self._local_names(data, source)

    def _local_names(self, data: DataConfig, names: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(names, tuple):
            return tuple(self._local_name(data, name) for name in names)
        return self._local_name(data, names)

    def _local_name(self, data: DataConfig, name: str) -> str:
        key = data_key(name, data.folder)
        return str(self._local_path(Path(key))) if key in self.paths else name

    def _local_path(self, path: Path | None) -> Path | None:
        """Where the files of ``path`` are on this node: at the path itself, or in a copy."""
        staged = self.paths.get(str(path))
        if staged is None or all(is_present(*file) for file in staged["files"].values()):
            return path
        return self._copy(staged)

    def _copy(self, staged: Mapping[str, Any]) -> Path:
        """The copy's path; one at a URL is downloaded into the node's cache."""
        if self.url is None:
            return within(self.run / COPIES_FOLDER, staged["at"])
        folder, _, rest = checked_name(staged["at"]).partition("/")
        store = Store(f"{self.url}/{COPIES_FOLDER}/{folder}")
        # Names are FOLDER/REST, where FOLDER is a hash; it is the key of the cached copy, too.
        names = [name.partition("/")[2] for name in staged["files"]]
        return cache.entry(COPIES_FOLDER, folder, lambda into: store.pull(names, into)) / rest


def _is_local(model: str) -> bool:
    try:
        return locate.find_source(model).local() is not None
    except locate.ModelError:  # the package of its hub isn't installed on this node
        return False


def model_key(model: str) -> str:
    """The key in ``given.json`` of a model that has a name and no path."""
    return f"model {model}"


def data_key(name: str, folder: Path | None) -> str:
    """The key in ``given.json`` of a data set: a hub's name as it is, or an absolute path."""
    return name if is_hub(name) else str(absolute_path(name, folder))


def absolute_path(name: str, folder: Path | None) -> Path:
    """The path of a data set's file; a relative ``name`` is relative to ``folder``."""
    path = Path(name).expanduser()
    return path if path.is_absolute() or folder is None else folder / path


def is_present(path: str, size: int) -> bool:
    """Whether this node has the file, ``size`` bytes long."""
    file = Path(path)
    return file.is_file() and file.stat().st_size == size
