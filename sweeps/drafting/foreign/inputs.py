"""The model and the data that another tool's configuration names, as far as they are on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.drafting.foreign.carry_over import CarryOver, as_list, is_on
from sweeps.drafting.foreign.shell_words import is_shell_value
from trainables.data import dataset_info
from trainables.data.errors import DataError
from trainables.data.sources import EMBEDDED
from trainables.models import locate
from trainables.models.folder import ModelError

MAX_DIGITS = 16  # of a number of rows
MOST_PARENTS = 4  # folders above a configuration in which its relative paths may begin


@dataclass(frozen=True)
class ForeignInputs:
    """``model`` and ``data``: settings of these sections, with absolute paths; ``model_line``, ``data_line``: where
    they were named. ``missing``: what isn't here, in sentences, and what to do.
    """

    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    model_line: int = 0
    data_line: int = 0
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def find_inputs(carried: CarryOver) -> ForeignInputs:
    """Finds the model and the data sets that a configuration names."""
    missing: list[str] = []
    notes: list[str] = []
    values = carried.file.values
    lines = {setting.key: setting.line for setting in carried.file.settings}
    folders = _folders(carried.file.file)
    is_swift = carried.file.tool == "ms-swift"
    hub = "ms" if _is_from_modelscope(carried) else "hf"
    model_key = next(
        (key for key in ("model", "model_id_or_path", "model_name_or_path") if key in values), ""
    )
    model = _model(values.get(model_key), values.get("model_revision"), folders, hub, missing)
    find = _swift_data if is_swift else _llama_factory_data
    data = find(values, folders, hub, missing, notes)
    return ForeignInputs(
        model, data, lines.get(model_key, 0), lines.get("dataset", 0), tuple(missing), tuple(notes)
    )


def _is_from_modelscope(carried: CarryOver) -> bool:
    if carried.file.tool == "ms-swift":
        return not is_on(carried.file.values.get("use_hf"))
    return is_on(carried.file.variables.get("USE_MODELSCOPE_HUB"))


def _folders(file: Path) -> list[Path]:
    """Where relative paths of a configuration may begin: where one stands, its folder, and those above it."""
    return list(dict.fromkeys([Path.cwd(), *file.resolve().parents[:MOST_PARENTS]]))


def _existing(name: str, folders: list[Path]) -> Path | None:
    try:
        path = Path(name).expanduser()
        return next((folder / path for folder in folders if (folder / path).exists()), None)
    except (OSError, ValueError, RuntimeError):  # a text that no file can be called, or the home of nobody
        return None


def _model(name: Any, revision: Any, folders: list[Path], hub: str, missing: list[str]) -> dict[str, Any]:
    if not isinstance(name, str) or not name or is_shell_value(name):
        missing.append("model.name: the file names no model; give one with --model")
        return {}
    if (path := _existing(name, folders)) is not None:
        return {"path": str(path.resolve())}
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        at = f"@{revision}" if revision not in (None, "", "main", "master") else ""
        return {"name": f"{hub}:{name}{at}"}
    try:
        locate.find_source(name)
    except ModelError:
        missing.append(f"model.path: {name} isn't on this machine; give the model with --model")
        return {"path": name}
    return {"name": name}


def _llama_factory_data(
    values: dict[str, Any], folders: list[Path], hub: str, missing: list[str], notes: list[str]
) -> dict[str, Any]:
    folder = str(values.get("dataset_dir", "data"))
    if folder == "ONLINE":
        return _named(values, lambda name: f"{hub}:{name}", missing)
    places = [place for base in folders for place in (base / folder, base)]
    if (named := _existing(folder, folders)) is not None:
        places.insert(0, named)
    registries = [place for place in dict.fromkeys(places) if _existing(dataset_info.FILE, [place])]
    wanted = [*as_list(values.get("dataset") or []), *as_list(values.get("eval_dataset") or [])]
    registry = next(
        (place for place in registries if any(name in _registered(place) for name in wanted)), None
    )

    def find(name: str) -> str:
        if registry is not None and name in _registered(registry):
            return name
        if name in EMBEDDED:
            return name
        if (path := _existing(name, [*folders, *places])) is not None:
            return str(path.resolve())
        looked = ", ".join(str(place) for place in registries[:2]) or f"{folder}, which isn't here"
        missing.append(
            f"data.train: no dataset_info.json has the data set {name} (looked in {looked}); give a file, or its "
            "folder in data.folder"
        )
        return name

    data = _named(values, find, missing)
    return data | ({"folder": str(registry.resolve())} if registry is not None else {})


def _registered(folder: Path) -> list[str]:
    try:
        return list(dataset_info.read_registry(folder))
    except DataError:
        return []


def _named(values: dict[str, Any], find: Any, missing: list[str]) -> dict[str, Any]:
    """``train`` and ``eval`` of LLaMA-Factory's keys, with each name as ``find`` has it."""
    data: dict[str, Any] = {}
    for key, setting in (("dataset", "train"), ("eval_dataset", "eval")):
        listed = [find(name) for name in as_list(values.get(key) or []) if not is_shell_value(name)]
        if listed:
            data[setting] = listed if len(listed) > 1 else listed[0]
    if "train" not in data:
        missing.append("data.train: the file names no data; give it with --set data.train=FILE")
    return data


def _swift_data(
    values: dict[str, Any], folders: list[Path], hub: str, missing: list[str], notes: list[str]
) -> dict[str, Any]:
    data: dict[str, Any] = {}
    counts: list[int | None] = []
    for key, setting in (("dataset", "train"), ("val_dataset", "eval")):
        names = [str(name) for name in _listed(values.get(key)) if not is_shell_value(name)]
        found = [_swift_name(name, folders, hub, counts if setting == "train" else []) for name in names]
        if found:
            data[setting] = found if len(found) > 1 else found[0]
    if "train" not in data:
        missing.append("data.train: the file names no data; give it with --set data.train=FILE")
    given = {count for count in counts if count is not None}
    if len(given) == 1 and None not in counts:
        data["num_samples"] = given.pop()
    elif given and None not in counts:
        data["num_samples"] = list(counts)
    elif given:
        notes.append(
            "some data sets have a number of rows behind #, and here num_samples is of all of them: leave out"
        )
    return data


def _listed(value: Any) -> Iterator[Any]:
    yield from value if isinstance(value, list) else [value] if value else []


def _swift_name(name: str, folders: list[Path], hub: str, counts: list[int | None]) -> str:
    """A data set ``id_or_path:subset#count``; adds the count."""
    path, _, count = name.partition("#")
    counts.append(int(count) if count.isdecimal() and len(count) < MAX_DIGITS else None)
    if (existing := _existing(path, folders)) is not None:
        return str(existing.resolve())
    if path.count("/") != 1 or path.startswith((".", "/", "~")):
        return path  # a file that isn't here, which the plan says
    repository, _, subset = path.partition(":")
    return f"{hub}:{repository}" + (f":{subset}" if subset not in ("", "default") else "")
