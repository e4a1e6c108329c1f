"""Which differences a plan's comparisons could tell, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sweeps.planning.cell import Cell
from sweeps.planning.plan import Plan
from trainables.results import WITHIN_ONE
from trainables.system.wording import counted

MORE_ROWS = (100, 200, 400, 1_000, 2_000, 4_000, 10_000, 20_000, 40_000, 100_000)


# The smallest difference that is found in 4 of 5 cases: ``reports.statistics.detectable.detectable_difference``.
Detectable = Callable[..., float]


@dataclass(frozen=True)
class Assumption:
    """What is assumed of a measure, in units of ``unit`` (``scale`` of them are 1): see ``Detectable``."""

    row_variance: float
    seed_sd: float
    scale: float
    unit: str
    rows: str
    seeds: str


SHARES = Assumption(0.2, 0.02, 100, "points", "two cells differ in 1 of 5 rows", "seeds spread by 2 points")
LOSSES = Assumption(
    0.25,
    0.03,
    100,
    "% of the loss",
    "a row's loss differs by half of the mean loss (sd)",
    "seeds spread by 3 %",
)
REWARDS = Assumption(
    1.0,
    0.1,
    1,
    "standard deviations of the rows' rewards",
    "a row's reward differs by 1 sd",
    "seeds spread by 0.1 sd",
)


@dataclass(frozen=True)
class Power:
    """What the comparison of ``cells`` could tell, measured on ``rows`` test rows and ``seeds`` trainings each.

    ``differences``: by a number of rows, the smallest difference that is found with a probability of 80 %, in the unit
    of ``assumed``; the first number is that of the plan. ``limit``: what no number of rows goes below.
    ``label_shares``: of a mean over labels, the share of the rows that have each; empty for others.
    """

    title: str
    cells: tuple[Cell, ...]
    rows: int
    held_out: int
    seeds: int
    measure: str
    assumed: Assumption
    differences: dict[int, float]
    limit: float
    label_shares: tuple[float, ...] = ()

    @property
    def pairs(self) -> int:
        return _pairs(self.cells)


def _pairs(cells: Sequence[Cell]) -> int:
    """Of several cells; one is compared with the untrained model alone."""
    return max(1, len(cells) * (len(cells) - 1) // 2)


def seed_degrees(cells: int, seeds: int) -> float:
    """The degrees of freedom by which the variance between seeds will be known: those of one and a half cells, however
    many there are, as a cell that spreads more than the others counts with its own variance (simulated).
    """
    return min(cells, 1.5) * (seeds - 1)


def power(plan: Plan, detectable: Detectable) -> Iterator[Power]:
    """One for each stage, model and data set whose trials will have test rows."""
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in plan.cells:
        config = cell.first()
        groups.setdefault((cell.stage, config.model.label, config.data.label), []).append(cell)
    seeds = plan.spec.finalists.seeds
    for names, cells in groups.items():
        of_cells = [cell.quality_rows for cell in cells if cell.quality_rows is not None]
        if not of_cells:
            continue
        fewest = min(of_cells, key=lambda each: each.prompts)
        assumed = _assumption(fewest.metric.name, fewest.metric.unit)
        # One training has no spread between seeds: verdicts are of the trained models then.
        seed_sd = assumed.seed_sd if seeds > 1 else 0.0
        spread = {
            "row_variance": assumed.row_variance,
            "seed_sd": seed_sd,
            "seed_degrees": seed_degrees(len(cells), seeds),
        }
        shares = fewest.metric.label_shares
        found = partial(detectable, seeds=seeds, pairs=_pairs(cells), label_shares=shares, **spread)
        more = next((rows for rows in MORE_ROWS if rows >= 4 * fewest.prompts), None)
        numbers = [fewest.prompts, *sorted({fewest.held_out, more or 0} - {0, fewest.prompts})]
        several = len({name[1:] for name in groups}) > 1
        yield Power(
            " of ".join(names[:2]) + f" on {names[2]}" if several else names[0],
            tuple(cells),
            fewest.prompts,
            fewest.held_out,
            seeds,
            fewest.metric.name.replace("_", " "),
            assumed,
            {rows: assumed.scale * found(rows) for rows in numbers if rows >= fewest.prompts},
            # The most rows need not tell most: the fewer the seeds, the less is known of what the rows leave.
            assumed.scale * min(found(rows) for rows in (*MORE_ROWS, 10**9) if rows >= fewest.prompts),
            shares,
        )


def power_lines(plan: Plan, detectable: Detectable) -> Iterator[str]:
    """A line for each comparison, and one for each assumption that was made."""
    assumptions: dict[str, list[str]] = {}
    for each in power(plan, detectable):
        seeds = f", {each.seeds} seeds" if each.seeds > 1 else ""
        cells = f"{len(each.cells)} cells" if len(each.cells) > 1 else "1 cell"
        yield (
            f"{each.title}: {each.rows} test rows{_labels(each)}{seeds}, {cells}: differences in {each.measure} "
            f"under about {_number(each.differences[each.rows])} {each.assumed.unit} will stay unsettled"
            f"{''.join(f'; {part}' for part in _with_more_rows(each))}"
        )
        spread = f", {each.assumed.seeds}" if each.seeds > 1 else ""
        pairs = f", corrected for {each.pairs} pairs" if each.pairs > 1 else ""
        assumed = f"{each.assumed.rows}{spread}; found in 4 of 5 cases{pairs}"
        assumptions.setdefault(assumed, []).append(each.measure)
    for assumed, measures in assumptions.items():
        yield f"assumed for {', '.join(dict.fromkeys(measures))}: {assumed}"


def _labels(each: Power) -> str:
    if not each.label_shares:
        return ""
    rarest = counted(max(1, round(each.rows * min(each.label_shares))), "row")
    return f" of {len(each.label_shares)} labels (the rarest has {rarest})"


def _with_more_rows(each: Power) -> Iterator[str]:
    for rows, difference in each.differences.items():
        if rows != each.rows:
            which = f"all {rows} held-out rows (data.eval_rows)" if rows == each.held_out else f"{rows} rows"
            yield f"{which} would see {_number(difference)}"
    if each.seeds > 1:
        yield f"no number of rows would see less than {_number(each.limit)}, more seeds would (finalists.seeds)"


def power_json(plan: Plan, detectable: Detectable) -> list[dict[str, Any]]:
    """What ``paretune plan --json`` prints of it; ``differences`` in the unit that it names."""
    return [
        {
            "cells": [cell.name for cell in each.cells],
            "measure": each.measure,
            "test_rows": each.rows,
            "held_out_test_rows": each.held_out,
            "seeds": each.seeds,
            "label_shares": list(each.label_shares),
            "differences": {str(rows): difference for rows, difference in each.differences.items()},
            "limit": each.limit,
            "unit": each.assumed.unit,
            "assumed": [each.assumed.rows, *([each.assumed.seeds] if each.seeds > 1 else [])],
        }
        for each in power(plan, detectable)
    ]


def _assumption(measure: str, unit: str) -> Assumption:
    if unit == "fraction" or measure in WITHIN_ONE:
        return SHARES
    return REWARDS if unit == "reward" else LOSSES


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
