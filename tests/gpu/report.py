"""What the checks found: the rows of a table, and ``gpu-report.json`` with these, versions and the GPU."""

from __future__ import annotations

import json
import os
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Outcome = Literal["passed", "failed", "skipped", "error"]
GIB, WIDTH = 2**30, 150


@dataclass(frozen=True)
class Row:
    """The result of one case of a check.

    ``values``: what was measured, by name; a name's end is its unit (``_bytes``, ``_seconds``, ``_percent``).
    ``reason``: why it did not pass. ``trace``: of an error. ``seconds``: how long the case took.
    """

    check: str
    case: str
    outcome: Outcome
    values: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    trace: str | None = None
    seconds: float = 0.0

    def line(self) -> str:
        found = ", ".join(worded(name, value) for name, value in self.values.items() if value is not None)
        return "; ".join(part for part in (found, self.reason) if part)


@dataclass(frozen=True)
class Report:
    """All rows so far, and what they were measured with and on."""

    environment: Mapping[str, Any]
    rows: tuple[Row, ...] = ()

    @property
    def succeeded(self) -> bool:
        return all(row.outcome in ("passed", "skipped") for row in self.rows)

    def write(self, path: Path) -> None:
        """Replaces the file as a whole: a run that is cut keeps what the last complete one held."""
        content = {
            "environment": dict(self.environment),
            "outcomes": Counter(row.outcome for row in self.rows),
            "rows": [asdict(row) for row in self.rows],
        }
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
        os.replace(temporary, path)

    def summary(self) -> str:
        """What was measured with and on, the rows that did not pass, and how many had which outcome."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for name, value in self.environment.items():
            yield worded(name, value)
        yield ""
        for row in self.rows:
            if row.outcome in ("failed", "error"):
                yield from row_lines(row)
        counts = Counter(row.outcome for row in self.rows)
        yield ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "no check was made"


def row_lines(row: Row) -> list[str]:
    """A row's lines in the table: the check, the case, the outcome, the seconds, and what was found."""
    head = f"{row.check:<14} {row.case:<32} {row.outcome:<8} {row.seconds:5.1f} s  "
    indent = " " * len(head)
    return textwrap.wrap(f"{head}{row.line()}", WIDTH, subsequent_indent=indent, drop_whitespace=True) or [
        head
    ]


def worded(name: str, value: Any) -> str:
    """A value with its name and unit.

    >>> worded("peak_bytes", 3 * 2**29), worded("error_percent", -1.25), worded("loss", 10.371235)
    ('peak 1.5 GiB', 'error -1.25 %', 'loss 10.3712')
    """
    label, _, unit = name.rpartition("_")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and unit == "bytes":
        return f"{label.replace('_', ' ')} {value / GIB:.4g} GiB"
    if number and unit in ("percent", "seconds"):
        return f"{label.replace('_', ' ')} {value:.4g} {'%' if unit == 'percent' else 's'}"
    return f"{name.replace('_', ' ')} {f'{value:.6g}' if isinstance(value, float) else value}"
