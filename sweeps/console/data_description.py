"""A description of data for which no model is chosen: for a terminal, and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps.console.data_preview import MAX_CHARACTERS, allot, histogram, histogram_lines, split_line, visible
from trainables.data.description import KINDS, DataDescription, ExampleRow
from trainables.data.overlaps import find_overlaps
from trainables.system.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_CHARACTERS = 1_000  # of an example on a terminal


def show_description(found: DataDescription, console: Console, notes: Sequence[str] = ()) -> None:
    """Prints the description and further ``notes``, with what would be learned of the examples marked."""
    from rich.text import Text

    for line in (*description_lines(found), *notes):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    marked = "in reverse" if console.is_terminal else "between « and »"
    for number, example in enumerate(found.examples, start=1):
        heading = f"example {number} ({example.where}), what is learned is {marked}:"
        console.print(heading, highlight=False, markup=False)
        text = Text()
        for name, content, learned in _shortened(example, SHOWN_CHARACTERS):
            text.append(f"{name}: ")
            if console.is_terminal:
                text.append(visible(content), style="reverse" if learned else "")
            else:
                text.append(f"«{visible(content)}»" if learned else visible(content))
            text.append("\n")
        console.print(text, soft_wrap=True, end="")


def description_lines(found: DataDescription) -> Iterator[str]:
    """Counts, lengths in characters, their histogram and remarks, one per line."""
    stage = f", for the stage {found.stage}" if found.stage else ""
    yield f"{found.rows.name}: {counted(len(found.rows.rows), 'row')} of {KINDS[found.row_type]}{stage}"
    yield from found.rows.notes
    yield from found.facts
    if found.split is not None:
        split = found.split
        parts = (("training", split.train), ("validation", split.validation), ("test", split.test))
        counts = ", ".join(counted(len(rows), f"{part} row") for part, rows in parts)
        yield f"with {found.held_out}: {counts}"
        yield split_line(split)
    yield from resemblances(found)
    lengths = "; ".join(f"per {part} {_range(counts)}" for part, counts in found.characters.items())
    of = f", of {found.measured:,} rows" if found.measured < len(found.rows.rows) else ""
    yield f"characters{of}: {lengths}"
    together = f" ({' + '.join(found.characters)})" if len(found.characters) > 1 else ""
    heading = f"characters per row{together}, and how many rows have as many:"
    yield from histogram_lines(found.total_characters, heading)
    for problem in description_problems(found):
        yield f"warning: {problem}"


def description_problems(found: DataDescription) -> Iterator[str]:
    """Rows that were left out or look incomplete, and why rows can't be held out, in sentences."""
    if found.split is None:
        yield from found.rows.warnings
        if found.not_split is not None:
            yield found.not_split
        return
    yield from found.split.warnings
    overlaps = find_overlaps(found.split.train, found.split.test)
    if overlaps is not None and (warning := overlaps.warning()) is not None:
        yield warning


def resemblances(found: DataDescription) -> Iterator[str]:
    """A sentence on test rows that resemble training rows, where there are some."""
    overlaps = find_overlaps(found.split.train, found.split.test) if found.split is not None else None
    if overlaps is not None and (note := overlaps.note()) is not None:
        yield note


def description_json(found: DataDescription) -> dict[str, Any]:
    """What ``paretune data FILE --json`` prints. An example is a list of parts of at most ``MAX_CHARACTERS``."""
    split = found.split
    return {
        "data": found.rows.name,
        "stage": found.stage,
        "kind": found.row_type.__name__.lower(),
        "count": len(found.rows.rows),
        "rows": {"training": len(split.train), "validation": len(split.validation), "test": len(split.test)}
        if split is not None
        else None,
        "sha256": found.rows.sha256,
        "characters": {part: _summary(counts) for part, counts in found.characters.items()},
        "histogram": [list(part) for part in histogram(found.total_characters)],
        "facts": list(found.facts),
        "notes": [*found.rows.notes, *resemblances(found)],
        "problems": list(description_problems(found)),
        "examples": [
            [
                {"part": name, "text": text, "learned": learned}
                for name, text, learned in _shortened(row, MAX_CHARACTERS)
            ]
            for row in found.examples
        ],
        "titles": [row.where for row in found.examples],
    }


def _shortened(example: ExampleRow, total: int) -> Iterator[tuple[str, str, bool]]:
    """(name, text, whether it is learned) of each part; together at most ``total`` characters, the longest cut."""
    parts = [*((*part, False) for part in example.context), *((*part, True) for part in example.learned)]
    lengths = allot([len(text) for _, text, _ in parts], total)
    for (name, text, learned), length in zip(parts, lengths, strict=True):
        yield name, text if length == len(text) else f"{text[:length]} ...", learned


def _range(counts: np.ndarray) -> str:
    summary = _summary(counts)
    return f"{summary['least']:,} to {summary['most']:,}, median {summary['median']:,}"


def _summary(counts: np.ndarray) -> dict[str, int]:
    ordered = np.sort(counts)
    return {"least": int(ordered[0]), "median": int(ordered[len(ordered) // 2]), "most": int(ordered[-1])}
