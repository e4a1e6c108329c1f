"""QLoRA: LoRA on a quantized base (Dettmers et al., 2023, arXiv:2305.14314), with any of the quantizers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from trainables.methods import inspection
from trainables.methods.footprint import Footprint
from trainables.methods.lora import INITS_FROM_BASE_WEIGHTS, LoRA
from trainables.methods.quantized_base import QuantizedBase
from trainables.methods.weight_shares import left_out, weight_shares
from trainables.quantizers import QUANTIZERS, Quantizer

if TYPE_CHECKING:
    from trainables.models.architecture.decoder_shape import DecoderShape
    from trainables.models.folder import Architecture


class QLoRA(QuantizedBase, LoRA):
    """LoRA with the base's linear layers in ``bits``, by ``backend``: bitsandbytes (4, 8), HQQ (1 to 8) or EETQ (8).

    ``quant_type`` and ``double_quant`` belong to bitsandbytes with 4 bits, ``int8_threshold`` to bitsandbytes with 8:
    inputs beyond it are multiplied in 16 bits (6 in the paper, 0 for none). ``group_size``: weights per scale of HQQ.
    """

    kind: Literal["qlora"] = "qlora"  # type: ignore[assignment]
    backend: Literal["bnb", "hqq", "eetq"] = "bnb"
    bits: Literal[1, 2, 3, 4, 5, 6, 8] = 4
    quant_type: Literal["nf4", "fp4"] = "nf4"
    double_quant: bool = True
    int8_threshold: float = Field(default=6.0, ge=0)
    group_size: int = Field(default=64, ge=8, multiple_of=8)

    sharding_obstacle: ClassVar[str | None] = "quantized weights can't be sharded"

    @model_validator(mode="after")
    def _check_settings(self) -> QLoRA:
        if self.init in INITS_FROM_BASE_WEIGHTS:
            raise ValueError(
                f"init: {self.init} takes the adapter's start out of the base's weights, which isn't possible with a "
                "quantized base; use init: default or method lora"
            )
        if self.bits not in self.quantizer.bits:
            supported = " or ".join(map(str, self.quantizer.bits))
            raise ValueError(
                f"bits: {self.backend} has {supported} bits, not {self.bits}. Write backend: hqq, which has 1 to "
                "6 and 8"
            )
        for name, other in QUANTIZERS.items():
            for key in other.exclusive_settings if name != self.backend else ():
                # The backend would ignore such a setting, and two trials would differ in their ids alone.
                if getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"{key} is a setting of {name}, and the backend is {self.backend}")
        return self

    @property
    def quantizer(self) -> Quantizer:
        return QUANTIZERS[self.backend]

    @property
    def label(self) -> str:
        return self.name or f"qlora-{self.quantizer.label(self)}"

    def problems(self, architecture: Architecture) -> Iterator[tuple[str, str]]:
        yield from super().problems(architecture)
        yield from self.quantization_problems(architecture, self.modules_to_save)

    def remarks(self, architecture: Architecture) -> Iterator[tuple[str, str]]:
        yield from super().remarks(architecture)
        found = inspection.inspect(self, architecture)
        if found is None or self.quantization_problem(architecture) is not None:
            return
        shares = weight_shares(inspection.quantizable(found.weights))
        if (whole := left_out(shares, "quantized")) is not None:
            yield "bits", f"{whole} stays in 16 bits"

    def footprint(self, shape: DecoderShape) -> Footprint:
        return replace(
            super().footprint(shape),
            linear_bytes=self.quantizer.bytes_per_weight(self, shape),
            constant_bytes=self.quantizer.constants_per_weight(self, shape),
            holds_inputs=self.quantizer.holds_inputs(self),
        )
