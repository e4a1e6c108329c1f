"""What trackers show of a whole run: its answer, the comparison, the Pareto front."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables import results
from trainables.storage import files
from trainables.storage.regular_files import require_own


@dataclass(frozen=True)
class RunSummary:
    """The results of a run whose tables are written."""

    run: results.Run

    @classmethod
    def read(cls, folder: Path) -> RunSummary:
        """Raises ``FileNotFoundError`` without tables, ``DamagedFile``."""
        return cls(results.read_run(folder))

    def comparison(self) -> list[dict[str, Any]]:
        """The comparison table: a row for each cell, with plain values."""
        from reports.analysis.cell_table import table
        from reports.analysis.spreadsheet_cells import plain

        return [{name: plain(value) for name, value in row.items()} for row in table(self.run)]

    def write_pareto_front(self, path: Path) -> bool:
        """Writes the image of the Pareto front, a PNG; returns whether any trial has a place in it."""
        from reports.plots.figures import pareto_png

        if all(None in (record.quality, record.peak_bytes) for record in self.run.records):
            return False
        with files.atomic(path) as temporary:
            temporary.write_bytes(pareto_png(self.run))
        return True

    @property
    def tables(self) -> list[Path]:
        """The files with all records and curves. Raises ``DamagedFile`` for a link."""
        return [require_own(self.run.folder / name) for name in ("trials.parquet", "curves.parquet")]

    @property
    def report(self) -> Path | None:
        """The folder of the report, if it is written. Raises ``DamagedFile`` for one with a link in it."""
        folder = self.run.folder / "report"
        return require_own(folder) if folder.is_dir() else None

    @property
    def answer(self) -> str | None:
        """The answer as Markdown, if the report is written. Raises ``DamagedFile`` as :attr:`report` does."""
        if self.report is None or not (path := self.report / "summary.md").is_file():
            return None
        return path.read_text(encoding="utf-8")


def typed_columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The columns of a table, each of one type alone, as trackers take them: mixed values and structures as texts."""
    return {name: _of_one_type([row[name] for row in rows]) for name in rows[0]} if rows else {}


def _of_one_type(values: list[Any]) -> list[Any]:
    kinds = {_kind(value) for value in values if value is not None}
    if len(kinds) < 2 and kinds <= {str, bool, float}:
        return values
    return [value if isinstance(value, str | None) else json.dumps(value, default=str) for value in values]


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)
