"""HQQ: half-quadratic quantization, 1 to 8 bits, without calibration (Badri & Shaji, 2023,
https://mobiusml.github.io/hqq_blog/).

The package's own layers are used: transformers 5.24 refuses it ("QuantizationMethod.HQQ is not available yet").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from trainables.quantizers.base import QuantizationFailed, QuantizationSettings, Quantizer
from trainables.quantizers.bnb import detach_from_weights_file

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainables.models.architecture.decoder_shape import DecoderShape
    from trainables.models.precision import Dtypes


class HQQ(Quantizer):
    """Groups of ``group_size`` weights with a scale and a zero in 16 bits each. 5 and 6 bits are stored in 8."""

    bits: ClassVar[tuple[int, ...]] = (1, 2, 3, 4, 5, 6, 8)
    exclusive_settings: ClassVar[tuple[str, ...]] = ("group_size",)

    def capability(self, settings: QuantizationSettings) -> str:
        return "hqq"

    def load_options(
        self, settings: QuantizationSettings, dtypes: Dtypes, kept: Sequence[str] = ()
    ) -> dict[str, Any]:
        # The whole model is only ever in the machine's memory; layers go to the GPU one by one, quantized.
        return {"device_map": {"": "cpu"}}

    def quantize(self, settings: QuantizationSettings, model: Any, dtypes: Dtypes) -> None:
        import torch
        from hqq.core.quantize import BaseQuantizeConfig, HQQLinear
        from torch import nn

        from trainables.models.architecture.weight_reader import model_weights

        device = "cuda" if torch.cuda.is_available() else "cpu"
        # Groups lie along a row of the weight (outputs, inputs), so they must divide the number of inputs.
        quantization = BaseQuantizeConfig(nbits=settings.bits, group_size=settings.group_size, axis=1)
        layers = [w.module for w in model_weights(model) if w.form == "linear" and w.kind != "router"]
        for name in layers:
            module = model.get_submodule(name)
            if not isinstance(module, nn.Linear):
                continue
            if module.in_features % settings.group_size:
                raise QuantizationFailed(
                    f"{name} has rows of {module.in_features} weights, which groups of {settings.group_size} don't "
                    "divide; choose another group_size"
                )
            quantized = HQQLinear(
                module, quantization, del_orig=False, compute_dtype=dtypes.compute, device=device
            )
            # Otherwise each layer would keep the unquantized one alive.
            quantized.linear_layer = None
            # HQQ makes the packed weights a parameter on a GPU only; a plain tensor would not be counted.
            quantized.W_q = nn.Parameter(quantized.W_q, requires_grad=False)
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, quantized)
        detach_from_weights_file(model)
        model.to(device)
        model.hqq_quantized = True  # PEFT recognizes the model by it

    def is_quantized(self, module: nn.Module) -> bool:
        return type(module).__name__ == "HQQLinear"

    def constants(self, module: Any) -> Iterable[Tensor]:
        yield from (module.meta["scale"], module.meta["zero"])

    def bytes_per_weight(self, settings: QuantizationSettings, shape: DecoderShape) -> float:
        # In bits: HQQ packs ten 3-bit weights into a 32-bit word, and has no packing for 5 and 6 bits.
        stored = {3: 32 / 10, 5: 8, 6: 8}.get(settings.bits, settings.bits)
        return stored / 8

    def constants_per_weight(self, settings: QuantizationSettings, shape: DecoderShape) -> float:
        return 2 * 2 / settings.group_size

    def label(self, settings: QuantizationSettings) -> str:
        return f"hqq{settings.bits}bit"
