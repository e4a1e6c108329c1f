"""bitsandbytes: NF4 and FP4 (Dettmers et al., 2023, arXiv:2305.14314), and LLM.int8() (2022, arXiv:2208.07339)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from trainables.quantizers.base import QuantizationSettings, Quantizer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainables.models.architecture.decoder_shape import DecoderShape
    from trainables.models.precision import Dtypes


class BitsAndBytes(Quantizer):
    """4 bits in blocks of 64, with scales in 8 bits if ``double_quant``; or 8 bits, with one scale per row."""

    bits: ClassVar[tuple[int, ...]] = (4, 8)
    exclusive_settings: ClassVar[tuple[str, ...]] = ("quant_type", "double_quant", "int8_threshold")

    def unused_settings(self, settings: QuantizationSettings) -> tuple[str, ...]:
        return ("quant_type", "double_quant") if settings.bits == 8 else ("int8_threshold",)

    def capability(self, settings: QuantizationSettings) -> str:
        return f"bitsandbytes {settings.bits}-bit"

    def load_options(
        self, settings: QuantizationSettings, dtypes: Dtypes, kept: Sequence[str] = ()
    ) -> dict[str, Any]:
        from transformers import BitsAndBytesConfig

        skipped = list(kept) or None  # the name is that of both numbers of bits
        if settings.bits == 8:
            config = BitsAndBytesConfig(
                load_in_8bit=True, llm_int8_threshold=settings.int8_threshold, llm_int8_skip_modules=skipped
            )
        else:
            config = BitsAndBytesConfig(
                load_in_4bit=True,
                llm_int8_skip_modules=skipped,
                bnb_4bit_quant_type=settings.quant_type,
                bnb_4bit_use_double_quant=settings.double_quant,
                bnb_4bit_compute_dtype=dtypes.compute,
            )
        return {"quantization_config": config}

    def quantize(self, settings: QuantizationSettings, model: nn.Module, dtypes: Dtypes) -> None:
        quantize_subclasses(model)
        take_inputs_of_any_shape(model)
        keep_cpu_gradients_correct(model)
        detach_from_weights_file(model)

    def replace_layers(
        self, settings: QuantizationSettings, model: Any, dtypes: Dtypes, kept: Sequence[str] = ()
    ) -> bool:
        from transformers.quantizers import AutoHfQuantizer

        chosen = self.load_options(settings, dtypes, kept)["quantization_config"]
        AutoHfQuantizer.from_config(chosen)._process_model_before_weight_loading(model, device_map=None)
        model.config.quantization_config = chosen
        quantize_subclasses(model)
        model.tie_weights()
        return True

    def is_quantized(self, module: nn.Module) -> bool:
        # PEFT's wrappers around these layers have the same class names.
        return any(
            cls.__module__.startswith("bitsandbytes") and cls.__name__ in ("Linear4bit", "Linear8bitLt")
            for cls in type(module).__mro__
        )

    def constants(self, module: Any) -> Iterable[Tensor]:
        state = getattr(module.weight, "quant_state", None)
        if state is not None:
            nested = getattr(state, "state2", None)
            # With double quantization the scales (absmax) are quantized too; `state2` has their scales.
            yield from (state.absmax, state.code, *([nested.absmax, nested.code] if nested else []))
        # The first forward pass moves the scales of 8 bits from the weight to the layer's state.
        scales = [getattr(holder, "SCB", None) for holder in (module.weight, getattr(module, "state", None))]
        yield from (each for each in scales if each is not None)

    def bytes_per_weight(self, settings: QuantizationSettings, shape: DecoderShape) -> float:
        return settings.bits / 8

    def constants_per_weight(self, settings: QuantizationSettings, shape: DecoderShape) -> float:
        if settings.bits == 8:
            # A scale of 4 bytes per row of a weight matrix, that is, per output.
            return 4 * shape.linear_outputs / shape.linear_params
        # A scale of 4 bytes per 64 weights; or one of 1 byte, and 4 more bytes per 256 of these scales.
        return (1 + 4 / 256) / 64 if settings.double_quant else 4 / 64

    def holds_inputs(self, settings: QuantizationSettings) -> bool:
        return settings.bits == 8


def quantize_subclasses(model: Any) -> None:
    """Quantizes linear layers of classes of their own (Falcon's), which transformers leaves as they are, as it does the
    others: on a copy of the model's structure that has plain ones instead.
    """
    from torch import nn
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear

    from trainables.models.architecture.weight_reader import model_weights

    settings = model.config.quantization_config
    layers = {w.module: model.get_submodule(w.module) for w in model_weights(model) if w.form == "linear"}
    for name, layer in layers.items():
        if type(layer) is nn.Linear or type(layer).__module__.startswith(
            ("bitsandbytes", "transformers.pytorch")
        ):
            continue
        plain = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        holder = replace_with_bnb_linear(nn.ModuleDict({"layer": plain}), [], settings)
        quantized = holder["layer"]
        packed, weight = quantized.weight, layer.weight.data
        if weight.device.type != "meta":
            # The library packs a weight when it is moved to its device.
            quantized.weight = type(packed)(weight.to("cpu"), requires_grad=False, **packed.__dict__).to(
                weight.device
            )
        quantized.bias = layer.bias
        model.set_submodule(name, quantized)


def take_inputs_of_any_shape(model: nn.Module) -> None:
    """Lets 8-bit layers multiply inputs of more than three dimensions, as latent attention has, row by row.

    The library's product takes (rows, inputs) and (rows, tokens, inputs), and fails for others.
    """
    from bitsandbytes.nn import Linear8bitLt

    for module in model.modules():
        if type(module) is Linear8bitLt:
            module.__class__ = _linear_of_any_shape()


@cache
def _linear_of_any_shape() -> Any:
    import bitsandbytes

    class Linear8bitLt(bitsandbytes.nn.Linear8bitLt):
        """The library's layer, for inputs (..., inputs)."""

        def forward(self, hidden: Tensor) -> Tensor:
            rows = hidden.shape[:-1]
            return super().forward(hidden.reshape(-1, hidden.shape[-1])).reshape(*rows, -1)

    return Linear8bitLt


def keep_cpu_gradients_correct(model: nn.Module) -> None:
    """Keeps bitsandbytes from repacking 4-bit weights for its AVX512-BF16 kernel, which has no backward pass.

    It repacks in the first forward pass without gradients (an evaluation, a generation), and later gradients would be
    silently wrong.
    """
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def detach_from_weights_file(model: nn.Module) -> None:
    """Copies the weights that were not quantized into memory of their own.

    On a CPU they are views into the memory-mapped weights file, and would keep all of its pages that were read for
    quantizing resident: the 16-bit weights.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point() and parameter.device.type == "cpu":
            parameter.data = parameter.data.clone()
