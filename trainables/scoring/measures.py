"""What is measured of a model: a number over all rows, what each row adds to it, and how it was made.

>>> of_rows("exact_match", [1.0, 0.0], unit=FRACTION).value
0.5
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainables.auc import drawn_auc
from trainables.scoring.likelihood import Judged

FRACTION = "fraction"
Scores = Sequence[float | None]  # of each row; None where a row has none


@dataclass(frozen=True)
class Whole:
    """A measure of ``count`` rows at once. ``of`` makes it of rows that are drawn so many times each, (count,) of int;
    NaN where these have none. ``ranked``: how many good and bad answers it is the AUC of."""

    count: int
    of: Callable[[Any], float]
    ranked: tuple[int, int] | None = None


@dataclass(frozen=True)
class Measure:
    """``value`` is the mean of ``by_row`` weighted by ``weights`` (alike without), or, without ``by_row``, of all rows
    at once: ``whole`` makes it of any drawing of them. With ``exponential`` it is e to the power of that mean. ``how``
    says by which rule or library.
    """

    name: str
    value: float
    by_row: tuple[float | None, ...] | None = None
    weights: tuple[float, ...] | None = None
    higher_is_better: bool = True
    unit: str = ""
    how: str = ""
    exponential: bool = False
    whole: Whole | None = None

    @property
    def counted(self) -> tuple[list[float], list[float]]:
        """The rows' values and weights, without the rows that have none."""
        rows = self.by_row or ()
        pairs = zip(rows, self.weights or [1.0] * len(rows), strict=True)
        kept = [(value, weight) for value, weight in pairs if value is not None]
        return [value for value, _ in kept], [weight for _, weight in kept]


def area(good: Sequence[float | None], bad: Sequence[float | None], value: float, **options: Any) -> Measure:
    """AUC of what good and bad answers are worth, ``None`` where a row has none; ``value`` is that of all rows."""
    counts = [sum(worth is not None for worth in side) for side in (good, bad)]
    whole = Whole(len(good), drawn_auc(good, bad), (counts[0], counts[1])) if all(counts) else None
    return Measure("auc", value, whole=whole, **options)


@dataclass(frozen=True)
class Measured:
    """All that was measured of some rows. ``columns`` are those of ``predictions.parquet``, besides the scores.

    ``main`` is the measure that says which of two models is better. ``notes`` say what to mind.
    """

    columns: dict[str, list[Any]]
    measures: tuple[Measure, ...]
    main: str
    notes: tuple[str, ...] = ()
    libraries: dict[str, Any] = field(default_factory=dict)

    def table(self) -> dict[str, list[Any]]:
        """All columns, a score of each measure that rows have."""
        scored = {
            each.name: list(each.by_row)
            for each in self.measures
            if each.by_row is not None and not each.exponential
        }
        return self.columns | scored


def of_rows(name: str, rows: Scores, **options: Any) -> Measure:
    """The mean of the rows that have a score."""
    found = [value for value in rows if value is not None]
    return Measure(name, sum(found) / len(found) if found else math.nan, tuple(rows), **options)


def likelihood(judged: Sequence[Judged], sizes: Sequence[int | None]) -> tuple[Measure, ...]:
    """Loss, perplexity and bits per byte. ``sizes``: each row's bytes in UTF-8, ``None`` where they aren't known.

    The end of an answer, and of a text, is foretold too: it costs, and has no bytes.
    """
    tokens = tuple(float(row.tokens) for row in judged)
    # As training sums it up, to the last digit.
    loss = -sum(row.logprob for row in judged) / max(sum(row.tokens for row in judged), 1)
    nats = tuple(-row.logprob / row.tokens if row.tokens else None for row in judged)
    same: dict[str, Any] = {"by_row": nats, "weights": tokens, "higher_is_better": False}
    found = (
        Measure("loss", loss, **same, unit="nats per token"),
        Measure("perplexity", math.exp(min(loss, 700)), **same, exponential=True, how="e to the loss"),
    )
    bits = _bits(judged, sizes)
    return found if bits is None else (*found, bits)


def _bits(judged: Sequence[Judged], sizes: Sequence[int | None]) -> Measure | None:
    """-sum(log p) / (ln 2 x bytes), as in The Pile (Gao et al., 2020, arXiv:2101.00027, section 3.1)."""
    costs = [-row.logprob / math.log(2) for row in judged]
    rows = tuple(cost / size if size else None for cost, size in zip(costs, sizes, strict=True))
    known = sum(size for size in sizes if size)
    if not known:
        return None
    total = sum(cost for cost, size in zip(costs, sizes, strict=True) if size)
    weights = tuple(float(size or 0) for size in sizes)
    return Measure("bits_per_byte", total / known, rows, weights, False, "bits per byte")
