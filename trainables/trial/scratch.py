"""A node's scratch folder for a run at a URL: trials in training, and the models that they start from.

It is in ``PARETUNE_SCRATCH`` if set, else in ``PARETUNE_HOME``. What several trials use (models, merged models,
measured memory) is kept for the run's next trials.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from trainables.config.trained_model import TrainedModel
from trainables.storage import files, urls
from trainables.storage.home import home
from trainables.storage.locks import locked
from trainables.storage.names import checked_part
from trainables.storage.url_store import Store
from trainables.trial.config import TrialConfig
from trainables.trial.staged_inputs import StagedInputs

LAST_FILE = "config.json"  # uploaded last: a merged model that has it is complete


def scratch_folder(url: str) -> Path:
    """The folder for the run at ``url``; one per node, as several nodes may share a home."""
    scratch = os.environ.get("PARETUNE_SCRATCH")
    base = Path(scratch).expanduser().resolve() if scratch else home() / "scratch"
    return base / socket.gethostname() / files.sha256(url)[:12] / url.rpartition("/")[2]


def local_run_folder(run: str) -> Path:
    """The folder on this node to work in, for a run in a folder or at a URL."""
    return scratch_folder(run) if urls.is_url(run) else Path(run)


def read_run_file(run: str, name: str) -> str:
    """The text of a file of a run, which is in a folder or at a URL. Raises ``FileNotFoundError``."""
    if not urls.is_url(run):
        return (Path(run) / name).read_text(encoding="utf-8")
    content = Store(run).read(name)
    if content is None:
        raise FileNotFoundError(f"{run}/{name}")
    return content.decode()


def download_run_file(store: Store, run: Path, name: str) -> None:
    """Downloads the current version of a small file of the run, if the run has it."""
    content = store.read(name)
    if content is not None:
        files.write_text(run / name, content.decode())


def download_start_models(config: TrialConfig, store: Store, run: Path, staged: StagedInputs) -> TrialConfig:
    """The trial with local copies of the models that it uses from other trials of its run."""
    local: dict[str, dict[str, TrainedModel]] = {"model": {}, "stage": {}}
    for part, key, trained in config.trained():
        if trained.cell is not None and trained.trial is not None:
            folder = _download_start(trained.trial, store, run, staged)
            local[part][key] = trained.model_copy(update={"folder": folder})
    return config.model_copy(
        update={
            "model": config.model.model_copy(update=local["model"]),
            "stage": config.stage.model_copy(update=local["stage"]),
        }
    )


def _download_start(trial_id: str, store: Store, run: Path, staged: StagedInputs) -> Path:
    """A local copy of a trial's model; for an adapter also of the merged model, or of what merging it takes."""
    folder = run / "starts" / checked_part(trial_id)  # before the lock, which is called by it, too
    with locked(run / "locks" / f"start-{trial_id}"):
        if not folder.exists():
            _download_trial(trial_id, store, folder, staged)
        is_adapter = (folder / "model" / "adapter_config.json").exists()
        if is_adapter:
            _download_merged(trial_id, store, run)
    # No node has uploaded the merged model yet: this one merges it, which takes the weights below.
    if is_adapter and not (run / "merged" / trial_id).is_dir():
        parent = _config(folder).model.start
        if parent is not None and parent.cell is not None and parent.trial is not None:
            _download_start(parent.trial, store, run, staged)
    return folder / "model"


def _config(folder: Path) -> TrialConfig:
    return TrialConfig.model_validate(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def _download_trial(trial_id: str, store: Store, folder: Path, staged: StagedInputs) -> None:
    remote = store.within(f"trials/{trial_id}")
    names = {name: entry for name, entry in remote.list().items() if name.startswith("model/")}
    with files.atomic_folder(folder) as unfinished:
        remote.pull([*names, "config.json"], unfinished, names)
        config = _config(unfinished)
        # Merging an adapter reads this file to find the weights that it was trained on.
        local = config.model_copy(update={"model": staged.local_model(config.model)})
        files.write_json(unfinished / "config.json", local.model_dump(mode="json"))


def _download_merged(trial_id: str, store: Store, run: Path) -> None:
    folder, remote = run / "merged" / trial_id, store.within(f"merged/{trial_id}")
    names = remote.list()
    if not folder.is_dir() and LAST_FILE in names:
        with files.atomic_folder(folder) as unfinished:
            remote.pull(names, unfinished, names)


def upload_merged(store: Store, run: Path, trial_id: str | None) -> None:
    """Uploads a merged model once, so that other nodes start from the same weights."""
    if trial_id is None:
        return
    folder = run / "merged" / checked_part(trial_id)
    mark = run / "locks" / f"merged-{trial_id}"
    if not folder.is_dir() or mark.exists():
        return
    remote = store.within(f"merged/{trial_id}")
    if LAST_FILE not in remote.list():
        names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        remote.push(folder, [name for name in names if name != LAST_FILE])
        remote.push(folder, [LAST_FILE])
    mark.touch()
