"""A node's scratch folder for a run whose folder is a URL: trials in training, and the models that they start from.

``PARETUNE_SCRATCH`` says where, else it is in ``PARETUNE_HOME``. What is shared by trials (models, merged ones, memory
that was measured) stays for the run's next trials.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from trainables.config.trained_model import Trained
from trainables.storage import files, urls
from trainables.storage.home import home
from trainables.storage.locks import locked
from trainables.storage.url_store import Store
from trainables.trial.config import TrialConfig
from trainables.trial.staged_inputs import Given

LAST = "config.json"  # of a merged model: it is whole where that is


def of(url: str) -> Path:
    """The folder for the run at ``url``. A home that several nodes share has one for each."""
    place = os.environ.get("PARETUNE_SCRATCH")
    base = Path(place).expanduser().resolve() if place else home() / "scratch"
    return base / socket.gethostname() / files.sha256(url)[:12] / url.rpartition("/")[2]


def local(run: str) -> Path:
    """The folder to work in, on this node, for a run that is a folder or at a URL."""
    return of(run) if urls.is_url(run) else Path(run)


def text(run: str, name: str) -> str:
    """A file of a run that is a folder or at a URL. Raises ``FileNotFoundError``."""
    if not urls.is_url(run):
        return (Path(run) / name).read_text(encoding="utf-8")
    content = Store(run).read(name)
    if content is None:
        raise FileNotFoundError(f"{run}/{name}")
    return content.decode()


def bring(store: Store, run: Path, name: str) -> None:
    """Brings a small file of the run, as it is now, if it has it."""
    content = store.read(name)
    if content is not None:
        files.write_text(run / name, content.decode())


def started(config: TrialConfig, store: Store, run: Path, given: Given) -> TrialConfig:
    """The trial with the models of its own run that it takes from others brought here."""
    taken: dict[str, dict[str, Trained]] = {"model": {}, "stage": {}}
    for part, key, trained in config.trained():
        if trained.cell is not None and trained.trial is not None:
            folder = _start(trained.trial, store, run, given)
            taken[part][key] = trained.model_copy(update={"folder": folder})
    return config.model_copy(
        update={
            "model": config.model.model_copy(update=taken["model"]),
            "stage": config.stage.model_copy(update=taken["stage"]),
        }
    )


def _start(trial_id: str, store: Store, run: Path, given: Given) -> Path:
    """The model that a trial has left, here; of an adapter also what it was merged into, or what merging takes."""
    folder = run / "starts" / trial_id
    with locked(run / "locks" / f"start-{trial_id}"):
        if not folder.exists():
            _bring_trial(trial_id, store, folder, given)
        is_adapter = (folder / "model" / "adapter_config.json").exists()
        if is_adapter:
            _bring_merged(trial_id, store, run)
    if is_adapter and not (run / "merged" / trial_id).is_dir():
        below = _config(folder).model.start
        if below is not None and below.cell is not None and below.trial is not None:
            _start(below.trial, store, run, given)
    return folder / "model"


def _config(folder: Path) -> TrialConfig:
    return TrialConfig.model_validate(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def _bring_trial(trial_id: str, store: Store, folder: Path, given: Given) -> None:
    there = store.within(f"trials/{trial_id}")
    names = {name: entry for name, entry in there.list().items() if name.startswith("model/")}
    with files.atomic_folder(folder) as unfinished:
        there.pull([*names, "config.json"], unfinished, names)
        config = _config(unfinished)
        # Who merges an adapter looks there for what it was trained on.
        placed = config.model_copy(update={"model": given.model(config.model)})
        files.write_json(unfinished / "config.json", placed.model_dump(mode="json"))


def _bring_merged(trial_id: str, store: Store, run: Path) -> None:
    folder, there = run / "merged" / trial_id, store.within(f"merged/{trial_id}")
    names = there.list()
    if not folder.is_dir() and LAST in names:
        with files.atomic_folder(folder) as unfinished:
            there.pull(names, unfinished, names)


def share_merged(store: Store, run: Path, trial_id: str | None) -> None:
    """Has other nodes start from the same merged weights as this one."""
    folder = run / "merged" / str(trial_id)
    mark = run / "locks" / f"merged-{trial_id}"
    if trial_id is None or not folder.is_dir() or mark.exists():
        return
    there = store.within(f"merged/{trial_id}")
    if LAST not in there.list():
        names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        there.push(folder, [name for name in names if name != LAST])
        there.push(folder, [LAST])
    mark.touch()
