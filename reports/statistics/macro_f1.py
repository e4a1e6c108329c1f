"""Macro-F1 as a quality: how far each row pulls it, and what its interval follows from.

F1 of a label is ``2 hits / (has + given)``; macro-F1 is its mean over the labels that rows have. It is no mean over
rows, but a smooth function of means: its pulls are the rows' empirical influence, by which the delta method gives its
variance (K. Takahashi, K. Yamamoto, A. Kuchiba and T. Koyama, "Confidence interval for micro-averaged F1 and
macro-averaged F1 scores", Applied Intelligence 52, 2022). Of a label with few rows that variance is too small, and 0
where all are right. So the interval is Wilson's, for the number of rows that a proportion of this variance would have,
with two changes, both calibrated by simulation (``reports/README.md``):

- Each label gets a quarter of a row that is right and a quarter of one that is given other labels, in the variance
  alone (A. Agresti and B. Caffo, "Simple and effective confidence intervals for proportions and differences of
  proportions result from adding two successes and two failures", The American Statistician 54, 2000).
- Student's t stands for the normal quantile. Its degrees of freedom are by Satterthwaite (1946), from the labels'
  variances, each of half as many degrees as rows have the label.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reports.statistics.estimates import Array, Estimate, pulled_estimate, rows_variance

ADDED = 0.25  # of a row, right and wrong each, to every label
DEGREES_PER_ROW = 0.5
Flags = NDArray[np.bool_]


def macro_f1_estimate(
    has: Sequence[Collection[str]],
    given: Sequence[Sequence[Collection[str]]],
    keys: Sequence[Hashable],
    *,
    prompts: Sequence[Hashable] | None = None,
) -> Estimate:
    """The estimate of macro-F1 from the labels that each row has (rows,) and was given (seeds, rows).

    ``prompts`` (rows,): rows with equal ones are one cluster. Raises ``ValueError`` where no row has a label.

    >>> found = macro_f1_estimate([{"a"}, {"a"}, {"b"}], [[{"a"}, {"b"}, {"b"}]], [1, 2, 3])
    >>> round(found.quality, 4), [round(float(pull), 3) for pull in found.mean_pulls]
    (0.6667, [0.111, -0.222, 0.111])
    """
    labels = sorted(set().union(*has))
    if not labels:
        raise ValueError("macro-F1 needs a row with a label")
    rows = _flags(has, labels)
    seeds = [_LabelCounts(rows, _flags(each, labels)) for each in given]
    found = pulled_estimate(
        [each.macro_f1 for each in seeds], [each.pulls for each in seeds], keys, prompts=prompts
    )
    return replace(found, law=_law(found, seeds))


@dataclass(frozen=True)
class _LabelCounts:
    """``has`` and ``given`` (rows, labels): which rows have a label, and were given it; ``weights`` (rows,)."""

    has: Flags
    given: Flags
    weights: Array | None = None

    @property
    def _weights(self) -> Array:
        return np.ones(len(self.has)) if self.weights is None else self.weights

    @property
    def rows_of_labels(self) -> Array:
        """How many rows have each label: (labels,)."""
        counts: Array = self._weights @ self.has
        return counts

    @property
    def f1(self) -> Array:
        """Of each label: (labels,)."""
        found: Array = 2 * (self._weights @ (self.has & self.given)) / self._sizes
        return found

    @property
    def _sizes(self) -> Array:
        sizes: Array = self.rows_of_labels + self._weights @ self.given
        return sizes

    @property
    def macro_f1(self) -> float:
        return float(self.f1.mean())

    @property
    def _label_pulls(self) -> Array:
        """What each row of weight 1 pulls each label's share of macro-F1: (rows, labels)."""
        both = self.has & self.given
        moved = 2.0 * both - self.f1 * (self.has.astype(float) + self.given)
        pulls: Array = moved / (self._sizes * self.has.shape[1])
        return pulls

    @property
    def pulls(self) -> Array:
        pulls: Array = self._label_pulls.sum(axis=1)
        return pulls

    @property
    def variance(self) -> float:
        """Of macro-F1, where rows are independent."""
        return float(self._weights @ self.pulls**2)

    @property
    def label_variances(self) -> Array:
        """Of each label's share of macro-F1, by itself: (labels,)."""
        variances: Array = self._weights @ self._label_pulls**2
        return variances

    def extended(self) -> _LabelCounts:
        """With the added parts of rows: of each label one that is right, and one that is given the others, in
        proportion to their rows.
        """
        count = self.has.shape[1]
        # One label alone has no other: its row is given none, as the last column is cut off below.
        frequency = self.rows_of_labels if count > 1 else np.append(self.rows_of_labels, 1.0)
        one = np.eye(len(frequency), dtype=bool)[:, :count]
        label, other = (places.ravel() for places in np.indices((count, len(frequency))))
        share = np.where(label == other, 0.0, frequency[other])
        share /= np.bincount(label, weights=share)[label]
        share[label == other] = 1.0
        return _LabelCounts(
            np.concatenate([self.has, one[label]]),
            np.concatenate([self.given, one[other]]),
            np.concatenate([self._weights, ADDED * share]),
        )


def _law(found: Estimate, seeds: Sequence[_LabelCounts]) -> tuple[float, float]:
    """The rows that a proportion of this quality and variance would have, and the degrees of freedom."""
    extended = [each.extended() for each in seeds]
    quality = float(np.mean([each.macro_f1 for each in extended]))
    variance = float(np.mean([each.variance for each in extended]))
    plain = float(np.mean([each.variance for each in seeds]))
    independent = found.clusters / found.rows
    # What rows have in common, and what the mean over seeds averages out, is told by the pulls.
    measured = rows_variance(found.mean_pulls) * (found.clusters - 1) / found.clusters
    effect = measured / plain if plain > 0 and measured > 0 else 1 / independent
    rows = quality * (1 - quality) / (variance * effect)
    most = max(found.clusters, found.quality * (1 - found.quality) / measured if measured > 0 else 0.0)
    by_label = np.mean([each.label_variances for each in extended], axis=0)
    degrees = np.maximum(DEGREES_PER_ROW * independent * seeds[0].rows_of_labels, 0.5)
    return min(rows, most), max(1.0, float(by_label.sum() ** 2 / (by_label**2 / degrees).sum()))


def _flags(rows: Sequence[Collection[str]], labels: Sequence[str]) -> Flags:
    number = {label: place for place, label in enumerate(labels)}
    flags = np.zeros((len(rows), len(labels)), dtype=bool)
    for row, own in enumerate(rows):
        for label in own:
            if label in number:  # another text counts against the label that it should have been
                flags[row, number[label]] = True
    return flags
