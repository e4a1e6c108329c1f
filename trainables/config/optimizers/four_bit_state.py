"""The state of AdamW in 4 bits: which tensors have it, and what it takes."""

from __future__ import annotations

from trainables.config.optimizers.base import FP32

BLOCK = 128  # numbers that share one scale
SMALLEST = 4096  # numbers of a tensor; the state of smaller ones has all its bits
# Numbers of a tensor that are updated at once: a GPU is quicker with more of them.
PARTS = {"cpu": 2**18}
LARGE_PART = 2**22
# Beside weights, gradients and state, of each number that is updated at once, counted by torch's record of allocations.
# Gradients of 16 bits are brought to 32.
UPDATE_BYTES = 24


def has_4_bits(size: int) -> bool:
    """Whether the state of a tensor of so many numbers has 4 bits."""
    return size >= SMALLEST and size % BLOCK == 0


def part_size(device: str) -> int:
    return PARTS.get(device, LARGE_PART)


def four_bit_bytes(size: int, width: int) -> float:
    """Bytes of two means of one tensor, whose numbers take ``width`` bytes."""
    return 2 * (size / 2 + FP32 * size / BLOCK) if has_4_bits(size) else 2 * width * size


def four_bit_update_bytes(size: int, width: int, device: str) -> float:
    """What an update of one tensor, whose numbers take ``width`` bytes, takes for a moment."""
    each = UPDATE_BYTES + (0 if width == FP32 else FP32)
    return each * min(size, part_size(device)) if has_4_bits(size) else 0
