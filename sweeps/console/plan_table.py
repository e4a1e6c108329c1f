"""A plan for people to read: a table on a terminal, one line per cell elsewhere; and the table of ``plan --grid``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from sweeps.console.trial_counts import trial_counts
from sweeps.planning.times.wording import UNKNOWN, cell_minutes, time_lines
from sweeps.spec.problems import format_value
from trainables.system.byte_sizes import GIB, both_units, gib

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from sweeps.planning.cell import Cell
    from sweeps.planning.memory.method_grid import GridRow
    from sweeps.planning.plan import Plan
    from sweeps.planning.times.prediction import PlanTime
    from trainables.trial.config import TrialConfig

NARROW = ("may stop at step",)  # columns of a few characters


def show_plan(plan: Plan, console: Console, memory_limit: int | None = None) -> None:
    """Prints the cells and the notes; with ``memory_limit`` (bytes), also what fits into it."""
    times = plan.times()
    if console.is_terminal:
        if plan.cells:
            console.print(plan_table(plan, times))
        console.print("\n".join(_summary(plan, times)), highlight=False, markup=False)
    else:
        for line in plan_lines(plan, times):
            # Wrapped lines are hard to grep.
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    if memory_limit:
        for line in fit_lines(plan, memory_limit):
            console.print(line, highlight=False, markup=False, soft_wrap=True)


def plan_table(plan: Plan, times: PlanTime) -> Table:
    """One row per cell, then one per starting model that is scored without training."""
    from rich.table import Table

    table = Table(title=plan.spec.question, title_justify="left")
    headings = [
        "cell",
        "trials",
        "steps",
        "may stop at step",
        "search space",
        "first trial",
        "predicted peak",
        "minutes",
    ]
    headings += ["continues from"] if any(cell.depends_on for cell in plan.cells) else []
    for heading in headings:
        justify: Literal["left", "right"] = "right" if heading in ("trials", "steps") else "left"
        # A heading that is wider than its column's values is broken in two.
        table.add_column(heading, justify=justify, max_width=9 if heading in NARROW else None)
    rows = [
        *(_row(cell, times) for cell in plan.cells),
        *((base.cell, "1", "", "", "", "", "", "", _start(base)) for base in plan.bases),
    ]
    for row in rows:
        name, trials, steps, rungs, space, first, peak, minutes, start = row
        space = space.replace("method.", "").replace("train.", "")
        minutes = minutes.replace(" (", "\n").rstrip(")")
        shown = (name, trials, steps, rungs, space, first, peak, minutes, start)
        # Without a cell that continues from another one, the last column has no heading.
        table.add_row(*shown[: len(headings)])
    return table


def grid_table(rows: Sequence[GridRow], memory_limit: int | None) -> Table:
    """The predicted memory of each method, in GiB; with ``memory_limit`` (bytes), whether it fits."""
    from rich.table import Table

    parts = {
        "weights": "weights",
        "quantization": "quant",
        "gradients": "grads",
        "optimizer": "optim",
        "activations": "activ",
        "logits": "logits",
    }
    # Narrow, so that all columns stand in 80 characters.
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("method", "ckpt", *parts.values(), "peak", *(["fits"] if memory_limit else [])):
        is_text = heading in ("method", "ckpt", "fits")
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=True)
    for row in rows:
        prediction = row.predicted.prediction
        sizes = [f"{getattr(prediction, part) / GIB:.1f}" for part in (*parts, "total")]
        fits = ["yes" if prediction.total <= memory_limit else "no"] if memory_limit else []
        table.add_row(row.method, "yes" if row.checkpointing else "no", *sizes, *fits)
    return table


def plan_lines(plan: Plan, times: PlanTime | None = None) -> Iterator[str]:
    """One line per cell, starting model and note; ``times`` are those of the plan."""
    times = times or plan.times()
    for cell in plan.cells:
        name, trials, steps, rungs, space, first, peak, minutes, start = _row(cell, times)
        parts = [f"{name}: {trials} {'trial' if trials == '1' else 'trials'} of {steps} steps"]
        parts += [f"stopped early if behind at step {rungs}"] if rungs else []
        parts += [f"searches {', '.join(space.splitlines())}"] if space else []
        parts += [f"first trial: {first}"] if first else []
        parts += [f"predicted peak {peak}"] if peak else []
        parts += [f"minutes: {minutes}"] if minutes != UNKNOWN else []
        parts += [f"continues from {start}"] if start else []
        yield "; ".join(parts)
    for base in plan.bases:
        yield f"{base.cell}: {_start(base) or 'the base model'}, scored without training"
    yield from _summary(plan, times)


def fit_lines(plan: Plan, memory_limit: int) -> Iterator[str]:
    """The limit of ``memory_limit`` bytes, and one line per cell: whether its trials fit into it."""
    yield f"memory limit: {both_units(memory_limit)}"
    for fit in plan.fits(memory_limit):
        yield str(fit)
    for cell in plan.cells:
        if cell.predicted is None:
            yield f"{cell.name}: its memory is unknown, so it may or may not fit ({cell.not_predicted})"


def _start(config: TrialConfig) -> str:
    """What a trial continues from: ``the best of sft-lora``, and whose reward model it uses."""
    trained = {part: source.label for part, _, source in config.trained()}
    rewards = [f"with rewards by {trained['stage']}"] if "stage" in trained else []
    return ", ".join([*([trained["model"]] if "model" in trained else []), *rewards])


def _peak(cell: Cell) -> str:
    """``0.69 GiB (formula)``, or the range over the search space: ``0.69 to 0.92 GiB (traced)``."""
    if cell.predicted is None:
        return "unknown"
    least, most = gib(cell.predicted.smallest.peak_bytes), gib(cell.predicted.largest.peak_bytes)
    peak = most if least == most else f"{least.removesuffix(' GiB')} to {most}"
    return f"{peak} ({cell.predicted.largest.source})"


def _row(cell: Cell, times: PlanTime) -> tuple[str, str, str, str, str, str, str, str, str]:
    return (
        cell.name,
        str(cell.trials),
        str(cell.steps),
        ", ".join(map(str, cell.rungs)),
        "\n".join(f"{leaf} {domain}" for leaf, domain in cell.space.items()),
        ", ".join(f"{leaf.rpartition('.')[2]} {format_value(value)}" for leaf, value in cell.prior().items()),
        _peak(cell),
        cell_minutes(times.cells[cell.name], times.at_once),
        _start(cell.first()),
    )


def _summary(plan: Plan, times: PlanTime) -> Iterator[str]:
    if plan.cells:  # a plan with errors may have none
        yield trial_counts(plan)
        yield "a cell is one combination of stage, method, model and data; each has a search of its own"
    if plan.finalists:
        seeds, top = plan.spec.finalists.seeds, plan.spec.finalists.top
        best = "best config" if top == 1 else f"{top} best configs"
        yield f"then {plan.finalists} finalists: each cell's {best} again with {seeds} other seeds (finalists.seeds)"
    if plan.cells:
        yield from time_lines(times, str(plan.spec.source.file))
    yield from plan.notes
    reasons: dict[str, list[str]] = {}
    for cell in plan.cells:
        if cell.not_predicted is not None:
            reasons.setdefault(cell.not_predicted, []).append(cell.name)
    for reason, names in reasons.items():
        yield f"the predicted peak of {', '.join(names)} is unknown: {reason}"
