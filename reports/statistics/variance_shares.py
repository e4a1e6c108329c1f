"""How much of the variance of a result each of several settings explains, and what noise alone would explain.

The shares are those of a linear model's explained variance, averaged over all orders in which the settings may enter it
(R. H. Lindeman, P. F. Merenda and R. Z. Gold, "Introduction to Bivariate and Multivariate Analysis", 1980, "LMG";
U. Groemping, "Relative Importance for Linear Regression in R", Journal of Statistical Software 17, 2006), with R^2
adjusted for the number of terms (M. Ezekiel, "Methods of Correlation Analysis", 1930), so that settings that change
nothing explain nothing on average. The null is R. A. Fisher's: results permuted among the trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb, log

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Value = float | int | str | bool | None
PERMUTATIONS = 100
NOISE_LEVEL = 0.95
MAX_SETTINGS = 10  # all of their 2^10 subsets are fitted
FREE_DEGREES = 2  # that the fit of all settings leaves at least


@dataclass(frozen=True)
class VarianceShares:
    """``explained``: the share of the total variance by each setting that explains more than noise does, the largest
    first. ``not_explained``: all the rest, interactions included. ``by_noise``: the 95 % point, over 100 permutations
    of the results, of the largest share of any setting.
    """

    explained: dict[str, float]
    not_explained: float
    by_noise: float


def variance_shares(settings: Mapping[str, Sequence[Value]], results: Sequence[float]) -> VarianceShares:
    """``settings``: by name, the values in each trial (trials,). ``results`` (trials,), not all equal.

    Raises ``ValueError`` for fewer trials than :func:`needed_trials`, or more settings than :data:`MAX_SETTINGS`.

    >>> rates, results = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2], [0.1, 0.6, 0.9, 0.7, 0.1]
    >>> round(variance_shares({"rate": rates}, results).explained["rate"], 2)
    0.99
    """
    terms = {name: _terms(values) for name, values in settings.items()}
    if len(terms) > MAX_SETTINGS or len(results) < needed_trials(settings):
        raise ValueError(f"{len(results)} trials are too few for {len(terms)} settings")
    drawn = np.asarray(results, dtype=float)
    rng = np.random.default_rng(0)
    permuted = np.stack([drawn, *(rng.permutation(drawn) for _ in range(PERMUTATIONS))], axis=1)
    shares = _shares(list(terms.values()), permuted)
    by_noise = float(np.quantile(shares[:, 1:].max(axis=0), NOISE_LEVEL, method="higher"))
    explained = {
        name: float(share) for name, share in zip(terms, shares[:, 0], strict=True) if share > by_noise
    }
    ordered = dict(sorted(explained.items(), key=lambda pair: -pair[1]))
    return VarianceShares(ordered, max(0.0, 1 - sum(ordered.values())), by_noise)


def needed_trials(settings: Mapping[str, Sequence[Value]]) -> int:
    """The number of trials below which a fit of all settings says nothing."""
    return 1 + sum(_terms(values).shape[1] for values in settings.values()) + FREE_DEGREES


def _terms(values: Sequence[Value]) -> Array:
    """A setting as columns of a linear model, (trials, terms): numbers linear and squared, others one each.

    Positive numbers that span a factor of 4 or more are taken by their logarithms.
    """
    distinct = list(dict.fromkeys(values))
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(values) or len(distinct) < 2:
        return np.array([[float(value == other) for other in distinct[1:]] for value in values])
    if min(numbers) > 0 and max(numbers) / min(numbers) >= 4:
        numbers = [log(number) for number in numbers]
    scaled = np.asarray(numbers) - np.mean(numbers)
    return np.stack([scaled, scaled**2][: len(distinct) - 1], axis=1)


def _shares(terms: list[Array], results: Array) -> Array:
    """The LMG share, at least 0, of each setting for each of ``results`` (trials, columns): (settings, columns)."""
    count = len(terms)
    explained = {
        chosen: _adjusted(terms, chosen, results)
        for size in range(count + 1)
        for chosen in combinations(range(count), size)
    }
    shares = np.zeros((count, results.shape[1]))
    for setting in range(count):
        for before, value in explained.items():
            if setting not in before:
                after = explained[tuple(sorted((*before, setting)))]
                # Each size of the set before is as likely, and each set of that size.
                shares[setting] += (after - value) / (count * comb(count - 1, len(before)))
    shares = np.maximum(shares, 0.0)
    # Adjusted, a setting may explain less than nothing; what the others have beyond the whole goes with it.
    whole = np.maximum(explained[tuple(range(count))], 0.0)
    total = shares.sum(axis=0)
    return shares * np.where(total > whole, whole / np.maximum(total, 1e-300), 1.0)


def _adjusted(terms: list[Array], chosen: tuple[int, ...], results: Array) -> Array:
    """Adjusted R^2 of the chosen settings for each column of ``results``: (columns,)."""
    trials = len(results)
    centred = results - results.mean(axis=0)
    total = (centred**2).sum(axis=0)
    if not chosen:
        return np.zeros(results.shape[1])
    columns = np.concatenate([terms[setting] for setting in chosen], axis=1)
    basis, sizes, _ = np.linalg.svd(columns - columns.mean(axis=0), full_matrices=False)
    basis = basis[:, sizes > 1e-9 * max(1e-300, sizes[0])]  # settings may repeat one another
    residual = 1 - ((basis.T @ centred) ** 2).sum(axis=0) / total
    adjusted: Array = 1 - residual * (trials - 1) / (trials - basis.shape[1] - 1)
    return adjusted
