"""Running out of memory is a finding of its trial, and the process is usable after it.

In a dry run, which has no limit to exceed, the trial's control raises the error.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.gpu.bench import Bench
from tests.gpu.check import Case, Finding
from tests.gpu.process_state import allocated_bytes
from tests.gpu.trials import train, trial_config
from trainables.training.training_callback import NoControl

SLACK = 2**26  # bytes that may stay allocated after a trial: workspaces of libraries for shapes that are new
PASSES = ("forward", "backward")


class FullMemory(NoControl):
    """Raises, in the first step that it is asked at, what an allocation does that fails."""

    raised = False

    def interrupted(self) -> bool:
        if self.raised:
            return False
        self.raised = True
        raise MemoryError("none left")


def cases(bench: Bench) -> Iterator[Case]:
    yield Case("a batch that can't fit", partial(_does_not_fit, bench))
    yield Case("half the rows fit", partial(_fits_halved, bench))


def _does_not_fit(bench: Bench) -> Finding:
    if bench.device == "cuda":
        train(bench, trial_config(bench, "lora", steps=1))  # allocates what libraries keep for the process
    before = _allocated_when_clean()
    config = trial_config(bench, "lora", tokens=bench.pick(1024, 48), batch_size=_too_many(bench))
    failed = train(bench, config, _control(bench), ends=("out_of_memory",)).record
    left = _allocated_when_clean() - before
    after = train(bench, trial_config(bench, "lora"))
    values = {
        "rows": config.train.batch_size,
        "in": failed.out_of_memory_in,
        "left_allocated_bytes": left,
        "loss_of_the_next_trial": after.losses[-1],
    }
    problem = None if left <= SLACK else f"{left / 2**20:.0f} MiB stayed allocated"
    return Finding(values, problem or _phase_problem(failed.out_of_memory_in))


def _fits_halved(bench: Bench) -> Finding:
    """The allocator's limit lies between the peaks of the whole batch and of half of it."""
    rows = bench.pick(32, 4)
    options = {"tokens": bench.pick(1024, 48), "retry_out_of_memory": True}
    if bench.device == "cuda":
        _limit_to(0.5 * (_peak(bench, rows // 2, options) + _peak(bench, rows, options)))
    before = _allocated_when_clean()
    config = trial_config(bench, "lora", batch_size=rows, **options)
    record = train(bench, config, _control(bench)).record
    left = _allocated_when_clean() - before
    values = {"rows": rows, "retried_rows": record.retried_batch_size, "left_allocated_bytes": left}
    halved = record.retried_batch_size == rows // 2
    return Finding(values, None if halved else "it was not tried again with half the rows")


def _control(bench: Bench) -> NoControl:
    return NoControl() if bench.device == "cuda" else FullMemory()


def _phase_problem(phase: Any) -> str | None:
    return (
        None if phase in PASSES else f"memory ran out in the phase {phase}, not in a forward or backward pass"
    )


def _too_many(bench: Bench) -> int:
    """Rows whose activations take several times the GPU's memory."""
    if bench.device != "cuda":
        return 4
    import torch

    # At least 1 MiB of activations a token, and 1024 tokens a row: a GiB a row.
    return 8 * (torch.cuda.mem_get_info()[1] // 2**30)


def _peak(bench: Bench, rows: int, options: dict[str, Any]) -> int:
    """Bytes that the allocator reserved at most in two steps with ``rows`` rows."""
    import torch

    _allocated_when_clean()
    torch.cuda.reset_peak_memory_stats()
    train(bench, trial_config(bench, "lora", batch_size=rows, **{**options, "steps": 2}))
    return torch.cuda.max_memory_reserved()


def _limit_to(limit: float) -> None:
    import torch

    _allocated_when_clean()
    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.mem_get_info()[1])


def _allocated_when_clean() -> int:
    from trainables.training.trainer_setup import clean_process

    clean_process()
    return allocated_bytes()
