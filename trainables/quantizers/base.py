"""What every quantizer answers, and the check that a model's linear layers really were quantized."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainables.models.decoder_shape import Shape
    from trainables.models.precision import Dtypes

LEAST_SHARE = 0.9  # of a decoder's weights that must be quantized for a model to be called so


class QuantizationSettings(Protocol):
    """What a quantizer reads of a method's settings; see ``methods.qlora.QLoRA`` for what each means."""

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
    """A model was loaded, and isn't quantized as it was asked for; says what is left in 16 bits."""


class Quantizer:
    """How one library quantizes. It has no state; what was asked for comes with the method's config."""

    bits: ClassVar[tuple[int, ...]] = ()
    own: ClassVar[tuple[str, ...]] = ()  # the settings of the method that are this quantizer's alone
    stores_linear: ClassVar[bool] = True  # PEFT finds its layers among a model's linear ones

    def need(self, settings: QuantizationSettings) -> str:
        """What it takes on a machine, by its name in ``capabilities``."""
        raise TypeError(f"{type(self).__name__} does not say what it needs")

    def load_options(self, settings: QuantizationSettings, dtypes: Dtypes) -> dict[str, Any]:
        """Extra keyword arguments for ``from_pretrained``."""
        return {}

    def quantize(self, settings: QuantizationSettings, model: nn.Module, dtypes: Dtypes) -> None:
        """What is left to do once the model is loaded."""

    def is_quantized(self, module: nn.Module) -> bool:
        """Whether ``module`` is a linear layer of this quantizer's."""
        raise TypeError(f"{type(self).__name__} does not say what its layers are")

    def weights(self, module: nn.Module) -> int:
        """How many weights a quantized layer stands for."""
        return int(module.in_features) * int(module.out_features)  # type: ignore[arg-type]

    def constants(self, module: nn.Module) -> Iterable[Tensor]:
        """What a layer keeps besides its parameters and buffers: scales, zeros, code books."""
        return ()

    def bytes_per_weight(self, settings: QuantizationSettings, shape: Shape) -> float:
        """What a weight takes itself."""
        raise TypeError(f"{type(self).__name__} does not say what a weight takes")

    def constants_per_weight(self, settings: QuantizationSettings, shape: Shape) -> float:
        """A weight's share of the constants, in bytes."""
        raise TypeError(f"{type(self).__name__} does not say what its constants take")

    def holds_inputs(self, settings: QuantizationSettings) -> bool:
        """Whether its products keep their inputs where checkpointing doesn't see them."""
        return False

    def label(self, settings: QuantizationSettings) -> str:
        """The part of a method's name that says how it is quantized: ``4bit``."""
        return f"{settings.bits}bit"


def check(quantizer: Quantizer, model: Any) -> int:
    """The number of layers that ``quantizer`` holds. Heads stay in 16 bits: their errors are the answers'.

    Raises :class:`QuantizationFailed` where another linear layer was left out, or most of the decoder's weights are in
    no linear layer at all (experts that share one tensor).
    """
    from torch import nn

    held = [module for module in model.modules() if quantizer.is_quantized(module)]
    heads = {id(module) for module in (model.get_output_embeddings(), getattr(model, "score", None))}
    left = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not quantizer.is_quantized(module) and id(module) not in heads
    ]
    if not held or left:
        found = f"{len(held)} of {len(held) + len(left)} linear layers"
        raise QuantizationFailed(f"only {found} were quantized; not {', '.join(left[:3]) or 'one'}")
    inside = sum(quantizer.weights(module) for module in held)
    embeddings = {id(p) for p in model.get_input_embeddings().parameters()}
    embeddings |= {id(p) for head in (model.get_output_embeddings(),) if head for p in head.parameters()}
    quantized = {id(p) for module in held for p in module.parameters()}
    outside = sum(p.numel() for p in model.parameters() if id(p) not in embeddings | quantized)
    share = inside / (inside + outside)
    if share < LEAST_SHARE:
        raise QuantizationFailed(
            f"only {share:.0%} of the decoder's weights are in linear layers, which are what is quantized; the "
            "others (experts that share a tensor?) would stay in 16 bits"
        )
    return len(held)
