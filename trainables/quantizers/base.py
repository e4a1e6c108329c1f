"""The interface of every quantizer, and the check that a model's linear layers really are quantized."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from trainables.models.architecture.model_weights import decoder_share

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainables.models.architecture.decoder_shape import DecoderShape
    from trainables.models.architecture.model_weights import Weight
    from trainables.models.precision import Dtypes

# Of a decoder's weights, for a model to count as quantized. Beside attention and MLPs, state-space mixers have layers
# whose weights their kernels read, up to a fifth in models that alternate both.
MIN_QUANTIZED_SHARE = 0.8


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

    def unused_settings(self, settings: QuantizationSettings) -> tuple[str, ...]:
        """Those of its settings that it doesn't read with this number of bits."""
        return ()

    @abstractmethod
    def capability(self, settings: QuantizationSettings) -> str:
        """What the machine must support, by its name in ``capabilities``."""

    def load_options(
        self, settings: QuantizationSettings, dtypes: Dtypes, kept: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Extra keyword arguments for ``from_pretrained``.

        ``kept``: full names of linear layers, heads included, that stay as they are; empty where the library's own
        choice is right.
        """
        return {}

    def quantize(  # noqa: B027  # optional: some libraries quantize while loading
        self, settings: QuantizationSettings, model: nn.Module, dtypes: Dtypes
    ) -> None:
        """Finishes the quantization of a loaded model, in place. Called once per model."""

    def replace_layers(
        self, settings: QuantizationSettings, model: Any, dtypes: Dtypes, kept: Sequence[str] = ()
    ) -> bool:
        """Puts its layers into a model without values, as loading and :meth:`quantize` do; whether it could."""
        return False

    @abstractmethod
    def is_quantized(self, module: nn.Module) -> bool:
        """Whether ``module`` is a linear layer that this quantizer made."""

    def weights(self, module: nn.Module) -> int:
        """How many weights a quantized layer stands for."""
        return int(module.in_features) * int(module.out_features)  # type: ignore[arg-type]

    def packed(self, module: nn.Module) -> Mapping[str, int]:
        """The weights that each packed parameter of a module stands for, by its name; empty where none is packed."""
        if not self.is_quantized(module):
            return {}
        return {name: self.weights(module) for name, _ in module.named_parameters() if name != "bias"}

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

    Raises :class:`QuantizationFailed` where a linear layer was left out that a quantizer can hold, or too many of the
    decoder's weights are in none (experts that share one tensor). Embeddings are no weights of the decoder.
    """
    from transformers.quantizers.quantizers_utils import should_convert_module

    from trainables.models.architecture.weight_reader import model_weights

    weights = model_weights(model, quantizer.packed)
    quantized = [weight for weight in weights if weight.packed]
    in_32_bits = getattr(model, "_keep_in_fp32_modules", None)  # the class's own choice
    left_out = [
        w.module
        for w in weights
        if not w.packed
        and w.form == "linear"
        and w.kind != "router"
        and should_convert_module(w.module, list(in_32_bits or ()))
    ]
    if not quantized or left_out:
        counts = f"{len(quantized)} of {len(quantized) + len(left_out)} linear layers"
        raise QuantizationFailed(f"only {counts} were quantized; not {', '.join(left_out[:3]) or 'one'}")
    if (problem := share_problem(weights, quantized)) is not None:
        raise QuantizationFailed(problem)
    return len(quantized)


def share_problem(weights: Iterable[Weight], quantized: Iterable[Weight]) -> str | None:
    """Why a model whose ``quantized`` weights are in few bits can't be called quantized; ``None`` where it can."""
    weights = tuple(weights)
    share = decoder_share(weights, quantized)
    if share >= MIN_QUANTIZED_SHARE:
        return None
    experts = decoder_share(weights, (weight for weight in weights if weight.form == "experts"))
    others = (
        "experts that share a tensor" if experts > 1 - share - experts else "tensors that other code reads"
    )
    return (
        f"only {100 * share:.0f} % of the decoder's weights are in linear layers, the only ones that are quantized; "
        f"the others ({others}) would stay in 16 bits. Train this model with lora or full, or quantize another one"
    )
