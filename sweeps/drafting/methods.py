"""Which methods to compare with a model in the memory that there is, by their predicted peaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeps.cluster.node_resources import RESERVED_BYTES, this_machine
from sweeps.planning.memory.cell_memory import SAFETY_FACTOR, ConfigMemory
from sweeps.planning.memory.method_grid import find_model
from trainables.memory.predicted_model import PredictedModel
from trainables.models.architecture.decoder_shape import MemoryNotPredictable
from trainables.models.folder import ModelError
from trainables.system import machine
from trainables.system.byte_sizes import gib
from trainables.trial.config import TrialConfig

RANKS = (8, 16, 32)
# The methods that a spec proposes, the simplest first: for predicting, and as they are written.
CANDIDATES: Mapping[str, dict[str, Any]] = {
    "full": {"kind": "full"},
    "lora": {"kind": "lora", "rank": max(RANKS)},
    "qlora": {"kind": "qlora", "bits": 4, "rank": max(RANKS)},
}
FEWEST = 2  # methods that make a comparison


@dataclass(frozen=True)
class Memory:
    """The memory that a trial may use: ``usable_bytes`` on ``device`` (``cuda`` or ``cpu``); 0 where it is unknown.

    Those of the machine, whatever other processes use of them now: a spec is for more than this moment. ``free_bytes``:
    what is free now; 0 where that is unknown.
    """

    device: str
    usable_bytes: int
    free_bytes: int = 0

    @property
    def place(self) -> str:
        return "GPU" if self.device == "cuda" else "main memory"


@dataclass(frozen=True)
class MethodChoice:
    """The methods that fit, and the training settings with which they do.

    ``peaks``: the predicted peak in bytes by method, of those that were predicted. ``left_out``: why others are.
    ``unknown``: why nothing could be predicted.
    """

    methods: tuple[str, ...]
    batch_size: int
    gradient_accumulation: int = 1
    checkpointing: bool = False
    peaks: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    unknown: str | None = None


def memory_here() -> Memory:
    """The memory of the smallest GPU of this machine, or its main memory, less what Ray and the driver need."""
    here = this_machine()
    if here.gpus and here.gpu_bytes:
        return Memory("cuda", here.gpu_bytes)
    return Memory("cpu", max(0, machine.usable_memory_bytes() - RESERVED_BYTES), here.memory or 0)


def choose_methods(
    model: str,
    stage: Mapping[str, Any],
    batch: int,
    tokens: int,
    memory: Memory,
    candidates: Mapping[str, Mapping[str, Any]] = CANDIDATES,
) -> MethodChoice:
    """The methods whose trials fit in ``memory``, for batches of ``batch`` rows of ``tokens`` tokens.

    First with the batch as it is, then with gradient checkpointing, then with smaller batches and more accumulation,
    until two methods fit. ``model``: as ``plan --model`` takes it. ``stage``: the stage's settings.
    """
    try:
        found = find_model(model)
    except ModelError as error:
        return MethodChoice(tuple(candidates), batch, unknown=str(error))
    best: MethodChoice | None = None
    size = batch
    while size >= 1:
        for checkpointing in (False, True):
            choice = _choice(found, stage, candidates, memory, size, batch // size, checkpointing, tokens)
            if choice.unknown is not None or len(choice.methods) >= min(FEWEST, len(candidates)):
                return choice
            if best is None or len(choice.methods) > len(best.methods) or not best.methods:
                best = choice
        size //= 2
    assert best is not None
    return best


def _choice(
    model: PredictedModel,
    stage: Mapping[str, Any],
    candidates: Mapping[str, Mapping[str, Any]],
    memory: Memory,
    batch: int,
    accumulation: int,
    checkpointing: bool,
    tokens: int,
) -> MethodChoice:
    peaks: dict[str, int] = {}
    left_out: dict[str, str] = {}
    for name, method in candidates.items():
        config = _config(stage, method, batch, checkpointing, tokens)
        try:
            peaks[name] = ConfigMemory(config, model, tokens, 1, memory.device).peak_bytes
        except MemoryNotPredictable as error:
            left_out[name] = str(error)
    if not peaks:
        reason = next(iter(left_out.values()))
        return MethodChoice(tuple(candidates), batch, accumulation, checkpointing, unknown=reason)
    fitting = tuple(name for name, peak in peaks.items() if _fits(peak, memory))
    for name, peak in peaks.items():
        if name not in fitting:
            left_out[name] = (
                f"needs {gib(peak, '.3g')}, and the {memory.place} has {gib(memory.usable_bytes, '.3g')}"
            )
    return MethodChoice(fitting, batch, accumulation, checkpointing, peaks, left_out)


def _fits(peak: int, memory: Memory) -> bool:
    # Where a system doesn't say how much memory it has, nothing is left out.
    return not memory.usable_bytes or peak * SAFETY_FACTOR <= memory.usable_bytes


def _config(
    stage: Mapping[str, Any], method: Mapping[str, Any], batch: int, checkpointing: bool, tokens: int
) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "cell": "any",
            "method_name": "any",
            "model": {"name": "any", "attention": "sdpa"},
            "data": {"train": "any", "cutoff": max(8, tokens)},
            "stage": dict(stage),
            "method": dict(method),
            "train": {
                "steps": 1,
                "batch_size": batch,
                "learning_rate": 1e-4,
                "gradient_checkpointing": checkpointing,
            },
        }
    )


def fitting_names(choice: MethodChoice, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """The methods to write: those that fit, or the smallest one where none does."""
    if choice.methods:
        return choice.methods
    return (min(choice.peaks, key=choice.peaks.__getitem__),)
