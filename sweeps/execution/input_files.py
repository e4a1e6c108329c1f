"""What trials read from the driver's disk: the files of their models and data, by the path or name that a spec has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.config.trained_model import Trained
from trainables.data import dataset_info
from trainables.data.sources import EMBEDDED, is_hub, resolve
from trainables.models import locate
from trainables.models.folder import pickles
from trainables.models.hub import UNWANTED, WANTED
from trainables.storage import files
from trainables.trial import staged_inputs, starting_weights
from trainables.trial.config import TrialConfig


@dataclass(frozen=True)
class Thing:
    """``key`` is how a config names it, ``at`` where that is among the copies; ``files``: (path, bytes) by copy."""

    key: str
    at: str
    files: Mapping[str, tuple[Path, int]]

    @property
    def hash(self) -> str:
        """The copies' own folder."""
        return self.at.partition("/")[0]

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.files.values())

    def to_json(self) -> dict[str, Any]:
        named = {name: [str(path), size] for name, (path, size) in self.files.items()}
        return {"at": self.at, "files": named}


def of(configs: Iterable[TrialConfig]) -> list[Thing]:
    """What these trials need, each once."""
    found = (thing for config in configs for thing in _of_trial(config))
    return list({thing.key: thing for thing in found}.values())


def _of_trial(config: TrialConfig) -> Iterator[Thing]:
    yield from _of_model(config.model)
    yield from _of_data(config.data)
    for _, _, trained in config.trained():
        yield from _of_trained(trained)


def _of_model(model: ModelConfig) -> Iterator[Thing]:
    if model.path is not None:
        path = model.path.expanduser()
        yield _thing(str(model.path), path.name, _model_files(path, model))
    elif model.name is not None and (folder := locate.source(model.name).local()) is not None:
        yield _thing(staged_inputs.by_name(model.name), model.name, _model_files(folder, model))


def _model_files(path: Path, model: ModelConfig) -> dict[str, Path]:
    if path.is_file():
        return {"": path}
    kept = [file for file in path.iterdir() if file.is_file() and _is_of_a_model(file.name)]
    kept += pickles(path) if "pickle" in model.unsafe else []
    kept += (path / "additional_chat_templates").glob("*")
    return {str(file.relative_to(path)): file for file in kept}


def _is_of_a_model(name: str) -> bool:
    return any(fnmatch(name, each) for each in WANTED) and not any(fnmatch(name, each) for each in UNWANTED)


def _of_data(data: DataConfig) -> Iterator[Thing]:
    registered = dataset_info.read(data.folder) if data.folder is not None else {}
    used: dict[str, Path] = {}
    for name in (*data.names, *data.eval_names):
        if name in EMBEDDED:
            continue
        paths = resolve(name, data).files
        if name in registered and data.folder is not None:
            used |= {str(p.relative_to(data.folder)): p for p in paths if p.is_relative_to(data.folder)}
        else:
            yield _of_paths(name, data.folder, paths)
    if used and data.folder is not None:
        used[dataset_info.FILE] = data.folder / dataset_info.FILE
        yield _thing(str(data.folder), data.folder.name, used)
    if data.template is not None and Path(data.template).is_file():
        yield _thing(data.template, Path(data.template).name, {"": Path(data.template)})


def _of_paths(name: str, folder: Path | None, paths: tuple[Path, ...]) -> Thing:
    path = staged_inputs.absolute(name, folder)
    if not is_hub(name) and path.is_file():
        return _thing(str(path), path.name, {"": path})
    # A folder, a pattern, a hub's files: read in the order of their names.
    numbered = {f"{number:05d}-{each.name}": each for number, each in enumerate(paths)}
    thing = _thing(staged_inputs.key(name, folder), "data", numbered)
    return replace(thing, at=f"{thing.at}/*")


def _of_trained(trained: Trained) -> Iterator[Thing]:
    """What a trial of another run has left, and what that was trained on."""
    if trained.cell is not None or trained.folder is None:
        return
    found, folder = _left_in(trained.folder), trained.folder
    while (config := starting_weights.trial(folder)) is not None:
        found |= _left_in(folder) | {f"{folder.parent.name}/config.json": folder.parent / "config.json"}
        yield from _of_model(config.model)
        below = starting_weights.moved_along(config.model, folder).start
        if below is None or below.folder is None:
            break
        folder = below.folder
    thing = _thing(str(trained.folder), "", found)
    yield replace(thing, at=f"{thing.hash}/{trained.folder.parent.name}/{trained.folder.name}")


def _left_in(folder: Path) -> dict[str, Path]:
    """A model's files, by their names beside other trials'."""
    files = (file for file in folder.iterdir() if file.is_file())
    return {f"{folder.parent.name}/{folder.name}/{file.name}": file for file in files}


def _thing(key: str, name: str, paths: Mapping[str, Path]) -> Thing:
    found = {inner: path.stat() for inner, path in sorted(paths.items())}
    told = [[inner, str(paths[inner]), stat.st_size, stat.st_mtime_ns] for inner, stat in found.items()]
    at = "/".join(part for part in (files.sha256(told)[:12], name) if part)
    named = {f"{at}/{inner}" if inner else at: (paths[inner], stat.st_size) for inner, stat in found.items()}
    return Thing(key, at, named)
