"""What the best cell has on new rows, where being chosen flatters its figure."""

from __future__ import annotations

from reports import units
from reports.analysis.group import Group
from reports.analysis.row import Row
from reports.text import text


def expected_quality(group: Group, best: Row) -> str | None:
    """What the best cell's quality is expected to be on new rows, where being chosen by these rows flatters it."""
    chosen = group.choice
    if chosen is None:
        return None
    unit = best.best.quality_unit if best.best else None
    expected = units.quality(chosen.expected_quality, unit)
    if expected == best.quality_text or group.is_better(chosen.expected_quality, best.quality or 0.0):
        return None
    expected = units.quality_with_interval(chosen.expected_quality, group.interval(best), unit, name="95 %: ")
    return text(
        "As the best of {count} on these rows, it is expected to have {quality} on {others}.",
        count=len(group.scored_rows),
        quality=expected,
        others=text("new ones") if group.seed_variance is None else text("new ones, with other seeds"),
    )
