"""What is known of a quality: of each training (seed), and how far each test row pulls it.

All measures are treated alike by their pulls. A row's pull is its empirical influence on the quality (Hampel, 1974),
divided by the number of rows: pulls sum to 0, and the sum of their squares over independent rows estimates the
quality's sampling variance. Rows of one prompt are one cluster: their pulls are summed first (E. Miller, "Adding Error
Bars to Evals", 2024, arXiv:2411.00640, equation 4).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports.statistics.rounding import rounded

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """The quality of one configuration, trained with one seed or several, on the same test rows.

    ``qualities`` (seeds,). ``pulls`` (seeds, clusters): summed over the rows of a cluster. ``sizes`` (clusters,): each
    cluster's share of the rows' weight; their sum is 1. ``parts`` (seeds, clusters): what each cluster adds to a
    quality that is a weighted mean, ``None`` for others. ``keys`` (rows,) identify the test rows, in order.
    ``binary``: each row counts alike, and is right or wrong. ``proportion``: the quality lies between 0 and 1.
    """

    qualities: Array
    pulls: Array
    sizes: Array
    parts: Array | None
    keys: tuple[Hashable, ...]
    binary: bool = False
    proportion: bool = False
    # Of an AUC: how many answers are good, and how many bad.
    answer_counts: tuple[int, int] | None = None
    # Of macro-F1: the rows of a proportion of as much variance, and the degrees of freedom of that variance.
    law: tuple[float, float] | None = None
    # Of a model that isn't trained: no seed changes its quality.
    untrained: bool = False
    # What the rows of one cluster share, in the plural.
    cluster_noun: str = "prompts"

    @cached_property
    def quality(self) -> float:
        """The mean over seeds."""
        return rounded(float(self.qualities.mean()))

    @property
    def seeds(self) -> int:
        return len(self.qualities)

    @property
    def rows(self) -> int:
        return len(self.keys)

    @property
    def clusters(self) -> int:
        """The number of independent rows: of prompts, where several rows share one."""
        return len(self.sizes)

    @property
    def is_mean(self) -> bool:
        return self.parts is not None

    @cached_property
    def mean_pulls(self) -> Array:
        """Averaged over seeds: (clusters,)."""
        mean: Array = self.pulls.mean(axis=0)
        return mean

    @cached_property
    def mean_parts(self) -> Array:
        """What each cluster adds to the quality, averaged over seeds; their sum is the quality: (clusters,)."""
        if self.parts is None:
            return self.mean_pulls + self.quality * self.sizes
        mean: Array = self.parts.mean(axis=0)
        return mean

    @cached_property
    def rows_variance(self) -> float:
        """The sampling variance of the quality by the choice of test rows; 0 with fewer than two clusters."""
        return rows_variance(self.mean_pulls)

    @cached_property
    def variance_between_seeds(self) -> float | None:
        """Of the trainings' qualities, rows and seeds together; ``None`` where there is one."""
        return float(self.qualities.var(ddof=1)) if self.seeds > 1 else None

    @property
    def seed_share(self) -> float:
        """The share of the variance between seeds that the quality's variance has: one over the number of seeds."""
        return 0.0 if self.untrained else 1 / self.seeds

    @cached_property
    def both_variance(self) -> float:
        """The part of the variance that rows and seeds have together, which is in the variance of each of them.

        0 with one seed, from which it can't be told.
        """
        return float(self.pulls.var(axis=0, ddof=1).sum()) / self.seeds if self.seeds > 1 else 0.0

    def resampled(self, counts: Array) -> Array:
        """The quality where each cluster is drawn so many times: (resamples, clusters) -> (resamples,).

        Exact for a weighted mean. For other measures it is linear in the counts, by the pulls.
        """
        if self.parts is None:
            total = counts.sum(axis=1)
            return self.quality + self.clusters * (counts @ self.mean_pulls) / total
        with np.errstate(invalid="ignore", divide="ignore"):
            result: Array = (counts @ self.mean_parts) / (counts @ self.sizes)
        return result


def rows_variance(pulls: Array) -> float:
    """The variance of a sum of independent pulls (clusters,), whose mean is 0 but for rounding."""
    count = len(pulls)
    return 0.0 if count < 2 else float(((pulls - pulls.mean()) ** 2).sum()) * count / (count - 1)


def rows_degrees(*estimates: Estimate) -> float:
    """The degrees of freedom of the rows' variance of a quality, or of the difference of two; at least 1.

    One fewer than clusters; of macro-F1 the fewest of the laws, as few rows have some labels.
    """
    laws = [each.law[1] for each in estimates if each.law is not None]
    return max(1.0, min(laws) if laws else min(each.clusters for each in estimates) - 1)


def mean_estimate(
    scores: Sequence[Sequence[float]],
    keys: Sequence[Hashable],
    *,
    weights: Sequence[float] | None = None,
    prompts: Sequence[Hashable] | None = None,
    proportion: bool = False,
) -> Estimate:
    """The estimate of a mean of scores (seeds, rows), weighted by ``weights`` (rows,) such as tokens.

    ``prompts`` (rows,): rows with equal ones are one cluster; by default every row is its own. Raises ``ValueError``
    without rows, or where all weights are 0.

    >>> mean_estimate([[1.0, 0.0, 1.0, 1.0]], [1, 2, 3, 4], proportion=True).quality
    0.75
    """
    values = np.asarray(scores, dtype=float)
    weight = np.ones(values.shape[1]) if weights is None else np.asarray(weights, dtype=float)
    if not values.size or weight.sum() <= 0:
        raise ValueError("a mean needs at least one row with a weight above 0")
    share = weight / weight.sum()
    by_cluster = _summed_by_cluster(prompts, values.shape[1])
    parts = by_cluster(values * share)
    qualities = parts.sum(axis=1)
    pulls = by_cluster((values - qualities[:, None]) * share)
    binary = proportion and weights is None and bool(np.isin(values, (0.0, 1.0)).all())
    return Estimate(
        qualities, pulls, by_cluster(share[None])[0], parts, tuple(keys), binary, proportion=proportion
    )


def auc_estimate(
    good: Sequence[Sequence[float | None]],
    bad: Sequence[Sequence[float | None]],
    keys: Sequence[Hashable],
    *,
    prompts: Sequence[Hashable] | None = None,
) -> Estimate:
    """The estimate of an area under a ROC curve from the worth of each row's good and bad answer (seeds, rows).

    A row may lack one of the two. Pulls are DeLong's placements (E. R. DeLong et al., Biometrics 44, 1988), summed over
    a row's answers (N. A. Obuchowski, "Nonparametric analysis of clustered ROC curve data", Biometrics 53, 1997).
    Raises ``ValueError`` without a good or without a bad answer.

    >>> float(auc_estimate([[1.0, 2.0]], [[0.0, 1.5]], [1, 2]).quality)
    0.75
    """
    areas, pulls = zip(*(_placements(*pair) for pair in zip(good, bad, strict=True)), strict=True)
    counts = tuple(sum(worth is not None for worth in side[0]) for side in (good, bad))
    found = pulled_estimate(areas, pulls, keys, prompts=prompts)
    return replace(found, answer_counts=(counts[0], counts[1]))


def pulled_estimate(
    qualities: Sequence[float],
    pulls: Sequence[Array],
    keys: Sequence[Hashable],
    *,
    prompts: Sequence[Hashable] | None = None,
) -> Estimate:
    """The estimate of a quality between 0 and 1 that is no mean: (seeds,), with its pulls (seeds, rows)."""
    rows = len(keys)
    by_cluster = _summed_by_cluster(prompts, rows)
    sizes = by_cluster(np.full((1, rows), 1 / rows))[0]
    return Estimate(
        np.asarray(qualities), by_cluster(np.asarray(pulls)), sizes, None, tuple(keys), proportion=True
    )


def _placements(good: Sequence[float | None], bad: Sequence[float | None]) -> tuple[float, Array]:
    """The area, and each row's pull on it: (rows,)."""
    has_good, has_bad = ([worth is not None for worth in side] for side in (good, bad))
    if not any(has_good) or not any(has_bad):
        raise ValueError("an AUC needs good and bad answers")
    goods, bads = (np.array([worth for worth in side if worth is not None], float) for side in (good, bad))
    ranked_good, ranked_bad = np.sort(goods), np.sort(bads)
    # The share of answers of the other kind that each is on the right side of; ties count half.
    below = (np.searchsorted(ranked_bad, goods, "left") + np.searchsorted(ranked_bad, goods, "right")) / 2
    above = (np.searchsorted(ranked_good, bads, "left") + np.searchsorted(ranked_good, bads, "right")) / 2
    placed_good, placed_bad = below / len(bads), 1 - above / len(goods)
    area = float(placed_good.mean())
    pulls = np.zeros(len(good))
    pulls[has_good] += (placed_good - area) / len(goods)
    pulls[has_bad] += (placed_bad - area) / len(bads)
    return area, pulls


def _summed_by_cluster(prompts: Sequence[Hashable] | None, rows: int) -> Callable[[Any], Array]:
    """A function that sums (seeds, rows) to (seeds, clusters), clusters in the order of their first rows."""
    if prompts is None:
        return lambda values: np.asarray(values, dtype=float)
    numbers: dict[Hashable, int] = {}
    cluster = np.array([numbers.setdefault(prompt, len(numbers)) for prompt in prompts])
    if len(numbers) == rows:
        return lambda values: np.asarray(values, dtype=float)

    def summed(values: Array) -> Array:
        return np.stack([np.bincount(cluster, weights=row, minlength=len(numbers)) for row in values])

    return summed
