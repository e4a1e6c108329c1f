"""The state of a run as pages show it, at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ROW_ID = "id"


@dataclass(frozen=True)
class RunSnapshot:
    """``head``: everything but the trials, as JSON values. ``rows``: those of the trials, by id, in the order in which
    they started. ``columns``: the paths of the settings that differ. ``as_of``: seconds since 1970.
    """

    head: Mapping[str, Any]
    rows: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    as_of: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """All of it, for a page that has just connected."""
        return {
            **self.head,
            "columns": list(self.columns),
            "rows": list(self.rows.values()),
            "as_of": self.as_of,
        }

    def summary(self) -> dict[str, Any]:
        """What the list of runs shows."""
        names = (
            *("key", "name", "place", "question", "state", "reason", "ended", "total", "best", "peak_bytes"),
            *("began", "changed", "cells", "damaged", "failed", "holder"),
        )
        return {**{name: self.head[name] for name in names}, "as_of": self.as_of}


def changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any] | None:
    """What a page that has the JSON ``old`` needs to have ``new``: changed rows alone; ``None`` for nothing.

    ``as_of`` alone is no change. ``removed``: ids of rows that are gone.
    """
    before = {row[ROW_ID]: row for row in old["rows"]}
    after = {row[ROW_ID]: row for row in new["rows"]}
    rows = [row for trial, row in after.items() if before.get(trial) != row]
    removed = [trial for trial in before if trial not in after]
    head = {
        name: value for name, value in new.items() if name not in ("rows", "as_of") and old.get(name) != value
    }
    if not (rows or removed or head):
        return None
    return {**head, "rows": rows, "removed": removed, "as_of": new["as_of"]}
