"""The state that bitsandbytes' optimizers keep, in 32 bits or in 8 with a scale for each block, what their updates take
for a moment, and their names.
"""

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
    if _in_32_bits(tensor, bits):
        return FP32 * moments * tensor.size
    return moments * (tensor.size + FP32 * -(-tensor.size // BLOCK))


def bitsandbytes_update_bytes(
    tensor: TrainedTensor, bits: int, moments: int, width: int, device: str
) -> float:
    """What an update of one tensor takes for a moment. A GPU has kernels that need nothing.

    On a CPU it is a function that torch compiles: so many results in 32 bits (counted by the allocations of
    bitsandbytes 0.50), and the weights in 32 bits where they are held in 16. Where there is no C++ compiler it takes
    about twice as much.
    """
    if device != "cpu":
        return 0
    if _in_32_bits(tensor, bits):
        results: float = 3 if moments < 3 else 4
    else:
        results = 5 if moments < 3 else 9.25
    return FP32 * tensor.size * (results + (width != FP32))


def _in_32_bits(tensor: TrainedTensor, bits: int) -> bool:
    return bits == 32 or tensor.size < SMALLEST or tensor.part == "embedding"
