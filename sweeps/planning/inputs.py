"""What a plan needs beside the spec: rows of data, model folders, and the hashes of both."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.planning.conventions import CURRENT, Conventions
from sweeps.spec.tree import CellPath
from trainables import templates
from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.data import dataset_info
from trainables.data.errors import DataError
from trainables.data.loading import Data, load
from trainables.data.sources import EMBEDDED, exists, is_hub
from trainables.methods import own_method
from trainables.methods.own_code import OwnMethodError, is_own_kind
from trainables.models.folder import Architecture, ModelError
from trainables.stages.rewards.own_function import load_beside
from trainables.system.suggestions import message_of
from trainables.templates.settings import own_template, writes_date
from trainables.trial.config import TrialConfig


@dataclass(frozen=True)
class LocalModel:
    """A model that is on this machine. ``writes_date``: its own chat template writes today's date."""

    fingerprint: str
    architecture: Architecture
    writes_date: bool = False


@dataclass(frozen=True)
class MissingInput:
    """Why data or a model is missing."""

    setting: tuple[str, ...]  # the path within data or model of the setting that is at fault
    what: str
    fetched_later: bool = False  # `run` will download it


@dataclass
class InputFinder:
    """Finds models and data, each only once. With ``fetch`` a named model that is not on this machine is downloaded.

    ``date``: what chat templates that write today's date are to write, such as ``2026-11-28``. ``conventions``: what
    settings mean that a spec leaves out.
    """

    fetch: bool = False
    date: str | None = None
    conventions: Conventions = CURRENT
    _models: dict[ModelConfig, LocalModel | MissingInput] = field(default_factory=dict)

    def has_data(self, config: DataConfig) -> bool:
        """Whether every data set that the config names exists."""
        return all(exists(name, config) for name in config.source_names)

    def data(self, config: DataConfig, row_type: type) -> Data | MissingInput:
        """The rows, as the type that a stage needs."""
        try:
            return load(config, row_type)
        except DataError as error:
            return MissingInput(error.setting or ("train",), message_of(error))

    def model(self, config: ModelConfig) -> LocalModel | MissingInput:
        if config not in self._models:
            self._models[config] = self._find_model(config)
        return self._models[config]

    def writes_date(self, config: ModelConfig) -> bool:
        """Whether the model's own chat template writes today's date, as far as it is on this machine."""
        model = self.model(config)
        return isinstance(model, LocalModel) and model.writes_date

    def _find_model(self, config: ModelConfig) -> LocalModel | MissingInput:
        from trainables.models import catalog, locate

        key = "path" if config.name is None else "name"
        try:
            if config.name is not None and not self.fetch and locate.find_source(config.name).local() is None:
                known = catalog.find_shape(config.name) is not None
                memory = (
                    "its memory is predicted by its known dimensions, for rows as long as data.cutoff"
                    if known
                    else "its memory is not predicted"
                )
                what = (
                    f"{config.name} is not on this machine yet, so {memory}; run fetches it, and so does paretune "
                    f"fetch {config.name}"
                )
                return MissingInput((key,), what, fetched_later=True)
            folder = locate.model_folder(config, fetch=self.fetch)
            return LocalModel(
                locate.fingerprint(folder),
                locate.read_architecture(folder),
                writes_date(own_template(folder)),
            )
        except ModelError as error:
            return MissingInput((key,), message_of(error))


def known_architecture(config: TrialConfig) -> Architecture | None:
    """That of the base model, where it is on this machine, and nothing has to be trusted to read it."""
    from trainables.models import locate

    if config.model.unsafe:
        return None
    try:
        return locate.read_architecture(locate.model_folder(config.model))
    except (ModelError, OSError):
        return None


def merge_problem(source: TrialConfig) -> str | None:
    """Why no cell can continue from what a trial trains: an adapter that can't be merged into its base."""
    method = source.method
    if method is None or not method.saves_adapter:
        return None
    architecture = known_architecture(source)
    trained = None if architecture is None else architecture.trained_for(source.stage.task)
    obstacle = method.merge_obstacle(trained)
    return None if obstacle is None else f"its adapter can't be merged into its model: {obstacle}"


class InvalidPath(ValueError):  # noqa: N818
    """A text that can't be a path, such as one of a thousand characters; ``setting`` is where it was written."""

    def __init__(self, setting: CellPath, what: str) -> None:
        super().__init__(what)
        self.setting = setting


def make_paths_absolute(tree: dict[str, Any], folder: Path) -> None:
    """Makes the paths in a trial's tree absolute, in place; relative ones are relative to ``folder``, the spec's. A
    method and rewards of one's own get the path and the hash of their code; that of rewards is run.

    Raises :class:`InvalidPath`.
    """
    model, data, method = tree.get("model"), tree.get("data"), tree.get("method")
    if isinstance(method, dict) and is_own_kind(method.get("kind")):
        method |= own_method.filled(method["kind"])
    if isinstance(model, dict) and isinstance(model.get("path"), str):
        with _path_errors_at("model", "path"):
            model["path"] = str(absolute_path(model["path"], folder))
    if isinstance(data, dict):
        _make_data_paths_absolute(data, folder)
    stage = tree.get("stage")
    if isinstance(stage, dict) and isinstance(stage.get("rewards"), list):
        stage["rewards"] = [_with_code(reward, folder) for reward in stage["rewards"]]


def _with_code(reward: Any, folder: Path) -> Any:
    """A reward with what planning fills in where it is a function of one's own, which this imports."""
    if not isinstance(reward, dict) or reward.get("kind") != "function":
        return reward
    if given := {"code_path", "code_sha256"} & reward.keys():
        raise InvalidPath(("stage", "rewards"), f"unknown key; planning sets {min(given)}. Leave it out")
    try:
        return reward | load_beside(str(reward.get("function")), folder)
    except OwnMethodError as error:
        raise InvalidPath(("stage", "rewards"), str(error)) from error


@contextmanager
def _path_errors_at(*setting: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # too long, a circle of links; ~somebody without a home
        what = f"can't be a path: {getattr(error, 'strerror', None) or error}"
        raise InvalidPath(setting, what) from error


def _make_data_paths_absolute(data: dict[str, Any], folder: Path) -> None:
    written = data.get("folder")
    with _path_errors_at("data", "folder"):
        # Files that are named without `data.folder` are looked for beside the spec, then in its data/.
        folders = [folder, folder / "data"] if written is None else [absolute_path(str(written), folder)]
        registry = next((each for each in folders if (each / dataset_info.FILE).is_file()), None)
    registered_names = _registered_names(registry)
    # Only a registry's folder is kept: file names become absolute below and need no folder.
    data["folder"] = str(registry) if registry is not None else None
    quality = data.get("quality")
    if isinstance(quality, str) and ":" in quality:
        with _path_errors_at("data", "quality"):
            data["quality_file"] = _module_file(quality.partition(":")[0], folder)
    if str(data.get("template")).endswith(templates.SUFFIXES):
        with _path_errors_at("data", "template"):
            data["template"] = str(absolute_path(data["template"], folder))
    for key in ("train", "eval"):
        with _path_errors_at("data", key):
            if key in data:
                data[key] = _data_names(data[key], folders, registered_names)


def _data_names(names: Any, folders: Sequence[Path], registered_names: Collection[str]) -> Any:
    """The name of a data set, a list of these, or a mapping to these of evaluation sets; others as they are."""
    if isinstance(names, str):
        return _data_name(names, folders, registered_names)
    if isinstance(names, list):
        return [_data_names(name, folders, registered_names) for name in names]
    if isinstance(names, dict):
        return {name: _data_names(each, folders, registered_names) for name, each in names.items()}
    return names


def _module_file(module: str, folder: Path) -> str | None:
    """The file of a Python module beside the spec; ``None`` where there is none, so that it must be installed."""
    path = absolute_path(f"{module.replace('.', '/')}.py", folder)
    return str(path) if path.is_file() else None


def _registered_names(registry: Path | None) -> Collection[str]:
    """The data sets that a folder's ``dataset_info.json`` names."""
    try:
        return dataset_info.read_registry(registry) if registry is not None else ()
    except DataError:  # happens again, and is reported, when the rows are read
        return ()


def _data_name(name: str, folders: Sequence[Path], registered_names: Collection[str]) -> str:
    """A data set's name as it is, or the absolute path of a data file in one of the folders."""
    if name in EMBEDDED or name in registered_names or is_hub(name):
        return name
    # A file that exists nowhere gets its first place, which the error about it then names.
    candidates = [absolute_path(name, folder) for folder in folders]
    return str(next((path for path in candidates if path.exists()), candidates[0]))


def absolute_path(path: str, folder: Path) -> Path:
    """``path`` made absolute from ``folder``. Raises ``OSError`` or ``RuntimeError`` for what can't be a path."""
    resolved = (folder / Path(path).expanduser()).resolve()
    resolved.exists()  # raises OSError for a name that no file can have
    return resolved
