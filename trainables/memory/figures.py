"""The figures of one config's measured memory, and the bytes of tensors that are counted for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn
from transformers import TrainerCallback

from trainables.config.base import Frozen
from trainables.config.optimizers.unwrapped import unwrapped
from trainables.memory.predicted_model import PredictedModel
from trainables.models.architecture.decoder_shape import MemoryNotPredictable
from trainables.models.cpu_products import multiplies_in_32_bits
from trainables.quantizers import QUANTIZERS
from trainables.training import fsdp
from trainables.training.worker_group import worker_count

if TYPE_CHECKING:
    from trainables.stages.forward_pass import RowLength
    from trainables.training.policy import Policy
    from trainables.trial.config import TrialConfig


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


def predicted_peak(
    config: TrialConfig, model: PredictedModel, policy: Policy, length: RowLength
) -> int | None:
    """The prediction for what was measured; ``None`` for the base model, and where memory can't be predicted."""
    if config.method is None:
        return None
    batch = config.stage.forward_pass(config.train.batch_size // worker_count(), length)
    if batch is None:
        return None
    attention = policy.causal.config._attn_implementation
    in_32_bits = multiplies_in_32_bits(policy.dtypes.compute)
    try:
        return model.predict(config, batch, policy.device, attention, worker_count(), in_32_bits)[0].total
    except MemoryNotPredictable:
        return None


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
        inner = unwrapped(optimizer)
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
