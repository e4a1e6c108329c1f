"""The weights that a trial starts from: its base model's, or what an earlier trial made of that.

Whole weights are taken as they are; an adapter is merged into what it was trained on, once, in the run's folder
(``merged/TRIAL_ID``), and its trial may itself have started from another's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainables.config.model import ModelConfig
from trainables.config.trained_model import Trained
from trainables.models import locate
from trainables.models.folder import ModelError
from trainables.storage import files
from trainables.storage.locks import locked
from trainables.training.checkpoints import is_complete, is_shared
from trainables.training.worker_group import save_here
from trainables.trial.config import TrialConfig
from trainables.trial.staged_inputs import Given


def of(path: Path) -> Trained:
    """What a trial left, by its folder or the ``model`` folder in it; or any other folder that holds a model.

    Raises ``ModelError`` for one that holds none.
    """
    folder = path / "model" if (path / "model").is_dir() else path
    if is_shared(folder):
        raise ModelError(
            f"{path} is in as many shares as there were workers, to be resumed; give the trial's model"
        )
    # A trial's own config.json is no model's: it stands beside a record.
    if (
        not any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))
        or (folder / "record.json").is_file()
    ):
        raise ModelError(
            f"{path} holds no model: give the folder of a finished trial, or the model folder in it"
        )
    refuse_pickles(folder)
    config = trial(folder)
    if config is None:
        return Trained(trial=locate.fingerprint(folder)[:12], folder=folder)
    name, _, step = folder.name.partition("-")
    if name != "checkpoint":
        return Trained(trial=config.trial_id(), folder=folder)
    if not is_complete(folder):
        raise ModelError(f"{path} was not written to its end, or was damaged since; take another checkpoint")
    return Trained(trial=f"{config.trial_id()}@{step}", folder=folder)


def refuse_pickles(folder: Path) -> None:
    """Raises ``ModelError`` where a trial's weights are not safetensors: PEFT would take a pickle for want of them."""
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{folder} has no weights as safetensors, and others are not read")


def trial(folder: Path | None) -> TrialConfig | None:
    """The trial that left the model in ``folder``; ``None`` where that isn't written beside it."""
    path = folder.parent / "config.json" if folder is not None else None
    if path is None or not path.is_file():
        return None
    try:
        return TrialConfig.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValueError:
        return None


def weights(model: ModelConfig, run: Path) -> Path:
    """The folder to load a model's weights from.

    Raises ``ModelError`` where the base, or a trial on the way to it, isn't there.
    """
    start = model.start
    if start is None:
        return locate.folder(Given.of(run).model(model))
    if start.folder is None or not start.folder.is_dir():
        raise ModelError(f"{start.label} has left no model at {start.folder}")
    if not start.is_adapter:
        return start.folder
    merged = run / "merged" / str(start.trial)
    merged.parent.mkdir(parents=True, exist_ok=True)
    with locked(merged.with_name(f".{merged.name}.lock")):
        if not merged.is_dir():
            with files.atomic_folder(merged) as unfinished:
                _merge(start.folder, run, unfinished, model.unsafe)
    return merged


def _merge(adapter: Path, run: Path, into: Path, unsafe: Sequence[str]) -> None:
    """Writes the adapter's sum with what it was trained on: an unquantized base, whatever it was trained on.

    ``unsafe`` is what the spec trusts: that the adapter's own trial trusted more says nothing, for its folder may be
    somebody else's.
    """
    refuse_pickles(adapter)
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from trainables.models.merge_adapter import merged
    from trainables.trial.loading import model_config

    config = trial(adapter)
    if config is None:
        raise ModelError(f"{adapter} is an adapter, and no config.json beside it says what of")
    trusted = tuple(what for what in config.model.unsafe if what in unsafe)
    described = config.model.model_copy(update={"unsafe": trusted})
    below = weights(moved_along(described, adapter), run)
    base: Any = AutoModelForCausalLM.from_pretrained(
        below,
        config=model_config(described, below, config.data.cutoff),
        dtype=config.model.dtype,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=described.runs_remote_code,
    )
    save_here(merged(PeftModel.from_pretrained(base, str(adapter))), into)
    remote = described.runs_remote_code
    tokenizer = AutoTokenizer.from_pretrained(adapter, local_files_only=True, trust_remote_code=remote)
    tokenizer.save_pretrained(into)


def moved_along(model: ModelConfig, beside: Path) -> ModelConfig:
    """The model with its start looked for beside the trial that started from it: a run's folder may move."""
    start = model.start
    if start is None or start.folder is None or start.folder.is_dir():
        return model
    folder = beside.parent.parent / str(start.trial) / "model"
    return model.model_copy(update={"start": start.model_copy(update={"folder": folder})})
