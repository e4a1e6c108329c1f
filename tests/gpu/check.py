"""What a check is, and how its cases are run: one that fails, or runs out of memory, does not stop the others."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from tests.gpu.bench import Bench
from tests.gpu.process_state import restore_process
from tests.gpu.report import Row

TRACE_LENGTH = 6000  # characters of a trace that are kept, the last ones


class Skip(Exception):  # noqa: N818
    """A case that can't be tried here; the message says why."""


class TrialFailed(RuntimeError):  # noqa: N818
    """A trial ended otherwise than the case needs; ``trace`` is that of its error."""

    def __init__(self, message: str, trace: str | None = None) -> None:
        super().__init__(message)
        self.trace = trace


@dataclass(frozen=True)
class Finding:
    """What a case measured; ``problem``: why that is not what it should be, ``None`` where it is."""

    values: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True)
class Case:
    """One row of a check. ``needs``: what it takes, as :func:`lacking` reads it."""

    name: str
    run: Callable[[], Finding]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One subject of the script, whose cases are in the module of its name.

    ``name``: as ``--only`` takes it. ``purpose``: a sentence for the help. ``seconds``: about how long it takes on one
    H100. ``needs``: what all of its cases take.
    """

    name: str
    purpose: str
    seconds: int
    needs: tuple[str, ...] = ("cuda",)

    def cases(self, bench: Bench) -> Iterator[Case]:
        """The cases; a case may use what earlier ones found, since each is made once the one before has run."""
        # Imported late: the process that only watches needs no torch.
        cases: Iterator[Case] = import_module(f"tests.gpu.checks.{self.name}").cases(bench)
        return cases


def rows_of(check: Check, bench: Bench, begin: Callable[[str], None] = lambda _: None) -> Iterator[Row]:
    """Runs the cases of a check one after the other. ``begin`` is called with the name of each before it runs."""
    if (missing := lacking(check.needs, bench.dry)) is not None:
        yield Row(check.name, "all", "skipped", reason=missing)
        return
    begin("preparing")
    try:
        cases = check.cases(bench)
        while (case := next(cases, None)) is not None:
            begin(case.name)
            yield run_case(check.name, case, bench)
            begin("preparing")
    except Exception as error:  # of what stands between two cases: the check can't go on
        yield _error_row(check.name, "preparing", error)


def lacking(needs: tuple[str, ...], dry: bool = False) -> str | None:
    """Why this machine hasn't what ``needs`` names, ``None`` where it has: ``cuda`` (which a dry run does without), a
    capability by its name in ``trainables.system.capabilities``, or a module.
    """
    from trainables.system import capabilities

    for name in needs:
        if name in capabilities.CHECKS:
            found = capabilities.check_capability(name)
            if not found.works:
                return f"{name}: {found.detail}"
        elif name == "cuda":
            import torch

            if not dry and not torch.cuda.is_available():
                return "torch sees no CUDA device"
        elif find_spec(name) is None:
            return f"the package {name} is not installed"
    return None


def run_case(check: str, case: Case, bench: Bench) -> Row:
    """Runs a case, and frees what it left in the process."""
    if time.monotonic() >= bench.deadline:
        return Row(check, case.name, "skipped", reason="the time budget was used up before it")
    started = time.perf_counter()
    if (missing := lacking(case.needs, bench.dry)) is not None:
        return Row(check, case.name, "skipped", reason=missing)
    row = _outcome(check, case)
    # Only now: within the except block the error's frames would hold the case's tensors.
    restore_process()
    return replace(row, seconds=time.perf_counter() - started)


def _outcome(check: str, case: Case) -> Row:
    try:
        finding = case.run()
    except Skip as skip:
        return Row(check, case.name, "skipped", reason=str(skip))
    except Exception as error:
        return _error_row(check, case.name, error)
    outcome = "failed" if finding.problem else "passed"
    return Row(check, case.name, outcome, _finite(finding.values), finding.problem)


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with texts in the place of numbers that JSON doesn't have."""
    odd = {name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)}
    return {name: str(value) if name in odd else value for name, value in values.items()}


def _error_row(check: str, case: str, error: Exception) -> Row:
    trace = getattr(error, "trace", None) or "".join(traceback.format_exception(error))
    first_line = (str(error).splitlines() or [""])[0]
    what = first_line if isinstance(error, TrialFailed) else f"{type(error).__name__}: {first_line}"
    return Row(check, case, "error", reason=what[:400], trace=trace[-TRACE_LENGTH:])
