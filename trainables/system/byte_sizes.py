"""Amounts of memory as texts: bytes inside the program, GiB where people read them."""

from __future__ import annotations

GIB = 2**30


def gib(count: float, digits: str = ".2f") -> str:
    """``count`` bytes in GiB; ``digits`` is a format specification for the number.

    >>> gib(1.5 * GIB), gib(24 * GIB, ".0f")
    ('1.50 GiB', '24 GiB')
    """
    return f"{count / GIB:{digits}} GiB"


def both_units(count: float) -> str:
    """``count`` bytes in both units that people write memory in.

    >>> both_units(24e9), both_units(24 * GIB)
    ('24 GB (22.35 GiB)', '25.77 GB (24 GiB)')
    """
    return f"{count / 1e9:.4g} GB ({gib(count, '.4g')})"
