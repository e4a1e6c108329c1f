"""The memory of a config, measured apart from its trial: its peaks by phase, and the bytes of counted tensors.

On a CPU this runs in a process of its own, see ``measuring_process.py``; on a GPU a trial's memory is read while it
trains, see ``in_trial.py``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from trainables.data import loading
from trainables.memory.figures import Memory, TensorCounter, predicted_peak, weight_bytes
from trainables.memory.gauges import Meter
from trainables.memory.longest_batch import STEPS, longest_rows, train_longest
from trainables.memory.mapped_files import keep_in_memory
from trainables.memory.predicted_model import PredictedModel
from trainables.methods import LoRA
from trainables.models import locate
from trainables.models.folder import read_architecture
from trainables.stages.set_scores import set_scorings
from trainables.training import fsdp
from trainables.training.phases import Phases
from trainables.training.policy import default_device
from trainables.training.trainer_setup import clean_process
from trainables.training.worker_group import save_on_this_worker, worker_count
from trainables.trial.config import TrialConfig
from trainables.trial.loading import LOADERS, attach, load_base, model_config
from trainables.trial.tokenizer import tokenizer_of


def measure(config: TrialConfig, warm: bool = True, phases: Phases | None = None) -> Memory:
    """Loads the model, trains :data:`STEPS` steps on the longest row, scores, and returns the memory of each phase.

    The batch is ``batch_size`` copies of the longest training row after the cutoff, or of the fullest pack. Of several
    workers each takes its share of the batch, and the result is this worker's.

    A fresh process gives the figures of a warm one. On a CPU that takes two things. First, the config is rehearsed on
    a model of one layer: tokenizer, rows, libraries and their caches for these shapes belong to the baseline. Second,
    the first whole model leaves pages behind that later ones use again: where none has been loaded yet (not ``warm``),
    one is trained for a step of LoRA, the quickest way. ``phases`` tracks the measured run, to say in which phase an
    error occurred.
    """
    folder = locate.model_folder(config.model)
    config = config.model_copy(update={"stage": config.stage.worst_case()})
    # A GPU's allocator counts tensors alone.
    counts_pages = default_device() == "cpu"
    if counts_pages:
        _rehearse(config, folder)
    if counts_pages and not warm:
        smallest = {"batch_size": worker_count() * config.stage.min_worker_rows, "gradient_accumulation": 1}
        train = config.train.model_copy(update=smallest)
        quickest = config.model_copy(update={"method": LoRA(), "train": train})
        _measure(quickest, folder, tokenizer_of(config), steps=1, with_scoring=False)
    model = PredictedModel.of_files(read_architecture(folder))
    return _measure(config, folder, tokenizer_of(config), phases=phases, model=model)


# A method's settings that name layers, which a model of one layer may not have.
LAYER_SETTINGS = ("layers", "modules", "targets", "modules_to_save")
# Options of PEFT's types that do so, and what they are on a model of one layer.
LAYER_OPTIONS = {
    "adapter_layers": 1,
    "layers_pattern": None,
    "layers_to_transform": None,
    "modules_to_save": None,
}


def _rehearse(config: TrialConfig, folder: Path) -> None:
    """Measures the config on a model of one layer with random weights, and drops the result."""
    method = config.method or LoRA()
    fields = type(method).model_fields
    known = {n: fields[n].default for n in LAYER_SETTINGS if n in fields}
    options_of_type = method.model_extra or {}
    known |= {n: value for n, value in LAYER_OPTIONS.items() if n in options_of_type}
    general = method.model_copy(update=known)
    with tempfile.TemporaryDirectory() as temporary:
        loader, options = LOADERS[config.stage.task], config.stage.head_settings
        full_size = model_config(config.model, folder, config.data.cutoff)
        small = loader.from_config(
            _one_layer_config(full_size, options),
            dtype=torch.bfloat16,
            trust_remote_code=config.model.runs_remote_code,
        )
        # Each worker saves and reads a copy: its temporary folder is its own.
        save_on_this_worker(small, temporary)
        tokenizer = tokenizer_of(config)
        _measure(
            config.model_copy(update={"method": general, "stage": config.stage.rehearsal()}),
            Path(temporary),
            tokenizer,
        )


def _one_layer_config(full_size: PreTrainedConfig, options: dict[str, Any]) -> PreTrainedConfig:
    layers = full_size.num_hidden_layers
    values = full_size.to_dict()
    for name, value in values.items():
        if isinstance(value, list) and len(value) == layers:
            values[name] = value[:1]  # one value per layer, as in layer_types
    return type(full_size).from_dict(values | options | {"num_hidden_layers": 1})


def _measure(
    config: TrialConfig,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    steps: int = STEPS,
    with_scoring: bool = True,
    phases: Phases | None = None,
    model: PredictedModel | None = None,
) -> Memory:
    """``model``: what the peak is to be predicted of, beside the measurement."""
    rows = loading.load(config.data, config.stage.row_type)
    clean_process(config.train.precision)
    meter, counter, phases = Meter(), TensorCounter(), phases or Phases()
    with meter.phase("load"):
        base = load_base(config, folder)
        # Weights that nothing has read yet would be missing in the peak of loading.
        _read_weights(base)
        if default_device() == "cpu":
            keep_in_memory()
        policy = attach(base, tokenizer, config)
    weights = weight_bytes(policy.model)
    # Between the phases: encoding the rows is no part of a phase's peak.
    longest, length = longest_rows(config, policy, rows.train)
    if config.method is not None:
        with meter.phase("train"):
            train_longest(config, policy, longest, counter, phases, steps)
        # The optimizer is gone with its trainer; gradients stay with the weights, and would count in scoring.
        policy.model.zero_grad()
        clean_process(config.train.precision)
    if with_scoring and config.data.holds_out:
        cutoff = config.data.scored_cutoff
        test = [config.stage.longest_row(policy.tokenizer, rows.test, cutoff)[0]] * config.stage.eval_batch
        # Encoding is no part of the peak here either.
        further = [
            (each, each.longest_batch(policy.tokenizer, cutoff)) for each in set_scorings(config.stage, rows)
        ]
        with meter.phase("eval"), phases.during("eval"), fsdp.scoring_policy(policy) as scores:
            config.stage.score(scores, rows, test, cutoff)
            for scoring, batch in further:
                scoring.scores(scores, cutoff, batch)
    return Memory(
        memory_source=meter.gauge.source if meter.gauge else None,
        baseline_bytes=meter.baseline,
        weight_bytes=weights,
        gradient_bytes=counter.gradient_bytes,
        optimizer_bytes=counter.optimizer_bytes,
        peak_load_bytes=meter.peaks.get("load"),
        peak_train_bytes=meter.peaks.get("train"),
        peak_eval_bytes=meter.peaks.get("eval"),
        reserved_bytes=meter.reserved,
        rows=config.train.batch_size // worker_count(),
        row_tokens=length.tokens,
        predicted_peak_bytes=predicted_peak(config, model, policy, length) if model else None,
    )


def _read_weights(model: nn.Module) -> None:
    """Reads every page of the weights: safetensors maps files, and only pages that were read are resident."""
    for tensor in model.parameters():
        # One number of each page of 4 KiB: the system maps whole pages.
        tensor.detach().view(-1)[:: 4096 // tensor.element_size() or 1].sum()


# Lower-case texts of out-of-memory errors that have no class of their own.
OUT_OF_MEMORY = (
    "can't allocate memory",  # torch's CPU allocator
    "cannot allocate memory",  # the system
    "cuda error: out of memory",  # a kernel's start, or a library that allocates itself, such as bitsandbytes
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cuda failure 2 'out of memory'",  # NCCL
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch's own error on a GPU, one of a library that allocates itself, an allocation that
    failed on a CPU.
    """
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        message in str(error).lower() for message in OUT_OF_MEMORY
    )
