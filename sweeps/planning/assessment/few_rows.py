"""Warns of parts of the data that are too small to search or to judge by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sweeps.planning.cell import Cell
from sweeps.spec.problems import Problem
from trainables.system.wording import counted

if TYPE_CHECKING:
    from sweeps.planning.plan import Plan

# Of 30 rows, one more that is right is 3 points, and the standard error of a share near a half is 9.
LEAST_ROWS = 30


def warnings(plan: Plan) -> Iterator[Problem]:
    """One for each data set with fewer validation or test rows than can tell anything."""
    said: set[str] = set()
    for cell in plan.cells:
        if not cell.holds_out or (what := _what(cell)) is None or what in said:
            continue
        said.add(what)
        config = cell.first().data
        key = (
            "eval_rows" if config.eval_rows is not None and config.eval_rows < LEAST_ROWS else "eval_fraction"
        )
        yield plan.spec.source.problem(("data", key), what, error=False)


def _what(cell: Cell) -> str | None:
    test = cell.quality_rows.rows if cell.quality_rows is not None else 0
    few = []
    if cell.validation_rows < LEAST_ROWS:
        chosen = "by which the best trial is chosen"
        few.append(f"{counted(cell.validation_rows, 'validation row')}, {chosen}")
    if test < LEAST_ROWS:
        few.append(f"{counted(test, 'test row')}, by which it is judged")
    if not few:
        return None
    return (
        f"data {cell.first().data.label}: {' and '.join(few)}: fewer than {LEAST_ROWS} rows mostly show chance; hold "
        "out more (eval_fraction, eval_count, eval_rows, or a file of their own: eval)"
    )
