"""The interface of every quantizer, and the check that a model's linear layers really are quantized."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainables.models.architecture.decoder_shape import DecoderShape
    from trainables.models.precision import Dtypes

MIN_QUANTIZED_SHARE = 0.9  # of a decoder's weights, for a model to count as quantized


class QuantizationSettings(Protocol):
    """The settings of a method that a quantizer reads; ``methods.qlora.QLoRA`` says what each means."""

    @property
    def bits(self) -> int: ...
    @property
    def quant_type(self) -> str: ...
    @property
    def double_quant(self) -> bool: ...
    @property
    def int8_threshold(self) -> float: ...
    @property
    def group_size(self) -> int: ...


class QuantizationFailed(RuntimeError):  # noqa: N818
    """A loaded model isn't quantized as requested; the message names what stayed in 16 bits."""


class Quantizer(ABC):
    """One library's way to quantize. Stateless: the settings come with the method's config."""

    bits: ClassVar[tuple[int, ...]] = ()  # supported numbers of bits
    # Settings of the method that only this quantizer reads.
    exclusive_settings: ClassVar[tuple[str, ...]] = ()
    stores_linear: ClassVar[bool] = True  # whether its layers are nn.Linear, so that PEFT finds them

    def unused_settings(self, settings: QuantizationSettings) -> tuple[str, ...]:
        """Those of its settings that it doesn't read with this number of bits."""
        return ()

    @abstractmethod
    def capability(self, settings: QuantizationSettings) -> str:
        """What the machine must support, by its name in ``capabilities``."""

    def load_options(self, settings: QuantizationSettings, dtypes: Dtypes) -> dict[str, Any]:
        """Extra keyword arguments for ``from_pretrained``."""
        return {}

    def quantize(  # noqa: B027  # optional: some libraries quantize while loading
        self, settings: QuantizationSettings, model: nn.Module, dtypes: Dtypes
    ) -> None:
        """Finishes the quantization of a loaded model, in place. Called once per model."""

    @abstractmethod
    def is_quantized(self, module: nn.Module) -> bool:
        """Whether ``module`` is a linear layer that this quantizer made."""

    def weights(self, module: nn.Module) -> int:
        """How many weights a quantized layer stands for."""
        return int(module.in_features) * int(module.out_features)  # type: ignore[arg-type]

    def constants(self, module: nn.Module) -> Iterable[Tensor]:
        """What a layer keeps besides its parameters and buffers: scales, zeros, code books."""
        return ()

    @abstractmethod
    def bytes_per_weight(self, settings: QuantizationSettings, shape: DecoderShape) -> float:
        """Bytes per quantized weight, constants not counted."""

    @abstractmethod
    def constants_per_weight(self, settings: QuantizationSettings, shape: DecoderShape) -> float:
        """Bytes of quantization constants per quantized weight."""

    def holds_inputs(self, settings: QuantizationSettings) -> bool:
        """Whether its products keep their inputs for the backward pass where checkpointing doesn't see them."""
        return False

    def label(self, settings: QuantizationSettings) -> str:
        """The quantization in a method's label: ``4bit``."""
        return f"{settings.bits}bit"


def check_quantized(quantizer: Quantizer, model: Any) -> int:
    """The number of layers that ``quantizer`` made. Heads stay in 16 bits: their errors would be the answers'.

    Raises :class:`QuantizationFailed` where another linear layer was left out, or most of the decoder's weights are in
    no linear layer at all (experts that share one tensor).
    """
    from torch import nn

    quantized = [module for module in model.modules() if quantizer.is_quantized(module)]
    heads = {id(module) for module in (model.get_output_embeddings(), getattr(model, "score", None))}
    left_out = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not quantizer.is_quantized(module) and id(module) not in heads
    ]
    if not quantized or left_out:
        counts = f"{len(quantized)} of {len(quantized) + len(left_out)} linear layers"
        raise QuantizationFailed(f"only {counts} were quantized; not {', '.join(left_out[:3]) or 'one'}")
    inside = sum(quantizer.weights(module) for module in quantized)
    # By id: a tied head is the embedding. Neither counts; what is left outside should be norms and biases.
    embeddings = {id(p) for p in model.get_input_embeddings().parameters()}
    embeddings |= {id(p) for head in (model.get_output_embeddings(),) if head for p in head.parameters()}
    counted = {id(p) for module in quantized for p in module.parameters()}
    outside = sum(p.numel() for p in model.parameters() if id(p) not in embeddings | counted)
    share = inside / (inside + outside)
    if share < MIN_QUANTIZED_SHARE:
        raise QuantizationFailed(
            f"only {share:.0%} of the decoder's weights are in linear layers, the only ones that are quantized; "
            "the others (experts that share a tensor?) would stay in 16 bits"
        )
    return len(quantized)
