"""How a base model is quantized: by which quantizer, with which settings."""

from __future__ import annotations

from dataclasses import dataclass, fields

from trainables.quantizers import QUANTIZERS, Quantizer


@dataclass(frozen=True)
class Quantization:
    """How a base's linear layers are quantized; ``methods.qlora.QLoRA`` says what each setting means."""

    backend: str = "bnb"
    bits: int = 4
    quant_type: str = "nf4"
    double_quant: bool = True
    int8_threshold: float = 6.0
    group_size: int = 64

    @property
    def quantizer(self) -> Quantizer:
        return QUANTIZERS[self.backend]


SETTINGS = tuple(field.name for field in fields(Quantization))
