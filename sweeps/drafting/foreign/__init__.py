"""Training configurations of LLaMA-Factory and ms-swift, and what becomes of their settings in a spec."""

from __future__ import annotations

import shlex
from pathlib import Path

from sweeps.drafting.foreign import llama_factory, swift
from sweeps.drafting.foreign.carry_over import CarryOver, carry_over
from sweeps.drafting.foreign.foreign_file import NAMES, read_foreign
from sweeps.spec.problems import Problem, SpecError

TABLES = {"llama-factory": llama_factory.TABLE, "ms-swift": swift.TABLE}


def read_carry_over(file: Path) -> CarryOver | None:
    """What can be carried over from a file; ``None`` for one that holds no configuration of the two tools.

    Raises ``SpecError`` for a command that names a file which can't be read.
    """
    found = read_foreign(file)
    return carry_over(found, TABLES[found.tool]) if found is not None else None


def refuse_foreign(spec: str) -> None:
    """Raises ``SpecError`` for a spec that is another tool's configuration, which says what to do with it."""
    if (found := read_foreign(Path(spec).expanduser())) is not None:
        command = f"paretune init {shlex.quote(str(spec))}"
        what = f"this is a configuration of {NAMES[found.tool]}: {command} writes a spec of it"
        raise SpecError(Problem(spec, "", what))
