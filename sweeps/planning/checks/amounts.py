"""How much a sweep may ask for: trials in all, and ends and choices that are checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeps.planning.cell import Cell
from sweeps.planning.draft import Draft
from sweeps.spec.problems import Problem, SpecError
from sweeps.spec.spec import Spec
from trainables.config import limits


def refuse_too_many_probes(spec: Spec, drafts: Sequence[Draft]) -> None:
    """Raises ``SpecError`` where checking every end and choice of all cells would take minutes."""
    probes = sum(len(domain.probes()) for draft in drafts for domain in draft.space.values())
    if probes > limits.PROBES:
        what = (
            f"{probes:,} ends and choices to be searched in {len(drafts):,} cells; a sweep has at most "
            f"{limits.PROBES:,}. List fewer choices, or write a range, as {{int: [low, high]}}"
        )
        raise SpecError(spec.source.problem(("methods",), what))


def too_many_trials(spec: Spec, cells: Sequence[Cell]) -> Iterator[Problem]:
    """An error where all cells together have more trials than a sweep may have."""
    if (trials := sum(cell.trials for cell in cells)) > limits.SWEEP_TRIALS:
        what = f"{trials:,} trials in {len(cells):,} cells; a sweep has at most {limits.SWEEP_TRIALS:,}"
        yield spec.source.problem(("search", "trials"), what)
