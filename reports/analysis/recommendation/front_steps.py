"""The steps of the Pareto front: what the best cell has within each amount of memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reports import units
from reports.analysis.group import Group
from reports.analysis.row import Row


@dataclass(frozen=True)
class FrontStep:
    """The best ``row`` within its own peak memory; ``share``: of resamples with it on the front, ``None`` unknown."""

    row: Row
    share: float | None


def front_steps(group: Group) -> list[FrontStep]:
    """The cells on the front, the least memory first."""
    shares = group.choice.front_shares if group.choice is not None else {}
    rows = sorted((row for row in group.scored_rows if row.on_front), key=lambda row: row.peak or 0)
    return [FrontStep(row, shares.get(row.cell.label)) for row in rows]


def front_sentence(group: Group) -> str | None:
    """``Within 0.86 GiB: qlora-4bit 93.0 % (87.2 to 96.3); within 1.00 GiB: ...``; ``None`` without a front."""
    steps = [
        f"within {units.gib(step.row.peak)}: {_described(group, step.row)}" for step in front_steps(group)
    ]
    return f"W{'; '.join(steps)[1:]}." if steps else None


def front_json(group: Group) -> list[dict[str, Any]]:
    """The steps as plain values, ``None`` where not known."""
    return [
        {
            "within_bytes": step.row.peak,
            "cell": step.row.cell.label,
            "quality": step.row.quality,
            "quality_low": low,
            "quality_high": high,
            "share_of_resamples": step.share,
        }
        for step in front_steps(group)
        for low, high in [group.interval(step.row) or (None, None)]
    ]


def _described(group: Group, row: Row) -> str:
    return f"{row.name} {units.quality_with_interval(row.quality, group.interval(row), group.unit)}"
