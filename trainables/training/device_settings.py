"""How a GPU computes in a trial beyond the dtypes of its weights: TF32, and the settings of the allocator."""

from __future__ import annotations

from typing import Any

import torch

from trainables.system import allocator


def use_tensor_cores(precision: str, device: str) -> None:
    """Has a GPU compute matrix products of fp32 in TF32 (10 bits of mantissa), unless ``precision`` asks for fp32.

    With 16-bit types few products are left in fp32, such as those of reward heads. ``clean_process`` undoes it.
    """
    if device == "cuda" and precision != "fp32":
        torch.set_float32_matmul_precision("high")


def device_facts(device: str) -> dict[str, Any]:
    """What a trial's record says about it; nothing on a CPU."""
    if device != "cuda":
        return {}
    return {"tf32": torch.get_float32_matmul_precision() != "highest", "allocator": allocator.settings()}
