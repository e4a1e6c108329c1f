"""Which files trials read from the driver's disk: those of their models and data, by the path or name in the spec."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.config.trained_model import TrainedModel
from trainables.data import dataset_info
from trainables.data.sources import EMBEDDED, is_hub, resolve
from trainables.methods import own_method
from trainables.models import locate
from trainables.models.folder import find_pickles
from trainables.models.hub import DOWNLOADED, IGNORED
from trainables.stages.rewards.stage import own_rewards
from trainables.storage import files
from trainables.trial import staged_inputs, starting_weights
from trainables.trial.config import TrialConfig


@dataclass(frozen=True)
class InputFiles:
    """The files of one model, data set or template, and where copies of them go.

    ``key`` is how a config names it, and ``copy_path`` the path of the copy that replaces it. ``files`` maps the path
    of each copy to the file's own path and its size in bytes. Paths of copies are relative to the folder of all staged
    inputs.
    """

    key: str
    copy_path: str
    files: Mapping[str, tuple[Path, int]]

    @property
    def hash(self) -> str:
        """The name of the copies' own folder: a hash of the files' paths, sizes and times."""
        return self.copy_path.partition("/")[0]

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.files.values())

    def to_json(self) -> dict[str, Any]:
        """The entry of these inputs in ``given.json``."""
        return {
            "at": self.copy_path,
            "files": {name: [str(path), size] for name, (path, size) in self.files.items()},
        }


def find_input_files(configs: Iterable[TrialConfig]) -> list[InputFiles]:
    """The inputs of these trials, each once."""
    inputs = (each for config in configs for each in _trial_inputs(config))
    return list({each.key: each for each in inputs}.values())


def _trial_inputs(config: TrialConfig) -> Iterator[InputFiles]:
    yield from _model_inputs(config.model)
    yield from _data_inputs(config.data)
    if (code := own_method.code_of(config.method)) is not None:
        yield _input_files(str(code.path), code.path.name, code.files)
    for reward in own_rewards(config.stage):
        if (code := reward.code()) is not None:
            yield _input_files(str(code.path), code.path.name, code.files)
    for _, _, trained in config.trained():
        yield from _trained_model_inputs(trained)


def _model_inputs(model: ModelConfig) -> Iterator[InputFiles]:
    if model.path is not None:
        path = model.path.expanduser()
        yield _input_files(str(model.path), path.name, _model_files(path, model))
    elif model.name is not None and (folder := locate.find_source(model.name).local()) is not None:
        yield _input_files(staged_inputs.model_key(model.name), model.name, _model_files(folder, model))


def _model_files(path: Path, model: ModelConfig) -> dict[str, Path]:
    if path.is_file():
        # The empty name stands for the file itself, whose copy needs no folder of its own.
        return {"": path}
    selected = [file for file in path.iterdir() if file.is_file() and _is_model_file(file.name)]
    selected += find_pickles(path) if "pickle" in model.unsafe else []
    selected += (path / "additional_chat_templates").glob("*")
    return {str(file.relative_to(path)): file for file in selected}


def _is_model_file(name: str) -> bool:
    return any(fnmatch(name, each) for each in DOWNLOADED) and not any(
        fnmatch(name, each) for each in IGNORED
    )


def _data_inputs(data: DataConfig) -> Iterator[InputFiles]:
    registered = dataset_info.read_registry(data.folder) if data.folder is not None else {}
    from_folder: dict[str, Path] = {}  # files of registered data sets, by their names in the data folder
    for name in data.source_names:
        if name in EMBEDDED:
            continue
        paths = resolve(name, data).files
        if name in registered and data.folder is not None:
            # A registry names its files by paths relative to itself, so all are copied into one folder.
            from_folder |= {
                str(p.relative_to(data.folder)): p for p in paths if p.is_relative_to(data.folder)
            }
        else:
            yield _source_inputs(name, data.folder, paths)
    if from_folder and data.folder is not None:
        from_folder[dataset_info.FILE] = data.folder / dataset_info.FILE
        yield _input_files(str(data.folder), data.folder.name, from_folder)
    if data.template is not None and Path(data.template).is_file():
        yield _input_files(data.template, Path(data.template).name, {"": Path(data.template)})
    if data.quality_file is not None:
        yield _input_files(str(data.quality_file), data.quality_file.name, {"": data.quality_file})


def _source_inputs(name: str, folder: Path | None, paths: tuple[Path, ...]) -> InputFiles:
    path = staged_inputs.absolute_path(name, folder)
    if not is_hub(name) and path.is_file():
        return _input_files(str(path), path.name, {"": path})
    # A folder, a pattern, or a hub's files: numbered, because data is read in the order of the copies' names.
    numbered = {f"{number:05d}-{each.name}": each for number, each in enumerate(paths)}
    inputs = _input_files(staged_inputs.data_key(name, folder), "data", numbered)
    return replace(inputs, copy_path=f"{inputs.copy_path}/*")


def _trained_model_inputs(trained: TrainedModel) -> Iterator[InputFiles]:
    """The model of a trial of another run, and all the models that one was trained from."""
    # A model of this run's own cells is in the run, where every node finds it.
    if trained.cell is not None or trained.folder is None:
        return
    paths, folder = _model_by_trial(trained.folder), trained.folder
    while (config := starting_weights.read_trial(folder)) is not None:
        paths |= _model_by_trial(folder) | {
            f"{folder.parent.name}/config.json": folder.parent / "config.json"
        }
        yield from _model_inputs(config.model)
        # An adapter is merged into the weights that it was trained on, so its ancestors are needed too.
        parent = starting_weights.with_moved_start(config.model, folder).start
        if parent is None or parent.folder is None:
            break
        folder = parent.folder
    inputs = _input_files(str(trained.folder), "", paths)
    # A trial's config is looked for beside its model's folder, so both keep their places in the copy.
    yield replace(inputs, copy_path=f"{inputs.hash}/{trained.folder.parent.name}/{trained.folder.name}")


def _model_by_trial(folder: Path) -> dict[str, Path]:
    """The files of a trial's model by TRIAL/FOLDER/NAME, so that the models of several trials lie side by side."""
    files = (file for file in folder.iterdir() if file.is_file())
    return {f"{folder.parent.name}/{folder.name}/{file.name}": file for file in files}


def _input_files(key: str, name: str, paths: Mapping[str, Path]) -> InputFiles:
    stats = {inner: path.stat() for inner, path in sorted(paths.items())}
    # Sizes and times stand for the contents, because hashing a large model takes minutes.
    identity = [[inner, str(paths[inner]), stat.st_size, stat.st_mtime_ns] for inner, stat in stats.items()]
    copy_path = "/".join(part for part in (files.sha256(identity)[:12], name) if part)
    copies = {
        f"{copy_path}/{inner}" if inner else copy_path: (paths[inner], stat.st_size)
        for inner, stat in stats.items()
    }
    return InputFiles(key, copy_path, copies)
