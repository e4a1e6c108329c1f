"""How many bytes one number takes under each ``precision``: :mod:`trainables.models.precision` without torch."""

from __future__ import annotations

from dataclasses import dataclass

DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


@dataclass(frozen=True)
class ByteWidths:
    """Bytes of one frozen weight, of one trainable weight, and of one number in matrix products.

    ``autocast``: whether autocast casts weights to the type of the products.
    """

    frozen: int
    trainable: int
    compute: int
    autocast: bool


def byte_widths(precision: str, model_dtype: str) -> ByteWidths:
    """The widths under a ``train.precision``, for a model loaded as ``model_dtype``.

    >>> byte_widths("bf16", "bfloat16")
    ByteWidths(frozen=2, trainable=4, compute=2, autocast=True)
    """
    if precision == "fp32":
        return ByteWidths(4, 4, 4, autocast=False)
    if precision == "pure_bf16":
        return ByteWidths(2, 2, 2, autocast=False)
    return ByteWidths(DTYPE_BYTES[model_dtype], 4, 2, autocast=True)
