"""FlashAttention (Dao, 2023, arXiv:2307.08691): its implementations, and what it is told about packed rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

FLASH = ("flash_attention_3", "flash_attention_2")  # the faster first


def is_flash(attention: str | None) -> bool:
    """Whether an attention implementation is FlashAttention, which takes no matrix that masks some pairs of tokens."""
    return attention in FLASH


def flash_boundaries(sizes: Sequence[int], device: Any = "cpu") -> dict[str, Any]:
    """The arguments of a model by which FlashAttention keeps examples of these ``sizes`` apart in one long row.

    transformers would detect them by their positions in a batch of one row alone, and in each layer anew; in a batch of
    several rows it would have the examples of a row attend to one another. Checked with transformers 5.24.
    """
    import torch

    ends = torch.tensor([0, *accumulate(sizes)], dtype=torch.int32, device=device)  # (examples + 1,)
    longest = max(sizes)
    return {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": longest, "max_length_k": longest}
