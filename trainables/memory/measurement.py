"""The measured memory of a config: peaks by phase above the process's baseline, and the bytes of counted tensors.

On a GPU the peaks are those of torch's caching allocator. On a CPU they are the peak resident set: Linux keeps it per
process (``VmHWM``), and writing 5 to ``/proc/self/clear_refs`` resets it. How well that repeats depends on how much
freed memory malloc gives back, so it is measured in a process of its own, see ``measuring_process.py``.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedTokenizerBase, TrainerCallback

from trainables.config.base import Frozen
from trainables.data import loading
from trainables.memory.predicted_model import PredictedModel
from trainables.methods import LoRA
from trainables.models import locate
from trainables.models.architecture.decoder_shape import MemoryNotPredictable
from trainables.models.folder import read_architecture
from trainables.quantizers import QUANTIZERS
from trainables.system import machine
from trainables.tokenization import batching
from trainables.training import fsdp
from trainables.training.phases import Phases
from trainables.training.policy import Policy, default_device
from trainables.training.trainer_setup import clean_process, training_arguments
from trainables.training.worker_group import save_on_this_worker, worker_count
from trainables.trial.config import TrialConfig
from trainables.trial.loading import LOADERS, attach, load_base, model_config
from trainables.trial.tokenizer import tokenizer_of

STEPS = 2  # the first fills the optimizer's state, the second shows the peak with it in place


class Memory(Frozen):
    """One config's memory, in bytes. Peaks are above ``baseline_bytes``; ``None`` is not measured."""

    memory_source: Literal["cuda", "rss"] | None = None
    baseline_bytes: int | None = None
    weight_bytes: int | None = None
    gradient_bytes: int | None = None
    optimizer_bytes: int | None = None
    peak_load_bytes: int | None = None
    peak_train_bytes: int | None = None
    peak_eval_bytes: int | None = None
    # The most that the CUDA allocator held in any phase, free blocks included; above the baseline, too.
    reserved_bytes: int | None = None
    rows: int | None = None  # of one worker's batch
    row_tokens: int | None = None
    # Of training, predicted from the model's dimensions and these rows.
    predicted_peak_bytes: int | None = None


class ResidentSet:
    """The peak resident set of this process, in bytes."""

    source: Literal["rss"] = "rss"

    def reset(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")

    def now(self) -> int:
        return self._read("VmRSS")

    def peak(self) -> int:
        return self._read("VmHWM")

    def reserved(self) -> int | None:
        return None

    def _read(self, key: str) -> int:
        line = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert line is not None, f"no {key} in /proc/self/status"
        return int(line[1]) * 1024


class CudaAllocator:
    """What torch's CUDA allocator has allocated on this process's GPU, in bytes."""

    source: Literal["cuda"] = "cuda"

    def reset(self) -> None:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()

    def now(self) -> int:
        return torch.cuda.memory_allocated()

    def peak(self) -> int:
        return torch.cuda.max_memory_allocated()

    def reserved(self) -> int | None:
        return torch.cuda.max_memory_reserved()


Gauge = ResidentSet | CudaAllocator


def gauge() -> Gauge | None:
    """The gauge of this process's memory; ``None`` if there is none, as with a read-only ``/proc/self/clear_refs``."""
    if default_device() == "cuda":
        return CudaAllocator()
    return ResidentSet() if machine.peak_memory().works else None


@dataclass
class Meter:
    """Peaks by phase, above the memory in use when the meter was made; no peaks without a gauge.

    >>> meter = Meter()
    >>> with meter.phase("load"):
    ...     block = bytearray(50 * 2**20)
    >>> meter.peaks["load"] >= 50 * 2**20
    True
    """

    gauge: Gauge | None = field(default_factory=lambda: gauge())
    peaks: dict[str, int] = field(default_factory=dict)
    baseline: int | None = None
    reserved: int | None = None  # the most in any phase

    def __post_init__(self) -> None:
        if self.gauge is not None and self.baseline is None:
            self.baseline = self.gauge.now()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measures the peak while the block runs; it is kept also when the block fails."""
        if self.gauge is None or self.baseline is None:
            yield
            return
        self.gauge.reset()
        try:
            yield
        finally:
            self.peaks[name] = self.gauge.peak() - self.baseline
            if (reserved := self.gauge.reserved()) is not None:
                self.reserved = max(self.reserved or 0, reserved - self.baseline)


def measure(config: TrialConfig, warm: bool = True, phases: Phases | None = None) -> Memory:
    """Loads the model, trains :data:`STEPS` steps on the longest row, scores, and returns the memory of each phase.

    The batch is ``batch_size`` copies of the longest training row after the cutoff, or of the fullest pack. Of several
    workers each takes its share of the batch, and the result is this worker's.

    A fresh process gives the figures of a warm one. First, the config is rehearsed on a model of one layer: tokenizer,
    rows, libraries and their caches for these shapes belong to the baseline. Second, the first whole model leaves pages
    behind that later ones use again: where none has been loaded yet (not ``warm``), one is trained for a step of LoRA,
    the quickest way. ``phases`` tracks the measured run, to say in which phase an error occurred.
    """
    folder = locate.model_folder(config.model)
    config = config.model_copy(update={"stage": config.stage.worst_case()})
    _rehearse(config, folder)
    if not warm:
        smallest = {"batch_size": worker_count() * config.stage.min_worker_rows, "gradient_accumulation": 1}
        train = config.train.model_copy(update=smallest)
        quickest = config.model_copy(update={"method": LoRA(), "train": train})
        _measure(quickest, folder, tokenizer_of(config), steps=1, with_scoring=False)
    model = PredictedModel.of_files(read_architecture(folder))
    return _measure(config, folder, tokenizer_of(config), phases=phases, model=model)


# A method's settings that name layers, which a model of one layer may not have.
LAYER_SETTINGS = ("layers", "modules", "targets", "modules_to_save")


def _rehearse(config: TrialConfig, folder: Path) -> None:
    """Measures the config on a model of one layer with random weights, and drops the result."""
    method = config.method or LoRA()
    fields = type(method).model_fields
    general = method.model_copy(update={n: fields[n].default for n in LAYER_SETTINGS if n in fields})
    with tempfile.TemporaryDirectory() as temporary:
        loader, options = LOADERS[config.stage.task]
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
    clean_process()
    meter, counter, phases = Meter(), TensorCounter(), phases or Phases()
    with meter.phase("load"):
        base = load_base(config, folder)
        # Weights that nothing has read yet would be missing in the peak of loading.
        _read_weights(base)
        policy = attach(base, tokenizer, config)
    weights = weight_bytes(policy.model)
    # Between the phases: encoding the rows is no part of a phase's peak.
    longest, row_tokens = longest_rows(config, policy, rows.train)
    if config.method is not None:
        with meter.phase("train"):
            _train(config, policy, longest, counter, phases, steps)
        # The optimizer is gone with its trainer; gradients stay with the weights, and would count in scoring.
        _free_gradients(policy.model)
        clean_process()
    if with_scoring and config.data.holds_out:
        test = [
            config.stage.longest_row(policy.tokenizer, rows.test, config.data.scored_cutoff)[0]
        ] * config.stage.eval_batch
        with meter.phase("eval"), phases.during("eval"), fsdp.scoring_policy(policy) as scores:
            config.stage.score(scores, rows, test, config.data.scored_cutoff)
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
        row_tokens=row_tokens,
        predicted_peak_bytes=_predicted_peak(config, model, policy, row_tokens) if model else None,
    )


def _predicted_peak(
    config: TrialConfig, model: PredictedModel, policy: Policy, row_tokens: int
) -> int | None:
    """The prediction for what was measured; ``None`` for the base model, and where memory can't be predicted."""
    if config.method is None:
        return None
    batch = config.stage.forward_pass(config.train.batch_size // worker_count(), row_tokens)
    if batch is None:
        return None
    attention = policy.causal.config._attn_implementation
    try:
        return model.predict(config, batch, policy.device, attention, worker_count())[0].total
    except MemoryNotPredictable:
        return None


def longest_rows(config: TrialConfig, policy: Policy, rows: Sequence[Any]) -> tuple[list[Any], int]:
    """The rows that make the longest row of a batch, and its tokens: one or, with packing, several that fill it."""
    if config.train.packing is not True:
        row, length = config.stage.longest_row(policy.tokenizer, rows, config.data.cutoff)
        # Blocks of a stream are full, whatever is in it.
        return [row], config.data.cutoff if config.train.packing else length
    tokens = config.stage.tokens(policy.tokenizer, rows, config.data.cutoff)
    chosen = batching.fill_longest_first(tokens.lengths, config.data.cutoff)
    return [rows[int(tokens.rows[place])] for place in chosen], int(tokens.lengths[chosen].sum())


def _train(
    config: TrialConfig,
    policy: Policy,
    longest: list[Any],
    counter: TensorCounter,
    phases: Phases,
    steps: int,
) -> None:
    train = config.train.model_copy(update={"steps": steps, "epochs": None})
    # `longest` may be several rows that make one pack: as many packs as the steps draw.
    rows = longest * (train.update_rows * steps)
    nowhere = Path("/nonexistent")  # nothing is saved
    options = training_arguments(train, steps, nowhere, worker_count(), policy.device) | {
        "save_strategy": "no"
    }
    trainer = config.stage.trainer(policy, rows, train, config.data.cutoff, options)
    trainer.add_callback(counter)
    phases.track(trainer)
    trainer.train()


class TensorCounter(TrainerCallback):
    """Counts the bytes of gradients when they are complete, and of the optimizer's state once it exists."""

    def __init__(self) -> None:
        self.gradient_bytes: int | None = None
        self.optimizer_bytes: int | None = None

    def on_pre_optimizer_step(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        self.gradient_bytes = _bytes(p.grad for p in model.parameters() if p.grad is not None)

    def on_optimizer_step(
        self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any
    ) -> None:
        # transformers passes accelerate's wrapper; the state is the inner optimizer's.
        inner = getattr(optimizer, "optimizer", optimizer)
        states = (value for entry in inner.state.values() for value in entry.values())
        self.optimizer_bytes = _bytes(value for value in states if isinstance(value, Tensor))


def weight_bytes(model: nn.Module) -> int:
    """The bytes of all parameters, buffers and quantization constants; tied weights count once."""
    tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
    for module in model.modules():
        for quantizer in QUANTIZERS.values():
            if quantizer.is_quantized(module):
                tensors += quantizer.constants(module)
    return _bytes(tensors)


def _bytes(tensors: Iterable[Tensor]) -> int:
    """The bytes of this worker's shards of tensors; tensors at the same address (tied weights) count once."""
    held = [fsdp.local_shard(tensor.detach()) for tensor in tensors]
    return sum({t.data_ptr(): t.numel() * t.element_size() for t in held if t.numel()}.values())


def _read_weights(model: nn.Module) -> None:
    """Reads every page of the weights: safetensors maps files, and only pages that were read are resident."""
    for tensor in model.parameters():
        # One number of each page of 4 KiB: the system maps whole pages.
        tensor.detach().view(-1)[:: 4096 // tensor.element_size() or 1].sum()


def _free_gradients(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.grad = None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch's own error on a GPU, an allocation that failed on a CPU."""
    messages = ("can't allocate memory", "cannot allocate memory")  # of torch's CPU allocator, of the system
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        message in str(error).lower() for message in messages
    )
