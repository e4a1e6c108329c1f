"""Decoder layers compiled by torch for training steps: their element-wise operations are fused, and read memory once.

Layers have the same code, so that one is compiled for all; each keeps its name, its hooks and its weights. What runs
without gradients, as scoring does, runs as it would without this. Lengths of rows and LoRA ranks are symbols, so that
batches of all lengths, and the trials of a slot, share the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from trainables.config.train import SHARDED
from trainables.models.architecture.decoder_layers import decoder_layers
from trainables.models.cpu_products import multiplies_in_32_bits
from trainables.system import capabilities
from trainables.training.compiler_cache import use_private_cache
from trainables.training.policy import Policy

if TYPE_CHECKING:
    from trainables.config.train import TrainConfig
    from trainables.training.stage_trainer import StageTrainer

SPEEDUP = 1.15  # of a step on a GPU, which is customary for layers alone; not measured here
COMPILE_SECONDS = 60.0  # for one kind of layer, forward and backward
MARGIN = 3.0  # what is saved has to be that many times as long, as both are estimates
# What a GPU computes in a second of training: the share of its peak in 16 bits that is usual, by compute capability.
FLOPS_PER_SECOND = {7: 2e13, 8: 1e14, 9: 3e14}
RECOMPILATIONS = 64  # of one function: methods, and lengths and ranks of 1, differ


@dataclass(frozen=True)
class Work:
    """``flops``: floating-point operations of one optimizer step. ``steps``: of the whole trial, so that one that is
    resumed compiles as it did before.
    """

    steps: int
    flops: float

    @classmethod
    def of(cls, policy: Policy, steps: int, tokens_per_step: float) -> Work:
        """Two per weight and token in the forward pass, and two each for the gradients of inputs and of weights."""
        weights = list(policy.model.parameters())
        all_weights = sum(weight.numel() for weight in weights)
        trained = sum(weight.numel() for weight in weights if weight.requires_grad)
        return cls(steps, tokens_per_step * (4 * all_weights + 2 * trained))


def seconds_saved(work: Work, flops_per_second: float) -> float:
    """What compiled layers are predicted to save of a trial.

    >>> round(seconds_saved(Work(steps=1000, flops=1e14), 1e14))
    130
    """
    return work.steps * work.flops / flops_per_second * (1 - 1 / SPEEDUP)


def reason_against(requested: str, device: str, work: Work, obstacle: str | None = None) -> str | None:
    """Why layers are not compiled; ``None`` where they are.

    ``requested``: ``auto``, ``on`` or ``off``. ``obstacle``: why this trial's layers can't be.
    """
    if requested == "off":
        return "train.compile is off"
    if obstacle is not None:
        return obstacle
    if requested == "auto":
        if device != "cuda":
            return "auto compiles on GPUs alone"
        generation = min(9, max(7, torch.cuda.get_device_capability()[0]))
        saved = seconds_saved(work, FLOPS_PER_SECOND[generation])
        if saved < MARGIN * COMPILE_SECONDS:
            needed = f"compiling takes {COMPILE_SECONDS:.0f} s"
            return f"its {work.steps} steps are predicted to save {saved:.0f} s, and {needed}"
    use_private_cache()
    compiler = capabilities.check_capability("compiler")
    return None if compiler.works else compiler.detail


@contextmanager
def layers_for(
    trainer: StageTrainer, policy: Policy, train: TrainConfig, steps: int, obstacle: str | None
) -> Iterator[LayersNote]:
    """Compiles the policy's layers for a block in which ``trainer`` trains, where that is wanted and possible.

    ``steps``: of the whole trial. ``obstacle``: why the layers of its stage can't be compiled.
    """
    if policy.blueprint is not None:
        obstacle = SHARDED
    work = Work.of(policy, steps, trainer.tokens_after(steps) / steps)
    reason = reason_against(train.compile, policy.device, work, obstacle or _slow_products(policy))
    if reason is not None:
        yield LayersNote(f"no: {reason}" if train.compile == "on" else None)
        return
    trainer.begin_with_the_first_batch()
    with compiled_layers(policy) as layers:
        before, note = (_compile_seconds(), _failures()), LayersNote(None)
        yield note
        seconds, failures = _compile_seconds() - before[0], _failures() - before[1]
        note.text = f"{layers} layers in {seconds:.0f} s"
        if failures:
            note.text += f"; {failures} functions could not be compiled, and ran as they are"


def _slow_products(policy: Policy) -> str | None:
    """Why this processor would compute compiled layers more slowly than plain ones; ``None`` where it wouldn't."""
    dtype = policy.dtypes.compute
    if policy.device != "cpu" or not multiplies_in_32_bits(dtype):
        return None
    name = str(dtype).removeprefix("torch.")
    return f"torch's compiled layers multiply {name} as it is, for which this processor has no instructions"


@dataclass
class LayersNote:
    """What the record says of compiled layers; known when the block has ended."""

    text: str | None


@contextmanager
def compiled_layers(policy: Policy, backend: str = "inductor") -> Iterator[int]:
    """Compiles the policy's decoder layers, whose number it gives, for a block; they are as they were after it."""
    from torch._dynamo import config as tracing
    from torch._inductor import config as compiling

    layers = decoder_layers(policy.causal)
    with ExitStack() as undoing:
        # What can't be compiled runs as it is.
        undoing.enter_context(tracing.patch(recompile_limit=RECOMPILATIONS, suppress_errors=True))
        # Otherwise a GPU's kernels are chosen by how fast they ran, so that a resumed trial may get others; and as many
        # processes compile as the machine has cores.
        cores = max(1, torch.get_num_threads())
        undoing.enter_context(compiling.patch(deterministic=True, compile_threads=cores))
        # Shapes of weights are symbols, but for those that are named here.
        undoing.enter_context(
            tracing.patch(force_parameter_static_shapes=False, force_nn_module_property_static_shapes=False)
        )
        for layer in layers:
            for tensor in chain(layer.parameters(), layer.buffers()):
                undoing.callback(_put_back, tensor, dict(vars(tensor)))
            _hold_shapes(layer)
            undoing.callback(_uncompile, layer)
            layer._compiled_call_impl = _in_training_only(layer, backend)
        yield len(layers)


def _hold_shapes(layer: nn.Module) -> None:
    """Has the compiler take the shapes of weights and buffers as numbers, but for the rank of LoRA's weights."""
    from peft.tuners.lora import LoraLayer
    from torch._dynamo import mark_static

    rank_of: dict[int, int] = {}  # the dimension of a weight that is its rank, by the weight's identity
    for module in layer.modules():
        # Factors that are weights themselves, as AdaLoRA's, have the shapes that they have.
        if isinstance(module, LoraLayer) and isinstance(module.lora_A, nn.ModuleDict):
            rank_of |= {id(first.weight): 0 for first in module.lora_A.values()}
            rank_of |= {id(second.weight): 1 for second in module.lora_B.values()}
    for tensor in chain(layer.parameters(), layer.buffers()):
        for dimension in range(tensor.dim()):
            if rank_of.get(id(tensor)) != dimension:
                mark_static(tensor, dimension)


def _put_back(tensor: torch.Tensor, attributes: dict[str, Any]) -> None:
    vars(tensor).clear()
    vars(tensor).update(attributes)


def _in_training_only(layer: nn.Module, backend: str) -> Callable[..., Any]:
    """The call of a layer, compiled where gradients are recorded."""
    plain = layer._call_impl
    compiled = torch.compile(plain, dynamic=True, backend=backend)

    def call(*args: Any, **options: Any) -> Any:
        return (compiled if torch.is_grad_enabled() else plain)(*args, **options)

    return call


def _uncompile(layer: nn.Module) -> None:
    # As if it had never been there: a base that stays is compared.
    vars(layer).pop("_compiled_call_impl", None)


def _compile_seconds() -> float:
    from torch._dynamo.utils import calculate_time_spent

    return calculate_time_spent()["total_wall_time"]


def _failures() -> int:
    """How many functions torch's compiler has given up in this process."""
    from torch._dynamo.utils import counters

    frames = counters["frames"]
    return int(frames["total"] - frames["ok"])
