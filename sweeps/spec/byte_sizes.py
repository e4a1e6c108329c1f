"""Amounts of memory as people write them."""

from __future__ import annotations

import re

from trainables.config import limits

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
UNITS |= {f"{unit}i": 1024**power for power, unit in enumerate("kmgt", start=1)}


def parse_bytes(text: str) -> int:
    """
    >>> parse_bytes("24GiB"), parse_bytes("80 GB"), parse_bytes("512 MiB")
    (25769803776, 80000000000, 536870912)

    Raises ``ValueError`` for what is no amount of memory.
    """
    found = re.fullmatch(r"\s*([0-9.]+)\s*([kmgt]?i?)b?\s*", text.lower())
    if found is None or found[2] not in UNITS or len(found[1]) > limits.DIGITS or found[1].count(".") > 1:
        raise ValueError(f"{text!r} is no amount of memory. Write 24GiB, 80GB or 512MiB")
    return int(float(found[1]) * UNITS[found[2]])
