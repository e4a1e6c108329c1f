"""Measures of a model: a number over all rows, what each row contributes to it, and how it was computed.

>>> mean_measure("exact_match", [1.0, 0.0], unit=FRACTION).value
0.5
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainables.auc import drawn_auc
from trainables.scoring.likelihood import LogLikelihood

FRACTION = "fraction"
Scores = Sequence[float | None]  # one per row; None where a row has none


@dataclass(frozen=True)
class CorpusMeasure:
    """A measure of ``count`` rows at once that is no mean of theirs, such as BLEU or AUC, as a bootstrap recomputes it.

    ``compute`` takes how often each row is drawn, (count,) of int, and returns NaN where the drawn rows have no value.
    ``auc_counts``: how many good and bad answers it is the AUC of.
    """

    count: int
    compute: Callable[[Any], float]
    auc_counts: tuple[int, int] | None = None


@dataclass(frozen=True)
class Measure:
    """One number over all rows.

    ``value`` is the mean of ``by_row`` weighted by ``weights`` (equally without), and e to the power of that mean if
    ``exponential``. Without ``by_row`` it is computed from all rows at once; ``corpus`` recomputes it for drawn
    rows. ``how`` names the rule or library.
    """

    name: str
    value: float
    by_row: tuple[float | None, ...] | None = None
    weights: tuple[float, ...] | None = None
    higher_is_better: bool = True
    unit: str = ""
    how: str = ""
    exponential: bool = False
    corpus: CorpusMeasure | None = None

    @property
    def counted(self) -> tuple[list[float], list[float]]:
        """The values and the weights of the rows that have a value."""
        rows = self.by_row or ()
        pairs = zip(rows, self.weights or [1.0] * len(rows), strict=True)
        kept = [(value, weight) for value, weight in pairs if value is not None]
        return [value for value, _ in kept], [weight for _, weight in kept]


def auc_measure(
    good: Sequence[float | None], bad: Sequence[float | None], value: float, **options: Any
) -> Measure:
    """The AUC of the scores of good against those of bad answers, one of each per row, ``None`` where a row has none.

    ``value`` is that of all rows.
    """
    counts = [sum(score is not None for score in side) for side in (good, bad)]
    corpus = CorpusMeasure(len(good), drawn_auc(good, bad), (counts[0], counts[1])) if all(counts) else None
    return Measure("auc", value, corpus=corpus, **options)


@dataclass(frozen=True)
class MeasuredRows:
    """All measures of some rows.

    ``columns``: those of ``predictions.parquet`` besides the scores. ``main``: the name of the measure that decides
    which of two models is better. ``notes``: caveats for the reader. ``libraries``: versions and settings.
    ``clusters`` (rows,): the same number, from 0, for rows that open with the same user turn or are of one group;
    ``None`` where no two do.
    """

    columns: dict[str, list[Any]]
    measures: tuple[Measure, ...]
    main: str
    notes: tuple[str, ...] = ()
    libraries: dict[str, Any] = field(default_factory=dict)
    clusters: tuple[int, ...] | None = None

    def table(self) -> dict[str, list[Any]]:
        """All columns, with one for each measure that has a score per row."""
        scored = {
            each.name: list(each.by_row)
            for each in self.measures
            if each.by_row is not None and not each.exponential
        }
        return self.columns | scored


def mean_measure(name: str, rows: Scores, **options: Any) -> Measure:
    """The mean over the rows that have a score; NaN if none has."""
    scores = [score for score in rows if score is not None]
    return Measure(name, sum(scores) / len(scores) if scores else math.nan, tuple(rows), **options)


def likelihood_measures(
    likelihoods: Sequence[LogLikelihood], sizes: Sequence[int | None]
) -> tuple[Measure, ...]:
    """Loss, perplexity and bits per byte. ``sizes``: each row's bytes in UTF-8, ``None`` where unknown.

    The token that ends an answer, or a text, is predicted too: it adds to the loss, and has no bytes.
    """
    tokens = tuple(float(row.tokens) for row in likelihoods)
    # Summed in the order that training sums it, so that both losses agree to the last digit.
    loss = -sum(row.logprob for row in likelihoods) / max(sum(row.tokens for row in likelihoods), 1)
    nats = tuple(-row.logprob / row.tokens if row.tokens else None for row in likelihoods)
    shared: dict[str, Any] = {"by_row": nats, "weights": tokens, "higher_is_better": False}
    measures = (
        Measure("loss", loss, **shared, unit="nats per token"),
        # math.exp raises OverflowError from 710 on.
        Measure("perplexity", math.exp(min(loss, 700)), **shared, exponential=True, how="e to the loss"),
    )
    bits = _bits_per_byte(likelihoods, sizes)
    return measures if bits is None else (*measures, bits)


def _bits_per_byte(likelihoods: Sequence[LogLikelihood], sizes: Sequence[int | None]) -> Measure | None:
    """-sum(log p) / (ln 2 x bytes), as in The Pile (Gao et al., 2020, arXiv:2101.00027, section 3.1)."""
    bits = [-row.logprob / math.log(2) for row in likelihoods]
    rows = tuple(cost / size if size else None for cost, size in zip(bits, sizes, strict=True))
    total_bytes = sum(size for size in sizes if size)
    if not total_bytes:
        return None
    total_bits = sum(cost for cost, size in zip(bits, sizes, strict=True) if size)
    weights = tuple(float(size or 0) for size in sizes)
    return Measure("bits_per_byte", total_bits / total_bytes, rows, weights, False, "bits per byte")
