"""EETQ: 8 bits, one scale per column, on an NVIDIA GPU, through transformers (https://github.com/NetEase-FuXi/EETQ)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from trainables.quantizers.base import QuantizationSettings, Quantizer

if TYPE_CHECKING:
    from torch import nn

    from trainables.models.architecture.decoder_shape import DecoderShape
    from trainables.models.precision import Dtypes


class EETQ(Quantizer):
    """Multiplies in fp16; the backward pass dequantizes one weight at a time."""

    bits: ClassVar[tuple[int, ...]] = (8,)

    def capability(self, settings: QuantizationSettings) -> str:
        return "eetq"

    def load_options(
        self, settings: QuantizationSettings, dtypes: Dtypes, kept: Sequence[str] = ()
    ) -> dict[str, Any]:
        from transformers import EetqConfig

        return {"quantization_config": EetqConfig("int8", list(kept) or None)}

    def is_quantized(self, module: nn.Module) -> bool:
        return type(module).__name__ == "EetqLinear"

    def weights(self, module: Any) -> int:
        return int(module.weight.numel())

    def bytes_per_weight(self, settings: QuantizationSettings, shape: DecoderShape) -> float:
        return 1

    def constants_per_weight(self, settings: QuantizationSettings, shape: DecoderShape) -> float:
        # A scale of 2 bytes per output.
        return 2 * shape.linear_outputs / shape.linear_params

    def label(self, settings: QuantizationSettings) -> str:
        return f"eetq{settings.bits}bit"
