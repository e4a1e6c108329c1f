"""Which dtype the weights and the arithmetic have under each ``precision``."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Dtypes:
    """``frozen`` and ``trainable``: the weights' while training; after it, all end up in ``frozen``.

    ``autocast``: the arithmetic's while training, ``None`` for the weights' own.
    """

    frozen: torch.dtype
    trainable: torch.dtype
    autocast: torch.dtype | None

    @property
    def compute(self) -> torch.dtype:
        """The dtype that matrix products run in."""
        return self.autocast or self.trainable


def dtypes(precision: str, model_dtype: str) -> Dtypes:
    """``bf16`` and ``fp16`` keep trainable weights in fp32 and frozen ones in the model's dtype, under
    autocast; ``pure_bf16`` and ``fp32`` keep everything in the one dtype.

    >>> dtypes("bf16", "bfloat16").trainable
    torch.float32
    """
    if precision == "fp32":
        return Dtypes(torch.float32, torch.float32, None)
    if precision == "pure_bf16":
        return Dtypes(torch.bfloat16, torch.bfloat16, None)
    low = torch.bfloat16 if precision == "bf16" else torch.float16
    return Dtypes(getattr(torch, model_dtype), torch.float32, low)
