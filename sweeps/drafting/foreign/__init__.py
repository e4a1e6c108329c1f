"""Training configurations of LLaMA-Factory and ms-swift, and what becomes of their settings in a spec."""

from __future__ import annotations

from pathlib import Path

from sweeps.drafting.foreign import llama_factory, swift
from sweeps.drafting.foreign.carry_over import CarryOver, carry_over
from sweeps.drafting.foreign.foreign_file import read_foreign

TABLES = {"llama-factory": llama_factory.TABLE, "ms-swift": swift.TABLE}


def read_carry_over(file: Path) -> CarryOver | None:
    """What can be carried over from a file; ``None`` for one that holds no configuration of the two tools.

    Raises ``SpecError`` for a command that names a file which can't be read.
    """
    found = read_foreign(file)
    return carry_over(found, TABLES[found.tool]) if found is not None else None
