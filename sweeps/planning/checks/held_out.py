"""Cells whose data holds out nothing (``eval_fraction: 0``): their trials have no quality to be compared by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeps.planning.cell import Cell
from sweeps.planning.checks.cell import CheckedDraft
from sweeps.spec.problems import Problem

SETTING = ("data", "eval_fraction")
ADVICE = "hold some out (eval_fraction, eval_count or eval)"


def problems(checked: Sequence[CheckedDraft]) -> Iterator[Problem]:
    """Searches and comparisons without held-out rows; one trial, or one after another in a chain, needs none."""
    cells = {each.cell.name: each.cell for each in checked if each.cell is not None}
    continued = {name for cell in cells.values() for name in cell.depends_on}
    # Cells that nothing continues from are what a run is for; of several, people choose one.
    results = [name for name in cells if name not in continued]
    for each in checked:
        if each.cell is None or each.cell.holds_out:
            continue
        if each.cell.trials > 1:
            what = (
                f"no rows are held out, so the {each.cell.trials} trials of {each.cell.name} can't be compared; "
                f"{ADVICE}, or give search: {{trials: 1}}, or one value for each setting"
            )
            yield each.draft.problem(SETTING, what)
        elif len(results) > 1:
            others = ", ".join(name for name in results if name != each.cell.name)
            what = (
                f"no rows are held out, so {each.cell.name} can't be compared with {others}; {ADVICE}, or leave "
                "one of them in the spec, or try one (paretune try)"
            )
            yield each.draft.problem(SETTING, what)


def notes(cells: Sequence[Cell]) -> Iterator[str]:
    """That nothing will be measured of the quality of some cells."""
    names = [cell.name for cell in cells if not cell.holds_out]
    if names:
        yield (
            f"{', '.join(names)}: no rows are held out (eval_fraction: 0), so no quality is measured, the untrained "
            "model isn't scored, and nothing is trained again with other seeds"
        )
