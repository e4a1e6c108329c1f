"""Quantizers, which hold a base's linear layers in few bits: one file each, and the table of all."""

from __future__ import annotations

from trainables.quantizers.base import QuantizationFailed, Quantizer, check_quantized
from trainables.quantizers.bnb import BitsAndBytes
from trainables.quantizers.eetq import EETQ
from trainables.quantizers.hqq import HQQ

__all__ = ["QUANTIZERS", "QuantizationFailed", "Quantizer", "check_quantized"]

QUANTIZERS: dict[str, Quantizer] = {"bnb": BitsAndBytes(), "hqq": HQQ(), "eetq": EETQ()}
