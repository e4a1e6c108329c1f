"""Notes beside the comparison of the cells: how they compared first, and what merging their models changes."""

from __future__ import annotations

from collections.abc import Iterator

from reports.analysis import merge_notes
from trainables.results import Run


def notes(run: Run) -> Iterator[str]:
    first = run.environment.get("first_comparison")
    if isinstance(first, dict) and isinstance(first.get("text"), str):
        yield f"{first['text'][:1].upper()}{first['text'][1:]}."
    yield from merge_notes.notes(run)
