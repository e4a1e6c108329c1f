"""Measures of rows of which several share a prompt: these count as one, as they tell less than as many prompts.

Source: E. Miller, "Adding Error Bars to Evals", 2024, arXiv:2411.00640, section 2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from trainables.scoring.measures import CorpusMeasure, Measure


def by_prompt(measure: Measure, clusters: Sequence[int] | None) -> Measure:
    """The measure with the rows of each cluster as one: with their mean and the sum of their weights.

    ``clusters`` (rows,): the number of each row's cluster, from 0; ``None`` where all rows are independent.
    """
    if clusters is None:
        return measure
    if measure.corpus is not None:
        return replace(measure, corpus=_corpus(measure.corpus, np.asarray(clusters)))
    if measure.by_row is None or len(measure.by_row) != len(clusters):
        return measure
    sums: dict[int, list[float]] = {number: [0.0, 0.0] for number in clusters}
    for number, value, weight in zip(
        clusters, measure.by_row, measure.weights or [1.0] * len(clusters), strict=True
    ):
        if value is not None:
            sums[number][0] += value * weight
            sums[number][1] += weight
    means = tuple(total / weight if weight else None for total, weight in sums.values())
    return replace(measure, by_row=means, weights=tuple(weight for _, weight in sums.values()))


def _corpus(corpus: CorpusMeasure, clusters: np.ndarray) -> CorpusMeasure:
    count = int(clusters.max()) + 1

    def compute(drawn: Any) -> float:
        return corpus.compute(np.asarray(drawn)[clusters])

    counts = corpus.auc_counts
    if counts is not None:
        # Fewer answers than there are, by as much as there are fewer prompts than rows.
        good, bad = (max(1, round(each * count / len(clusters))) for each in counts)
        counts = good, bad
    return CorpusMeasure(count, compute, counts)
