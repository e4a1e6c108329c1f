"""How much a spec may ask for: beyond what makes sense, and below what would fill a memory while it is planned.

sweeps/README.md lists these under Security.
"""

from __future__ import annotations

from pydantic import AfterValidator

SPEC_BYTES = 2**18
SPEC_VALUES = 10_000  # once every alias is written out
SPEC_DEPTH = 32
DIGITS = 30  # of a number
CELLS = 1_000
PROBES = 20_000  # ends and choices of all cells' domains: each is tried before anything runs
CHOICES = 1_000  # of one domain
TRIALS = 10_000  # of a cell
SWEEP_TRIALS = 100_000
WORKERS = 1_024  # of a trial; also a worker's CPUs and GPUs, and trials at a time
STEPS = 10_000_000
EPOCHS = 10_000
ROWS = 100_000_000  # that one trial trains on, each time it comes
BATCH = 65_536  # rows at a time, and times that they are accumulated
TOKENS = 2**20  # of a row, or an answer
RANK = 65_536


def at_most(limit: int) -> AfterValidator:
    """The limit of a field: ``steps: Annotated[int, most(STEPS)]``."""

    def check(value: float | None) -> float | None:
        if value is not None and value > limit:
            raise ValueError(f"got {value:,}; a spec may ask for {limit:,} at most")
        return value

    return AfterValidator(check)
