"""How many bytes a number takes under each ``precision``; :mod:`trainables.models.precision` without torch."""

from __future__ import annotations

from dataclasses import dataclass

SIZES = {"bfloat16": 2, "float16": 2, "float32": 4}


@dataclass(frozen=True)
class Widths:
    """Of frozen and trainable weights and of the arithmetic; ``autocast``: whether that casts weights."""

    frozen: int
    trainable: int
    compute: int
    autocast: bool


def widths(precision: str, model_dtype: str) -> Widths:
    """
    >>> widths("bf16", "bfloat16")
    Widths(frozen=2, trainable=4, compute=2, autocast=True)
    """
    if precision == "fp32":
        return Widths(4, 4, 4, autocast=False)
    if precision == "pure_bf16":
        return Widths(2, 2, 2, autocast=False)
    return Widths(SIZES[model_dtype], 4, 2, autocast=True)
