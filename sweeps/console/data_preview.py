"""What the models of a spec will see: for a terminal, for programs, and as a run's ``data.json`` for its report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps.planning.plan import Plan
from trainables.storage import files

if TYPE_CHECKING:
    from rich.console import Console

    from trainables.trial.config import TrialConfig
    from trainables.trial.preview import Look

BINS = 8
WIDTH = 40  # of the longest bar
LONGEST = 4_000  # characters of an example in JSON


def looks(plan: Plan) -> Iterator[tuple[TrialConfig, Look]]:
    """One look for every stage, model and data of the plan."""
    from trainables.trial.preview import look

    for config in distinct(plan):
        yield config, look(config)


def distinct(plan: Plan) -> list[TrialConfig]:
    """The first trial of every stage, model and data of the plan."""
    found: dict[str, TrialConfig] = {}
    for cell in plan.cells:
        config = cell.first()
        parts = {part: dict(config.canonical()[part]) for part in ("stage", "model", "data")}
        for part, key, _ in config.trained():
            del parts[part][key]  # whatever was trained before, the rows are the same
        found.setdefault(json.dumps(parts), config)
    return list(found.values())


def write(path: Path, configs: Sequence[TrialConfig]) -> None:
    """Writes ``data.json``: a list of what :func:`to_json` says of each.

    Raises ``DataError``, ``ModelError``, ``TemplateError``.
    """
    from trainables.trial.preview import look

    files.write_json(path, [to_json(config, look(config)) for config in configs])


def to_json(config: TrialConfig, found: Look) -> dict[str, Any]:
    """The look as ``paretune data --json`` prints it and ``data.json`` keeps it.

    An example is its text in pieces; of one longer than ``LONGEST`` every piece is there, the long ones cut.
    ``left_out`` is how many characters of a piece's end are missing.
    """
    return {
        "stage": config.stage.kind,
        "model": config.model.label,
        "data": found.data.name,
        "rows": counts(found),
        "duplicates": found.data.duplicates,
        "overlap": found.data.overlap,
        "sha256": found.data.sha256,
        "tokens": {
            "rows": len(found.lengths),
            "cutoff": config.data.cutoff,
            "cut": found.cut,
            "cut_share": found.cut / len(found.lengths),
            **_spread(found),
            "learned_share": found.learned_share,
            "padding_share": found.padding_share,
        },
        "histogram": [[low, high, count] for low, high, count in histogram(found.lengths)],
        "notes": list(found.data.notes),
        "problems": list(problems(found)),
        "examples": [_example(row) for row in found.examples],
    }


def _example(row: Sequence[tuple[str, bool]]) -> list[dict[str, Any]]:
    kept = shares([len(text) for text, _ in row], LONGEST)
    return [
        {"text": text[:most], "loss": learned, "left_out": len(text) - most}
        for (text, learned), most in zip(row, kept, strict=True)
    ]


def shares(sizes: Sequence[int], most: int) -> list[int]:
    """How much of each fits into ``most`` together: the small ones whole, the rest evenly for the large ones.

    >>> shares([10, 5000, 3000], 4000)
    [10, 1995, 1995]
    """
    kept = [0] * len(sizes)
    for done, place in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        kept[place] = min(sizes[place], most // (len(sizes) - done))
        most -= kept[place]
    return kept


def show(config: TrialConfig, found: Look, console: Console) -> None:
    """Prints the look; the text that bears the loss is marked."""
    from rich.text import Text

    for line in lines(config, found):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for number, row in enumerate(found.examples, start=1):
        marked = "in reverse" if console.is_terminal else "between « and »"
        console.print(f"row {number}, what the loss is on {marked}:", highlight=False, markup=False)
        text = Text()
        for piece, learned in row:
            if console.is_terminal:
                text.append(piece, style="reverse" if learned else "")
            else:
                text.append(f"«{piece}»" if learned else piece)
        console.print(text, soft_wrap=True)


def lines(config: TrialConfig, found: Look) -> Iterator[str]:
    """Counts, lengths and problems, in sentences."""
    yield f"{found.data.name} for {config.stage.kind} on {config.model.label}"
    yield from found.data.notes
    yield ", ".join(f"{count} {part} rows" for part, count in counts(found).items())
    yield f"{found.data.duplicates} rows have the prompt of another; {found.data.overlap} left out as held out"
    spread = _spread(found)
    cut = f"{found.cut / len(found.lengths):.1%} cut to {config.data.cutoff}"
    yield (
        f"tokens a row, of {len(found.lengths)} rows: {spread['least']} to {spread['most']}, "
        f"median {spread['median']}; {cut}; the loss is on {found.learned_share:.1%} of them; "
        f"{found.padding_share:.1%} of a batch is padding"
    )
    bins = histogram(found.lengths)
    top = max(count for _, _, count in bins)
    for low, high, count in bins:
        yield f"{low:>7} to {high:<7} {'█' * round(count / top * WIDTH):<{WIDTH}} {count}"
    for problem in problems(found):
        yield f"warning: {problem}"


def problems(found: Look) -> Iterator[str]:
    """What was left out or looks unfinished, in sentences."""
    yield from found.data.warnings
    if found.dropped:
        yield f"{found.dropped} training rows are left out: nothing to learn of them is left within the cutoff"


def counts(found: Look) -> dict[str, int]:
    """Rows by part."""
    parts = ("training", found.data.train), ("validation", found.data.validation), ("test", found.data.test)
    return {name: len(rows) for name, rows in parts}


def histogram(lengths: np.ndarray) -> list[tuple[int, int, int]]:
    """(least, most, how many), in bins of equal width that hold every length.

    >>> histogram(np.array([1, 2, 2, 9]))[0]
    (1, 2, 3)
    """
    low, high = int(lengths.min()), int(lengths.max())
    width = max(1, -(-(high - low + 1) // BINS))
    counts = np.bincount((lengths - low) // width)
    starts = range(low, high + 1, width)
    return [(start, min(start + width - 1, high), int(n)) for start, n in zip(starts, counts, strict=True)]


def _spread(found: Look) -> dict[str, int]:
    ordered = np.sort(found.lengths)
    return {"least": int(ordered[0]), "median": int(ordered[len(ordered) // 2]), "most": int(ordered[-1])}
