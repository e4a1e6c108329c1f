"""Upper limits of what a spec may request: above any sensible value, below what would exhaust memory in planning.

sweeps/README.md lists these under Security.
"""

from __future__ import annotations

from functools import partial

from pydantic import AfterValidator

SPEC_BYTES = 2**18
SPEC_VALUES = 10_000  # after aliases are expanded
SPEC_DEPTH = 32
DIGITS = 30  # in a number
CELLS = 1_000
PROBES = 20_000  # ends and choices of all cells' domains, each of which is checked while planning
CHOICES = 1_000  # of one domain
TRIALS = 10_000  # of a cell
SWEEP_TRIALS = 100_000
WORKERS = 1_024  # of a trial; also CPUs and GPUs of a worker, and concurrent trials
STEPS = 10_000_000
EPOCHS = 10_000
ROWS = 100_000_000  # that a trial trains on, counting repetitions
BATCH = 65_536  # rows of a batch, and accumulated batches
TOKENS = 2**20  # of a row or an answer
RANK = 65_536


def at_most(limit: int) -> AfterValidator:
    """Validates that a field does not exceed ``limit``: ``steps: Annotated[int, at_most(STEPS)]``."""
    return AfterValidator(partial(_check, limit=limit))  # a form reads the limit from here


def _check(value: float | None, *, limit: int) -> float | None:
    if value is not None and value > limit:
        raise ValueError(f"got {value:,}; the maximum is {limit:,}")
    return value
