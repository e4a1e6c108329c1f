"""Quantizers: what holds a base's linear layers in few bits. One file each, in one table."""

from __future__ import annotations

from trainables.quantizers.base import QuantizationFailed, Quantizer, check
from trainables.quantizers.bnb import BitsAndBytes
from trainables.quantizers.eetq import EETQ
from trainables.quantizers.hqq import HQQ

__all__ = ["QUANTIZERS", "QuantizationFailed", "Quantizer", "check"]

QUANTIZERS: dict[str, Quantizer] = {"bnb": BitsAndBytes(), "hqq": HQQ(), "eetq": EETQ()}
