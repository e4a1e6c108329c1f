"""A plan for people: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sweeps.spec.problems import shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from sweeps.planning.cell import Cell
    from sweeps.planning.memory.method_grid import Row
    from sweeps.planning.plan import Plan
    from trainables.trial.config import TrialConfig


GIB = 2**30


def show_plan(plan: Plan, console: Console) -> None:
    """Prints the cells and the notes."""
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
    headings = ["cell", "trials", "steps", "compared at", "searched", "tried first", "foretold peak"]
    headings += ["goes on from"] if any(cell.needs for cell in plan.cells) else []
    for heading in headings:
        table.add_column(heading, justify="right" if heading in ("trials", "steps") else "left")
    rows = [
        *map(_row, plan.cells),
        *((base.cell, "1", "", "", "", "", "", _taken(base)) for base in plan.bases),
    ]
    for row in rows:
        table.add_row(*row[: len(headings)])
    return table


def grid_table(rows: Sequence[Row], room: int | None) -> Table:
    """What each method takes, by what for; with ``room`` (bytes), whether it fits."""
    from rich.table import Table

    parts = {
        "weights": "weights",
        "quantization": "quant",
        "gradients": "grads",
        "optimizer": "optim",
        "activations": "activ",
        "logits": "logits",
    }
    table = Table(box=None, pad_edge=False)
    for heading in ("method", "ckpt", *parts.values(), "peak", *(["fits"] if room else [])):
        words = heading in ("method", "ckpt", "fits")
        table.add_column(heading, justify="left" if words else "right", no_wrap=True)
    for row in rows:
        told = row.case.prediction
        sizes = [f"{getattr(told, part) / GIB:.1f}" for part in parts]
        fits = ["yes" if told.total <= room else "no"] if room else []
        table.add_row(
            row.method, "yes" if row.checkpointing else "no", *sizes, f"{told.total / GIB:.1f}", *fits
        )
    return table


def plan_lines(plan: Plan) -> Iterator[str]:
    """One line per cell, base model and note."""
    for cell in plan.cells:
        name, trials, steps, rungs, space, prior, peak, taken = _row(cell)
        parts = [f"{name}: {trials} {'trial' if trials == '1' else 'trials'} of {steps} steps"]
        parts += [f"compared at {rungs}"] if rungs else []
        parts += [f"searched: {', '.join(space.splitlines())}"] if space else []
        parts += [f"tried first: {prior}"] if prior else []
        parts += [f"foretold peak {peak}"] if peak else []
        parts += [f"goes on from {taken}"] if taken else []
        yield "; ".join(parts)
    for base in plan.bases:
        yield "; ".join([f"{base.cell}: scored as it is", *([_taken(base)] if _taken(base) else [])])
    yield from _summary(plan)


def _taken(config: TrialConfig) -> str:
    """``the best of sft-lora``, with its reward model where that is another's."""
    taken = {part: trained.label for part, _, trained in config.trained()}
    rewarded = [f"rewarded by {taken['stage']}"] if "stage" in taken else []
    return ", ".join([*([taken["model"]] if "model" in taken else []), *rewarded])


def _peak(cell: Cell) -> str:
    """``0.69 GiB``, or what it ranges over: ``0.69 to 0.92 GiB``."""
    if cell.predicted is None:
        return ""
    least, most = (f"{end.total / GIB:.2f}" for end in (cell.predicted.least, cell.predicted.most))
    return f"{most} GiB" if least == most else f"{least} to {most} GiB"


def _row(cell: Cell) -> tuple[str, str, str, str, str, str, str, str]:
    return (
        cell.name,
        str(cell.trials),
        str(cell.steps),
        ", ".join(map(str, cell.rungs)),
        "\n".join(f"{leaf} {domain}" for leaf, domain in cell.space.items()),
        ", ".join(f"{leaf.rpartition('.')[2]} {shown(value)}" for leaf, value in cell.prior().items()),
        _peak(cell),
        _taken(cell.first()),
    )


def _summary(plan: Plan) -> Iterator[str]:
    bases = (
        f", and {len(plan.bases)} base model" + ("s" if len(plan.bases) != 1 else "") if plan.bases else ""
    )
    yield f"{plan.trials} trials in {len(plan.cells)} cells{bases}"
    yield from plan.notes
