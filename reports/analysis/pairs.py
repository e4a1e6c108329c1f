"""The verdict on every two cells as plain values, for ``pairs.csv`` and ``report.json``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

from reports.analysis import settling
from reports.analysis.group import Group
from reports.analysis.row import Row


def ordered_pairs(group: Group) -> Iterator[tuple[Row, Row]]:
    """Every two cells with a quality: the one of lower quality first."""
    rows = group.scored_rows
    return ((row, better) for position, better in enumerate(rows) for row in rows[position + 1 :])


def pair_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """One dict for every two cells; ``None`` where nothing is known, or where an end is infinite.

    Differences are the first cell's quality minus the other's, in the quality's own unit.
    """
    return [_columns(group, row, other) for group in groups for row, other in ordered_pairs(group)]


def _columns(group: Group, row: Row, other: Row) -> dict[str, Any]:
    verdict = group.verdict(row, other)
    compared = verdict.comparison
    low, high = compared.interval if compared is not None else (None, None)
    return {
        "stage": group.stage,
        "model": group.model,
        "data": group.data,
        "cell": row.cell.label,
        "other": other.cell.label,
        "verdict": verdict.outcome,
        "settled": verdict.settled,
        "quality_name": group.metric_record.quality_name if group.metric_record else None,
        "quality_unit": group.unit,
        "difference": compared.difference if compared is not None else None,
        "difference_low": _finite(low),
        "difference_high": _finite(high),
        "p_holm": verdict.p,
        "p": compared.p if compared is not None else None,
        "worse_by_at_most": _finite(verdict.worst),
        "margin": group.margin,
        "test": compared.basis if compared is not None else None,
        **_settled_by(group, row, other, verdict.outcome),
    }


def _settled_by(group: Group, row: Row, other: Row, outcome: str) -> dict[str, Any]:
    """The seeds that would settle it, the test rows, or both where neither alone does; and what each of them takes."""
    found = settling.needs(group, row, other) if outcome == "not settled" else []
    seeds = next((need for need in found if need.seeds is not None), None)
    rows = next((need for need in found if need.rows is not None), None)
    return {
        "settled_by_seeds": seeds.seeds if seeds is not None else None,
        "settled_by_seeds_seconds": seeds.seconds if seeds is not None else None,
        "settled_by_rows": rows.rows if rows is not None else None,
        "settled_by_rows_seconds": rows.seconds if rows is not None else None,
        "settled_by_both": seeds is not None and seeds is rows,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
