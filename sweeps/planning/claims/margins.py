"""Margins that are as much as a quality can differ: points that were meant as a share of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeps.planning.cell import Cell
from sweeps.planning.claims.names import named_cells
from sweeps.spec.claims.reading import PART
from sweeps.spec.problems import Problem
from sweeps.spec.spec import Spec
from trainables.results import WITHIN_ONE

WHOLE = 1.0  # the largest difference of two shares or areas


def problems(spec: Spec, cells: Sequence[Cell]) -> Iterator[Problem]:
    """An error for each margin of 1 or more of cells whose quality lies between 0 and 1."""
    methods = {cell.name: cell.method for cell in cells}
    for claim in spec.claims:
        margin = claim.smallest_difference
        if margin is None or margin < WHOLE:
            continue
        named = {found for name in claim.cells.values() for found in named_cells(name, methods)}
        measures = {
            cell.quality_rows.metric.name.replace("_", " ")
            for cell in cells
            if cell.name in named
            and cell.quality_rows is not None
            and (cell.quality_rows.metric.unit == "fraction" or cell.quality_rows.metric.name in WITHIN_ONE)
        }
        if measures:
            names = " and ".join(sorted(measures))
            what = f"got {margin:g}, and {names} can't differ by more than 1: 2 points are 0.02"
            yield spec.source.problem((PART, spec.claim_index(claim), "margin"), what)
