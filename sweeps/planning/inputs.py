"""What a plan needs that isn't in the spec: the data's rows, the models' folders, and the hashes of both."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.spec.tree import CellPath
from trainables import templates
from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.data import dataset_info
from trainables.data.errors import DataError
from trainables.data.loading import Data, load
from trainables.data.sources import EMBEDDED, exists, is_hub
from trainables.models.folder import Architecture, ModelError


@dataclass(frozen=True)
class LocalModel:
    """A model that is on this machine."""

    fingerprint: str
    architecture: Architecture


@dataclass(frozen=True)
class MissingInput:
    """Why something can't be had; ``leaf`` is what named it. ``later``: ``run`` will fetch it."""

    leaf: str
    what: str
    later: bool = False


@dataclass
class InputFinder:
    """Finds models and data, each once. With ``fetch`` a named model that isn't here is downloaded."""

    fetch: bool = False
    _models: dict[ModelConfig, LocalModel | MissingInput] = field(default_factory=dict)

    def has(self, config: DataConfig) -> bool:
        """Whether there is such data at all."""
        return all(exists(name, config) for name in (*config.names, *config.eval_names))

    def data(self, config: DataConfig, need: type) -> Data | MissingInput:
        """The rows that a stage needs."""
        try:
            return load(config, need)
        except DataError as error:
            return MissingInput("train", str(error))

    def model(self, config: ModelConfig) -> LocalModel | MissingInput:
        if config not in self._models:
            self._models[config] = self._look_up(config)
        return self._models[config]

    def _look_up(self, config: ModelConfig) -> LocalModel | MissingInput:
        from trainables.models import locate

        leaf = "path" if config.name is None else "name"
        try:
            if config.name is not None and not self.fetch and locate.find_source(config.name).local() is None:
                return MissingInput(
                    leaf, f"{config.name} is not on this machine yet; run will fetch it", later=True
                )
            folder = locate.folder(config, fetch=self.fetch)
            return LocalModel(locate.fingerprint(folder), locate.read_architecture(folder))
        except ModelError as error:
            return MissingInput(leaf, str(error))


class InvalidPath(ValueError):  # noqa: N818
    """A text that can't be a path, such as one of a thousand characters; ``place`` says whose."""

    def __init__(self, place: CellPath, what: str) -> None:
        super().__init__(what)
        self.place = place


def make_paths_absolute(tree: dict[str, Any], folder: Path) -> None:
    """Makes a trial's paths absolute, in place; relative ones are relative to ``folder``, the spec's.

    Raises :class:`NoPath`.
    """
    model, data = tree.get("model"), tree.get("data")
    if isinstance(model, dict) and isinstance(model.get("path"), str):
        with _naming("model", "path"):
            model["path"] = str(absolute_path(model["path"], folder))
    if isinstance(data, dict):
        _locate_data(data, folder)


@contextmanager
def _naming(*place: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # too long, a circle of links; the home of nobody
        raise InvalidPath(place, f"can't be a path: {getattr(error, 'strerror', None) or error}") from error


def _locate_data(data: dict[str, Any], folder: Path) -> None:
    given = data.get("folder")
    with _naming("data", "folder"):
        folders = [folder, folder / "data"] if given is None else [absolute_path(str(given), folder)]
        registered = next((place for place in folders if (place / dataset_info.FILE).is_file()), None)
    names = _names(registered)
    data["folder"] = str(registered) if registered is not None else None
    if str(data.get("template")).endswith(templates.SUFFIXES):
        with _naming("data", "template"):
            data["template"] = str(absolute_path(data["template"], folder))
    for key in ("train", "eval"):
        with _naming("data", key):
            if isinstance(data.get(key), str):
                data[key] = _found(data[key], folders, names)
            elif isinstance(data.get(key), list):
                data[key] = [_found(n, folders, names) if isinstance(n, str) else n for n in data[key]]


def _names(registered: Path | None) -> Collection[str]:
    try:
        return dataset_info.read(registered) if registered is not None else ()
    except DataError:  # found again, and reported, when the rows are read
        return ()


def _found(name: str, folders: Sequence[Path], names: Collection[str]) -> str:
    if name in EMBEDDED or name in names or is_hub(name):
        return name
    candidates = [absolute_path(name, place) for place in folders]
    return str(next((path for path in candidates if path.exists()), candidates[0]))


def absolute_path(path: str, folder: Path) -> Path:
    """Raises ``OSError`` or ``RuntimeError`` for what can't be a path."""
    found = (folder / Path(path).expanduser()).resolve()
    found.exists()  # which a name that no file can have doesn't survive
    return found
