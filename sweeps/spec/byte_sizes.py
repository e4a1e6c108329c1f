"""Amounts of memory as people write them in a spec or an option."""

from __future__ import annotations

import re

from trainables.config import limits

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
UNITS |= {f"{unit}i": 1024**power for power, unit in enumerate("kmgt", start=1)}
LEAST_MEMORY = 64 * 2**20  # in which anything could be trained; less is a wrong unit


def parse_bytes(text: str) -> int:
    """The number of bytes that ``text`` stands for.

    >>> parse_bytes("24GiB"), parse_bytes("80 GB"), parse_bytes("512 MiB")
    (25769803776, 80000000000, 536870912)

    Raises ``ValueError`` for a text that is not an amount of memory.
    """
    match = re.fullmatch(r"\s*([0-9.]+)\s*([kmgt]?i?)b?\s*", text.lower())
    if match is None or match[2] not in UNITS or len(match[1]) > limits.DIGITS or match[1].count(".") > 1:
        raise ValueError(f"{text!r} is not an amount of memory. Write 24GiB, 80GB or 512MiB")
    return int(float(match[1]) * UNITS[match[2]])


def parse_memory(text: str) -> int:
    """The number of bytes of an amount of memory, which needs a unit: ``24`` may mean 24 GB or 24 bytes.

    >>> parse_memory("24GiB")
    25769803776

    Raises ``ValueError`` as :func:`parse_bytes` does, and for a number without a unit.
    """
    size = parse_bytes(text)
    if text.strip()[-1:].isdigit() or text.strip().endswith("."):
        raise ValueError(f"{text!r} has no unit. Write {text.strip()}GiB, or {text.strip()}GB")
    return size


def parse_memory_limit(text: str) -> int:
    """The value of ``--memory``. Raises ``ValueError`` as :func:`parse_memory` does, and for less than 64 MiB."""
    try:
        size = parse_memory(text)
    except ValueError as error:
        raise ValueError(f"--memory: {error}") from None
    if size < LEAST_MEMORY:
        what = f"{text!r} is less than 64 MiB, in which nothing can be trained"
        raise ValueError(f"--memory: {what}. Write 24GiB or 80GB")
    return size
