"""A plan for people: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sweeps.problems import shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from sweeps.cells import Cell
    from sweeps.plan import Plan


def show_plan(plan: Plan, console: Console) -> None:
    """Prints the cells, the notes and the problems."""
    if console.is_terminal:
        console.print(plan_table(plan))
        console.print("\n".join(_summary(plan)), highlight=False, markup=False)
        return
    for line in plan_lines(plan):
        # Wrapped lines are hard to grep.
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def plan_table(plan: Plan) -> Table:
    """One row per cell."""
    from rich.table import Table

    table = Table(title=plan.spec.question, title_justify="left")
    for heading in ("cell", "trials", "steps", "compared at", "searched", "starts from"):
        table.add_column(heading, justify="right" if heading in ("trials", "steps") else "left")
    for cell in plan.cells:
        table.add_row(*_row(cell))
    for base in plan.bases:
        table.add_row(base.cell, "1", "", "", "", "")
    return table


def plan_lines(plan: Plan) -> Iterator[str]:
    """One line per cell, base model, note and problem."""
    for cell in plan.cells:
        name, trials, steps, rungs, space, prior = _row(cell)
        parts = [f"{name}: {trials} {'trial' if trials == '1' else 'trials'} of {steps} steps"]
        parts += [f"compared at {rungs}"] if rungs else []
        parts += [f"searched: {', '.join(space.splitlines())}"] if space else []
        parts += [f"starts from {prior}"] if prior else []
        yield "; ".join(parts)
    for base in plan.bases:
        yield f"{base.cell}: scored as it is"
    yield from _summary(plan)


def _row(cell: Cell) -> tuple[str, str, str, str, str, str]:
    return (
        cell.name,
        str(cell.trials),
        str(cell.steps),
        ", ".join(map(str, cell.rungs)),
        "\n".join(f"{leaf} {domain}" for leaf, domain in cell.space.items()),
        ", ".join(f"{leaf.rpartition('.')[2]} {shown(value)}" for leaf, value in cell.prior().items()),
    )


def _summary(plan: Plan) -> Iterator[str]:
    bases = (
        f", and {len(plan.bases)} base model" + ("s" if len(plan.bases) != 1 else "") if plan.bases else ""
    )
    yield f"{plan.trials} trials in {len(plan.cells)} cells{bases}"
    yield from plan.notes
    for problem in plan.problems:
        yield f"{'error' if problem.error else 'warning'}: {problem}"
