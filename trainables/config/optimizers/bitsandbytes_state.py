"""The state that bitsandbytes' optimizers keep, in 32 bits or in 8 with a scale for each block, and their names."""

from __future__ import annotations

from trainables.config.optimizers.base import FP32, TrainedTensor

BLOCK = 256  # numbers that share one scale
SMALLEST = 4096  # numbers of a tensor; the state of smaller ones stays in 32 bits


def bitsandbytes_name(name: str, bits: int, paged: bool) -> str:
    """What transformers calls an optimizer whose state has so many bits.

    >>> bitsandbytes_name("lion", 8, paged=True)
    'paged_lion_8bit'
    """
    return f"{'paged_' if paged else ''}{name}_{bits}bit"


def bitsandbytes_bytes(tensor: TrainedTensor, bits: int, moments: int) -> float:
    """Bytes of ``moments`` running means of one tensor. transformers has an embedding's kept in 32 bits."""
    if bits == 32 or tensor.size < SMALLEST or tensor.part == "embedding":
        return FP32 * moments * tensor.size
    return moments * (tensor.size + FP32 * -(-tensor.size // BLOCK))
