"""The models that pages offer: those of runs, base models in the cache, and model folders below the data folder.

A page names a choice by ``run:KEY``, ``run:KEY:CELL``, ``run:KEY:TRIAL``, ``run:KEY:TRIAL@STEP``, ``base:NAME`` or
``folder:RELATIVE``; the path or URL that a command gets is looked up here.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.ui.context import Ui
from sweeps.ui.roots import below

TRAINED = ("done", "stopped")  # statuses of trials that may have left a model
STEP = re.compile(r"@\d{1,12}")
BASES_SECONDS = 30.0
READ_SECONDS = 3.0  # for a run that nobody has looked at yet


class WrongChoice(ValueError):  # noqa: N818
    """A model that there is not; the message can be shown."""


@dataclass(frozen=True)
class ModelChoice:
    """``argument`` is what commands take; it never begins with a dash. ``label`` is shorter, for people."""

    id: str
    argument: str
    label: str


@dataclass
class BaseModels:
    """The base models of the catalogue that are on this machine, looked for anew every half a minute."""

    _names: list[str] = field(default_factory=list)
    _looked: float = float("-inf")
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def names(self) -> list[str]:
        from trainables.models.locate import NAMED_MODELS

        with self._lock:
            if time.monotonic() - self._looked > BASES_SECONDS:
                self._names = [name for name, source in NAMED_MODELS.items() if source.local() is not None]
                self._looked = time.monotonic()
            return self._names


BASES = BaseModels()


def chosen_model(ui: Ui, choice: object) -> ModelChoice:
    """The model that a page names. May block on a slow disk. Raises :class:`WrongChoice`, ``OutsideRoot``."""
    if not isinstance(choice, str) or ":" not in choice:
        raise WrongChoice("choose a model")
    kind, _, rest = choice.partition(":")
    if kind == "run":
        return _of_run(ui, choice, rest)
    if kind == "base":
        if rest not in BASES.names():
            raise WrongChoice(f"{rest} is not a base model on this machine")
        return ModelChoice(choice, rest, rest)
    if kind == "folder":
        return _in_folder(ui, choice, rest)
    raise WrongChoice("choose a model")


def _of_run(ui: Ui, choice: str, rest: str) -> ModelChoice:
    key, _, part = rest.partition(":")
    entry = ui.runs.get(key)
    if entry is None:
        raise WrongChoice("this run is no longer in the list of runs")
    if not part:
        return ModelChoice(choice, entry.location, entry.name)
    trial, step = part, ""
    if match := STEP.search(part):
        trial, step = part[: match.start()], match[0]
    state = _state(ui, key)
    cells = {each["cell"] for each in state.get("cells", ())}
    trials = {row["id"] for row in state.get("rows", ())}
    if not (trial in trials or (part in cells and not step)) or trial + step != part:
        raise WrongChoice(f"{entry.name} has no cell or trial {part}")
    return ModelChoice(choice, f"{entry.location}:{part}", f"{entry.name}:{part}")


def _in_folder(ui: Ui, choice: str, relative: str) -> ModelChoice:
    path = below(ui.settings.data_folder, relative)
    if not path.is_dir():
        raise WrongChoice(f"{relative} is not a folder below {ui.settings.data_folder}")
    if not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise WrongChoice(f"{relative} has no model: neither config.json nor adapter_config.json is in it")
    return ModelChoice(choice, str(path), relative)


def _state(ui: Ui, key: str) -> dict[str, Any]:
    followed = ui.snapshots.state(key, READ_SECONDS)
    state: dict[str, Any] = followed.to_json() if followed is not None else {}
    return state


def offered_models(ui: Ui) -> dict[str, Any]:
    """The runs and base models to choose from."""
    runs = [
        {"key": each["key"], "name": each["name"], "place": each["place"]}
        for each in ui.snapshots.summaries()
    ]
    return {"runs": runs, "bases": BASES.names(), "data_folder": str(ui.settings.data_folder)}


def models_of_run(ui: Ui, key: str) -> dict[str, Any]:
    """The cells and trials of a run that may have a model. Raises :class:`WrongChoice` for a run that there is not."""
    entry = ui.runs.get(key)
    if entry is None:
        raise WrongChoice("this run is no longer in the list of runs")
    state = _state(ui, key)
    rows = [row for row in state.get("rows", ()) if row["status"] in TRAINED and row["role"] != "base"]
    rows = [row for row in rows if _has_model(entry.folder, row["id"])]
    cells = [
        each["cell"] for each in state.get("cells", ()) if any(row["cell"] == each["cell"] for row in rows)
    ]
    names = ("id", "cell", "status", "role", "quality", "quality_name", "quality_unit")
    return {"cells": cells, "trials": [{name: row[name] for name in names} for row in rows]}


def _has_model(run: Path | None, trial: str) -> bool:
    """Whether a trial kept its model; of a run at a URL this is not known."""
    return run is None or (run / "trials" / trial / "model").is_dir()
