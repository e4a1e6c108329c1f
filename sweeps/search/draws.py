"""Draws of a cell's settings that no result steers, the same in all cells that search the same domain.

A draw depends on the setting, its number and the search's seed, and not on the cell: none is luckier than another.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.stats import qmc

from sweeps.planning.cell import LEARNING_RATE

Distributions = Mapping[str, BaseDistribution]
# Of the sequence: always as many, as scrambling gives each dimension other values where there are more of them.
DIMENSIONS = 32


def random_draw(distributions: Distributions, seed: int, number: int, attempt: int) -> dict[str, Any]:
    """Independent random values; each attempt gives others."""
    drawn: dict[str, Any] = {}
    for leaf, distribution in distributions.items():
        # A checksum, because Python salts the `hash` of a text anew in every process.
        own = zlib.crc32(f"{seed} {leaf} {number} {attempt}".encode())
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=own))
        drawn |= study.ask({leaf: distribution}).params
    return drawn


def quasi_random_draw(
    distributions: Distributions, seed: int, number: int, dimensions: Sequence[str]
) -> dict[str, Any]:
    """A point of a scrambled Sobol sequence over the whole space (I. M. Sobol, 1967; A. B. Owen's scrambling, 1998).

    ``dimensions``: the settings in the order of the sequence's dimensions, those of other cells included: a setting has
    the same dimension, and so the same draws, in all cells.
    """
    engine = qmc.Sobol(max(DIMENSIONS, len(dimensions)), scramble=True, rng=np.random.default_rng(seed))
    if number:  # scipy can't skip 0 points
        engine.fast_forward(number)
    at = dict(zip(dimensions, map(float, engine.random(1)[0]), strict=False))
    return {leaf: value_at(distribution, at[leaf]) for leaf, distribution in distributions.items()}


def in_order(leaves: Iterable[str], first: Sequence[str] = ()) -> tuple[str, ...]:
    """Settings in the order of a sequence's dimensions: ``first``, then the learning rate, then the others by name.

    >>> in_order(["method.rank", "train.learning_rate", "method.alpha"])
    ('train.learning_rate', 'method.alpha', 'method.rank')
    """
    rest = sorted(set(leaves) - set(first), key=lambda leaf: (leaf != LEARNING_RATE, leaf))
    return (*first, *rest)


def value_at(distribution: BaseDistribution, share: float) -> Any:
    """The value below which that share, from 0 up to 1, of a uniform distribution over the domain lies.

    >>> value_at(FloatDistribution(1e-4, 1e-2, log=True), 0.5)
    0.001
    """
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(share * len(distribution.choices))]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    if isinstance(distribution, IntDistribution) and distribution.log:
        # Each whole number has the width that it has on the log scale.
        whole = round(_between(low - 0.5, high + 0.5, share, log=True))
        return min(max(whole, distribution.low), distribution.high)
    if distribution.step is not None:
        steps = round((high - low) / distribution.step)
        value = low + distribution.step * int(share * (steps + 1))
        return value if isinstance(distribution, IntDistribution) else round(value, 12)
    return float(f"{min(max(_between(low, high, share, distribution.log), low), high):.15g}")


def share_of(distribution: FloatDistribution | IntDistribution, value: float) -> float:
    """The share of a uniform distribution over the domain that lies below a value: the inverse of :func:`value_at`.

    Of a domain with steps, or of whole numbers, that of the middle of the value's own share.

    >>> share_of(FloatDistribution(1e-4, 1e-2, log=True), 1e-3), share_of(IntDistribution(0, 3), 0)
    (0.5, 0.125)
    """
    low, high, log = distribution.low, distribution.high, distribution.log
    if isinstance(distribution, IntDistribution) or distribution.step is not None:
        half = (distribution.step or 1) / 2
        low, high = low - half, high + half
    if low == high:
        return 0.5
    share = math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)
    return min(max(share, 0.0), 1.0)


def _between(low: float, high: float, share: float, log: bool) -> float:
    return low * math.exp(share * math.log(high / low)) if log else low + share * (high - low)


def all_values(distribution: BaseDistribution) -> list[Any]:
    """All values of a finite distribution. ``ValueError`` for a continuous one."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return list(range(distribution.low, distribution.high + 1, distribution.step))
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        # Rounded, because in floating point the quotient may lie slightly below its whole number.
        count = round((distribution.high - distribution.low) / distribution.step) + 1
        return [distribution.low + index * distribution.step for index in range(count)]
    raise ValueError(f"{distribution} has infinitely many values")
