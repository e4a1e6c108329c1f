"""The dtypes of weights and arithmetic for each ``precision``."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Dtypes:
    """``frozen`` and ``trainable``: the dtypes of the weights during training; all are saved in ``frozen``.

    ``autocast``: the dtype of the arithmetic during training, ``None`` for that of the weights.
    """

    frozen: torch.dtype
    trainable: torch.dtype
    autocast: torch.dtype | None

    @property
    def compute(self) -> torch.dtype:
        """The dtype that matrix products run in."""
        return self.autocast or self.trainable


def choose_dtypes(precision: str, model_dtype: str) -> Dtypes:
    """The dtypes for a ``precision``.

    ``bf16`` and ``fp16`` keep trainable weights in fp32 and frozen ones in the model's dtype, under autocast;
    ``pure_bf16`` and ``fp32`` keep everything in one dtype.

    >>> choose_dtypes("bf16", "bfloat16").trainable
    torch.float32
    """
    if precision == "fp32":
        return Dtypes(torch.float32, torch.float32, None)
    if precision == "pure_bf16":
        return Dtypes(torch.bfloat16, torch.bfloat16, None)
    low = torch.bfloat16 if precision == "bf16" else torch.float16
    return Dtypes(getattr(torch, model_dtype), torch.float32, low)
