"""Previews of the data as models see it: for a terminal, for programs, and as a run's ``data.json`` for its report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps.planning.plan import Plan
from trainables.storage import files
from trainables.system.shown_text import picture
from trainables.system.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

    from trainables.data.loading import Data
    from trainables.trial.config import TrialConfig
    from trainables.trial.preview import DataPreview

BINS = 8
BAR_WIDTH = 40  # of the longest bar, in characters
MAX_CHARACTERS = 4_000  # of an example in JSON


def previews(plan: Plan) -> Iterator[tuple[TrialConfig, DataPreview]]:
    """A preview for every combination of stage, model and data in the plan."""
    from trainables.trial.preview import preview_data

    for config in distinct_configs(plan):
        yield config, preview_data(config)


def distinct_configs(plan: Plan) -> list[TrialConfig]:
    """The first trial of every combination of stage, model and data in the plan."""
    configs: dict[str, TrialConfig] = {}
    for cell in plan.cells:
        config = cell.first()
        parts = {part: dict(config.canonical()[part]) for part in ("stage", "model", "data")}
        for part, key, _ in config.trained():
            del parts[part][key]  # which trained model it continues from does not change the rows
        configs.setdefault(json.dumps(parts), config)
    return list(configs.values())


def write_data_json(path: Path, configs: Sequence[TrialConfig]) -> None:
    """Writes ``data.json``: a list of :func:`to_json` of each config's preview.

    Raises ``DataError``, ``ModelError``, ``TemplateError``.
    """
    from trainables.trial.preview import preview_data

    files.write_json(path, [to_json(config, preview_data(config)) for config in configs])


def to_json(config: TrialConfig, preview: DataPreview) -> dict[str, Any]:
    """The preview as ``paretune data --json`` prints it and ``data.json`` keeps it.

    An example is a list of pieces of text. If it is longer than ``MAX_CHARACTERS``, its longest pieces are cut, and
    ``left_out`` is the number of characters that are missing at the end of a piece.
    """
    return {
        "stage": config.stage.kind,
        "model": config.model.label,
        "data": preview.data.name,
        "rows": row_counts(preview),
        "duplicates": preview.data.duplicates,
        "overlap": preview.data.overlap,
        "trained_on": _trained_on(preview),
        "sha256": preview.data.sha256,
        "tokens": {
            "rows": preview.rows,
            "examples": len(preview.lengths),
            "examples_per_row": preview.per_row,
            "cutoff": config.data.cutoff,
            "cut": preview.cut,
            "cut_share": preview.cut / len(preview.lengths),
            **_length_summary(preview),
            "learned_share": preview.learned_share,
            "padding_share": preview.padding_share,
        },
        "histogram": [[low, high, count] for low, high, count in histogram(preview.lengths)],
        "notes": list(preview_notes(preview)),
        "problems": list(preview_problems(preview)),
        "examples": [_example_json(row) for row in preview.examples],
        "titles": list(preview.titles),
    }


def _example_json(pieces: Sequence[tuple[str, bool]]) -> list[dict[str, Any]]:
    lengths = allot([len(text) for text, _ in pieces], MAX_CHARACTERS)
    return [
        {"text": text[:length], "loss": learned, "left_out": len(text) - length}
        for (text, learned), length in zip(pieces, lengths, strict=True)
    ]


def allot(sizes: Sequence[int], total: int) -> list[int]:
    """How much of each size fits into ``total``: small ones completely, large ones share the rest evenly.

    >>> allot([10, 5000, 3000], 4000)
    [10, 1995, 1995]
    """
    allotted = [0] * len(sizes)
    # Smallest first: what a small one does not need is left for the larger ones.
    for done, place in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        allotted[place] = min(sizes[place], total // (len(sizes) - done))
        total -= allotted[place]
    return allotted


def show_preview(config: TrialConfig, preview: DataPreview, console: Console) -> None:
    """Prints the preview; text that counts in the loss is marked."""
    from rich.text import Text

    for line in preview_lines(config, preview):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    marked = "in reverse" if console.is_terminal else "between « and »"
    for number, (title, pieces) in enumerate(zip(preview.titles, preview.examples, strict=True), start=1):
        heading = f"example {number} ({title}), the loss is on the text {marked}:"
        console.print(heading, highlight=False, markup=False)
        text = Text()
        for piece, learned in ((visible(text), is_learned) for text, is_learned in pieces):
            if console.is_terminal:
                text.append(piece, style="reverse" if learned else "")
            else:
                text.append(f"«{piece}»" if learned else piece)
        console.print(text, soft_wrap=True)


def visible(text: str) -> str:
    """The text with a picture or a name in place of each character that a terminal does not show or obeys.

    >>> visible("a\\tb\\r\\n")
    'a␉b␍\\n'
    """
    return "".join(map(_visible, text)) if not text.isprintable() else text


def _visible(character: str) -> str:
    return character if character == "\n" or character.isprintable() else picture(character)


def preview_lines(config: TrialConfig, preview: DataPreview) -> Iterator[str]:
    """Counts, lengths, their histogram and problems, one per line."""
    data = preview.data
    yield f"{data.name}, for stage {config.stage.kind} and model {config.model.label}"
    yield from preview_notes(preview)
    yield ", ".join(counted(count, f"{part} row") for part, count in row_counts(preview).items())
    yield split_line(data)
    lengths = _length_summary(preview)
    examples = counted(len(preview.lengths), "training example")
    if preview.per_row == 2:
        what, of = "prompt and answer", counted(preview.rows, "training pair")
    elif preview.rows == len(preview.lengths):
        what, of = "example", examples
    else:
        what, of = "example", f"{examples} from {counted(preview.rows, 'row')}"
    yield (
        f"tokens per {what}, of {of}: {lengths['least']} to {lengths['most']}, median {lengths['median']}; "
        f"{preview.cut / len(preview.lengths):.1%} of them are cut to {config.data.cutoff} tokens; "
        f"the loss is on {preview.learned_share:.1%} of all tokens; "
        f"{preview.padding_share:.1%} of a batch is padding"
    )
    yield from histogram_lines(preview.lengths, f"tokens per {what}, and how many have as many:")
    for problem in preview_problems(preview):
        yield f"warning: {problem}"


def split_line(data: Data) -> str:
    """How many rows repeat a prompt, and how many are left out of the training rows."""
    repeated = "row repeats" if data.duplicates == 1 else "rows repeat"
    left_out = "training row is" if data.overlap == 1 else "training rows are"
    return (
        f"{data.duplicates} {repeated} the prompt of another row; "
        f"{data.overlap} {left_out} left out because of held-out rows that open alike or are of the same group"
    )


def histogram_lines(lengths: np.ndarray, heading: str) -> Iterator[str]:
    """The heading, and a bar for each bin of ``lengths`` (examples,)."""
    yield heading
    bins = histogram(lengths)
    top = max(count for _, _, count in bins)
    for low, high, count in bins:
        bar = "█" * round(count / top * BAR_WIDTH)
        yield f"{low:>7} to {high:<7} {bar:<{BAR_WIDTH}} {count}"


def preview_notes(preview: DataPreview) -> Iterator[str]:
    """How the rows were read, and test rows that resemble training rows, in sentences."""
    yield from preview.data.notes
    if preview.overlaps is not None and (note := preview.overlaps.note()) is not None:
        yield note


def preview_problems(preview: DataPreview) -> Iterator[str]:
    """Rows that were left out or look incomplete, and test rows that are trained on, in sentences."""
    yield from preview.data.warnings
    if preview.overlaps is not None and (warning := preview.overlaps.warning()) is not None:
        yield warning
    yield from preview.remarks


def _trained_on(preview: DataPreview) -> dict[str, int] | None:
    """How many test rows the training rows hold parts of; ``None`` without test rows."""
    found = preview.overlaps
    if found is None:
        return None
    return {
        "test_rows": found.rows,
        "turns": found.turns,
        "answers": found.answers,
        "near_duplicates": found.alike,
    }


def row_counts(preview: DataPreview) -> dict[str, int]:
    """The number of rows in each part of the data."""
    data = preview.data
    parts = ("training", data.train), ("validation", data.validation), ("test", data.test)
    return {name: len(rows) for name, rows in parts}


def histogram(lengths: np.ndarray) -> list[tuple[int, int, int]]:
    """``(least, most, count)`` for bins of equal width that contain all of ``lengths`` (examples,).

    >>> histogram(np.array([1, 2, 2, 9]))[0]
    (1, 2, 3)
    """
    low, high = int(lengths.min()), int(lengths.max())
    # Rounded up, so that at most BINS bins cover all lengths from `low` to `high`, both included.
    width = max(1, -(-(high - low + 1) // BINS))
    # The longest length falls into the last bin, so there is a count for every start.
    counts = np.bincount((lengths - low) // width)
    starts = range(low, high + 1, width)
    return [(start, min(start + width - 1, high), int(n)) for start, n in zip(starts, counts, strict=True)]


def _length_summary(preview: DataPreview) -> dict[str, int]:
    ordered = np.sort(preview.lengths)
    return {"least": int(ordered[0]), "median": int(ordered[len(ordered) // 2]), "most": int(ordered[-1])}
