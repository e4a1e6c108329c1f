"""The weights that a trial starts from: its base model's, or those that another trial trained.

Whole weights are loaded as they are. An adapter is merged, once, into the weights that it was trained on, in the run
folder (``merged/TRIAL_ID``); its trial may itself have started from another's model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trainables.config.model import ModelConfig
from trainables.config.trained_model import TrainedModel
from trainables.models import adapter_config, locate, resize_vocabulary
from trainables.models.folder import ModelError
from trainables.storage import files
from trainables.storage.locks import locked
from trainables.storage.names import checked_part
from trainables.training.checkpoints import is_complete, is_sharded
from trainables.training.worker_group import save_on_this_worker
from trainables.trial.config import TrialConfig
from trainables.trial.staged_inputs import StagedInputs


def find_trained_model(path: Path) -> TrainedModel:
    """The trained model at ``path``: a trial's folder, its ``model`` folder, a checkpoint, or any folder with a model.

    Raises ``ModelError`` for a folder without a usable model.
    """
    folder = path / "model" if (path / "model").is_dir() else path
    if is_sharded(folder):
        raise ModelError(
            f"{path} is a sharded checkpoint, which only serves to resume its trial; give the trial's model"
        )
    # In a trial's folder, config.json is the trial's and not a model's; record.json shows it.
    if (
        not any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))
        or (folder / "record.json").is_file()
    ):
        raise ModelError(
            f"{path} holds no model: give the folder of a finished trial, or the model folder in it"
        )
    check_trained_folder(folder)
    config = read_trial(folder)
    if config is None:
        return TrainedModel(trial=locate.fingerprint(folder)[:12], folder=folder)
    name, _, step = folder.name.partition("-")
    if name != "checkpoint":
        return TrainedModel(trial=config.trial_id(), folder=folder)
    if not is_complete(folder):
        raise ModelError(f"{path} is incomplete or damaged; use another checkpoint")
    if not config.train.optimizer_settings.has_schedule:
        raise ModelError(
            f"{path} only serves to resume its trial: {config.train.optimizer_label} trains other weights than their "
            "averages, which are the model; give the trial's model, which holds the averages"
        )
    return TrainedModel(trial=f"{config.trial_id()}@{step}", folder=folder)


def check_trained_folder(folder: Path) -> None:
    """Raises ``ModelError`` if a trial's weights aren't safetensors, as PEFT would then load a pickle, or if the config
    of its adapter has what no adapter has.
    """
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{folder} has no weights as safetensors, and no other format is read")
    if (folder / adapter_config.FILE_NAME).is_file():
        adapter_config.read_adapter_config(folder)


def read_trial(folder: Path | None) -> TrialConfig | None:
    """The config of the trial that trained the model in ``folder``; ``None`` if it isn't beside it."""
    path = folder.parent / "config.json" if folder is not None else None
    if path is None or not path.is_file():
        return None
    try:
        return TrialConfig.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValueError:
        return None


def starting_folder(model: ModelConfig, run: Path, before_merging: Callable[[], Any] = lambda: None) -> Path:
    """The folder to load a model's weights from; an adapter to start from is merged there first.

    ``before_merging`` is called before the adapter's base is loaded for that. Raises ``ModelError`` if the base model,
    or a trained model between it and this one, is missing.
    """
    start = model.start
    if start is None:
        return locate.model_folder(StagedInputs.read(run).local_model(model))
    if start.folder is None or not start.folder.is_dir():
        raise ModelError(f"{start.label} has no model at {start.folder}")
    if not start.is_adapter:
        return resize_vocabulary.with_all_embeddings(start.folder, model.unsafe)
    merged = run / "merged" / checked_part(str(start.trial))
    merged.parent.mkdir(parents=True, exist_ok=True)
    # Several trials on a node may start from one adapter; the first of them merges it.
    with locked(merged.with_name(f".{merged.name}.lock")):
        if not merged.is_dir():
            before_merging()
            with files.atomic_folder(merged) as unfinished:
                _merge(start.folder, run, unfinished, model.unsafe)
    return merged


def _merge(adapter: Path, run: Path, into: Path, unsafe: Sequence[str]) -> None:
    """Writes the adapter merged into the weights that it was trained on, unquantized even if they were quantized then.

    ``unsafe``: what the spec trusts the model with. The adapter's own trial can only restrict it, as its folder may
    come from somebody else.
    """
    check_trained_folder(adapter)
    from peft import PeftModel
    from transformers import AutoTokenizer

    from trainables.models.adapter_embeddings import fit_embedding
    from trainables.models.adapter_patterns import check_patterns
    from trainables.models.merge_adapter import merge_adapter
    from trainables.trial.loading import LOADERS, model_config

    config = read_trial(adapter)
    if config is None:
        raise ModelError(f"{adapter} is an adapter without a config.json beside it that names its base model")
    trusted = tuple(permission for permission in config.model.unsafe if permission in unsafe)
    model = config.model.model_copy(update={"unsafe": trusted})
    base_folder = starting_folder(with_moved_start(model, adapter), run)
    base: Any = LOADERS[config.stage.task].from_pretrained(
        base_folder,
        config=model_config(model, base_folder, config.data.cutoff),
        dtype=config.model.dtype,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=model.runs_remote_code,
    )
    fit_embedding(base, adapter)
    check_patterns(adapter, (path for path, _ in base.named_modules()))
    save_on_this_worker(merge_adapter(PeftModel.from_pretrained(base, str(adapter))), into)
    remote = model.runs_remote_code
    tokenizer = AutoTokenizer.from_pretrained(adapter, local_files_only=True, trust_remote_code=remote)
    tokenizer.save_pretrained(into)


def with_moved_start(model: ModelConfig, trained: Path) -> ModelConfig:
    """The model with a missing start folder looked up beside the trial that started from it: run folders move."""
    start = model.start
    if start is None or start.folder is None or start.folder.is_dir():
        return model
    # `trained` is RUN/trials/TRIAL/NAME, and the start lies in RUN/trials/START/model.
    folder = trained.parent.parent / checked_part(str(start.trial)) / "model"
    return model.model_copy(update={"start": start.model_copy(update={"folder": folder})})
