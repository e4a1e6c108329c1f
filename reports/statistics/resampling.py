"""Resampling of independent rows or prompts: sign flips, and the studentised bootstrap.

Sources: R. A. Fisher, "The Design of Experiments" (1935), chapter 21, for sign flips; B. Phipson and G. K. Smyth,
"Permutation p-values should never be zero", SAGMB 9 (2010); A. C. Davison and D. V. Hinkley, "Bootstrap Methods and
their Application" (1997), sections 2.4 and 5.2.1, for studentised intervals.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import floor, inf

import numpy as np
from numpy.typing import NDArray

from reports.statistics.estimates import Array

MIN_FLIPS, MAX_FLIPS = 2_000, 10_000
RESAMPLES = 2_000
EXACT_FLIPS = 13  # with so many differences, or fewer, all 2^13 signs are tried
_BLOCK = 4_000_000  # numbers in memory at once
_ROUNDING = 1 - 1e-9  # sums in another order differ by less
_NONE = 1e-9  # of all, a share that is none but for rounding


def sign_flip_p(differences: Array) -> float:
    """The two-sided p-value that paired differences (clusters,) are as likely positive as negative.

    Exact for up to 13 differences that are not 0; above that by 10,000 random flips (2,000 of more than 1,000 rows),
    the same ones each time.

    >>> sign_flip_p(np.array([1.0, 2.0, 0.5, 1.5, 0.7, 1.1]))
    0.03125
    """
    moved = differences[differences != 0]
    flipped, exact = _flipped(moved[None])
    reached = int((np.abs(flipped) >= abs(moved.sum()) * _ROUNDING).sum())
    return (reached + (not exact)) / (flipped.size + (not exact))


def flip_interval(parts: Array, sizes: Array, level: float) -> tuple[float, float]:
    """The values of ``sum(parts) / sum(sizes)`` that sign flips don't reject: both are (clusters,), of differences.

    An end is infinite where there are too few clusters to reject anything.
    """
    low, high, exact = _last_reached(parts.tobytes(), sizes.tobytes())
    count, error = len(low), 1 - level
    # So many flips have to reach a value for its p-value to be above the error.
    needed = floor(error * count) + 1 if exact else floor(error * (count + 1) - 1) + 1
    value = float(parts.sum()) / float(sizes.sum())
    if needed > count:
        return value, value
    if needed <= 0:
        return -inf, inf
    # Just beyond what is still reached.
    below, above = float(low[needed - 1]) - value, float(high[-needed]) - value
    return value + below * (1 + _NONE), value + above * (1 + _NONE)


@lru_cache(maxsize=32)
def _last_reached(parts: bytes, sizes: bytes) -> tuple[Array, Array, bool]:
    """The values, below and above the observed one, up to which each flip reaches as far: two times (flips,), sorted.

    Subtracted from all differences, a candidate c leaves ``total (value - c)`` of their sum, and ``moved - c base`` of
    the flipped ones'. Both are linear in c, and the observed one is the steeper, so that a flip reaches as far up to
    one value in each direction. Also whether these are all flips.
    """
    columns = np.stack([np.frombuffer(parts), np.frombuffer(sizes)])
    (moved, base), exact = _flipped(columns)
    total = float(columns[1].sum())
    value = float(columns[0].sum()) / total
    excess = moved - value * base
    if not np.abs(columns[0] - value * columns[1]).any():
        return np.full(len(moved), value), np.full(len(moved), value), exact
    with np.errstate(divide="ignore", invalid="ignore"):
        # Flips of all or of none always reach it.
        along, against = (total * _ROUNDING + sign * base for sign in (1, -1))
        along = np.where(along > total * _NONE, excess / along, inf)
        against = np.where(against > total * _NONE, -excess / against, inf)
    further, nearer = np.maximum(along, against), np.minimum(along, against)
    nearer = np.where(np.isinf(further), -inf, nearer)
    return np.sort(value + nearer), np.sort(value + further), exact


def _flipped(columns: Array) -> tuple[Array, bool]:
    """Sums of each column (columns, clusters) under the same flips, (columns, flips), and whether these are all."""
    count = columns.shape[1]
    if count <= EXACT_FLIPS:
        every = 1.0 - 2.0 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        return columns @ every.T, True
    packed, blocks, start = _random_bits(count), [], 0
    for block in _blocks(len(packed), count):
        bits = np.unpackbits(packed[start : start + block], axis=1, count=count)
        blocks.append(columns.sum(axis=1)[:, None] - 2.0 * (columns @ bits.T.astype(float)))
        start += block
    return np.concatenate(blocks, axis=1), False


@lru_cache(maxsize=2)
def _random_bits(count: int) -> NDArray[np.uint8]:
    """A random bit for each flip and cluster, packed: (flips, ceil(clusters / 8)). The same ones each time."""
    flips = min(MAX_FLIPS, max(MIN_FLIPS, 2_000_000 // count))
    return np.random.default_rng(0).integers(0, 256, size=(flips, -(-count // 8)), dtype=np.uint8)


def ratio_interval(parts: Array, sizes: Array, level: float) -> tuple[float, float]:
    """The studentised bootstrap interval of ``sum(parts) / sum(sizes)``, over clusters: both are (clusters,).

    An end is infinite where resamples without any spread are more frequent than that end's probability: too few rows
    differ from the rest.
    """
    count = len(parts)
    value = parts.sum() / sizes.sum()
    error = _ratio_error(np.ones((1, count)), parts, sizes)[0]
    if count < 2 or error == 0:
        return float(value), float(value)
    distances = np.concatenate(list(_studentised(parts, sizes, value)))
    tail = (1 - level) / 2
    low = np.quantile(distances, tail, method="lower")
    high = np.quantile(distances, 1 - tail, method="higher")
    return float(value - high * error), float(value - low * error)


def _studentised(parts: Array, sizes: Array, value: float) -> Iterator[Array]:
    """The resamples' distances from ``value`` in their own standard errors, in blocks."""
    for drawn in drawn_counts(RESAMPLES, len(parts)):
        with np.errstate(invalid="ignore", divide="ignore"):
            values, errors = (drawn @ parts) / (drawn @ sizes), _ratio_error(drawn, parts, sizes)
            distances = (values - value) / errors
        # Without spread the distance is infinite, whatever rounding left of the error.
        flat = ~(errors > 1e-9 * np.abs(values - value))
        distances[flat] = np.sign(values[flat] - value) * np.inf
        yield np.nan_to_num(distances, nan=0.0, posinf=np.inf, neginf=-np.inf)


def _ratio_error(drawn: Array, parts: Array, sizes: Array) -> Array:
    """The standard error of the ratio in each resample: (resamples, clusters) -> (resamples,)."""
    total = drawn @ sizes
    value = (drawn @ parts) / total
    count = parts.shape[0]
    # The sum of squared residuals, parts - value * sizes, of the drawn clusters.
    squares = drawn @ parts**2 - 2 * value * (drawn @ (parts * sizes)) + value**2 * (drawn @ sizes**2)
    # Differences of nearly equal sums of squares: below this, rounding is all there is.
    squares[squares < 1e-14 * (drawn @ parts**2)] = 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        error: Array = np.sqrt(squares * (count / max(1, count - 1))) / total
    return error


def drawn_counts(resamples: int, clusters: int) -> Iterator[Array]:
    """How often each cluster is drawn, of as many draws as there are clusters, in blocks of (resamples, clusters).

    The same ones each time. To draw them takes longer than to use them, so those that fit in one block are kept.
    """
    if resamples * clusters <= _BLOCK:
        yield _kept_counts(resamples, clusters)
        return
    rng = np.random.default_rng(0)
    for block in _blocks(resamples, clusters):
        yield _draw_counts(rng, block, clusters)


@lru_cache(maxsize=4)
def _kept_counts(resamples: int, clusters: int) -> Array:
    counts = _draw_counts(np.random.default_rng(0), resamples, clusters)
    counts.flags.writeable = False
    return counts


def _draw_counts(rng: np.random.Generator, resamples: int, clusters: int) -> Array:
    return rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples).astype(float)


def _blocks(total: int, width: int) -> Iterator[int]:
    """``total`` in blocks, so that a block of that many rows of ``width`` numbers fits in memory."""
    block = max(1, _BLOCK // max(1, width))
    for start in range(0, total, block):
        yield min(block, total - start)
