"""The objective against the logarithm of a setting, as a parabola: where its optimum is, and how sure that is.

The interval has all places where the slope may be 0 by a t-test (E. C. Fieller, "Some problems in interval estimation",
J. R. Statist. Soc. B 16, 1954; G. E. P. Box and J. S. Hunter, "A confidence region for the solution of a set of
simultaneous equations with an application to experimental design", Biometrika 41, 1954), by each of several curves: two
halves of parabolas that meet in the optimum, of which one falls up to four times as quickly as the other. That is exact
for the right one of them where the errors are normal and have one variance, so that their union holds the optimum at
least as often. So few trials can't tell which is right, nor whether a parabola is. An end of the range belongs to the
interval where the objective may rise towards it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
# The interval of an optimum, by the share of cases that it may miss.
Intervals = Callable[[float], tuple[float, float]]
ERROR = 0.05
MIN_VALUES = 3  # different ones, that a parabola needs
# With one, the variance is hardly known: of intervals that are narrow by luck, a third and more miss the truth.
MIN_DEGREES = 2
LEAST_TRIALS = MIN_VALUES + MIN_DEGREES  # through which a curve has an interval
WITH_INTERVAL = 2  # of ``precision_of``
SURE_SHARE = 0.9
# How much more quickly the objective may fall above the optimum than below it.
SKEWS = (0.25, 0.5, 1.0, 2.0, 4.0)
_PLACES: Array = np.linspace(-1, 1, 101)


@dataclass(frozen=True)
class ResponseCurve:
    """``optimum`` in the range from ``low`` to ``high``; ``interval``: its interval (of 95 %), ``None`` for fewer
    than five trials.
    """

    low: float
    high: float
    optimum: float
    interval: tuple[float, float] | None
    coefficients: tuple[float, float, float]

    @property
    def has_maximum(self) -> bool:
        """Whether the parabola opens downwards; else it is highest at an end of any range."""
        return self.coefficients[2] < 0

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves out a tenth of the range or more, on the log scale."""
        if self.interval is None:
            return False
        low, high = self.interval
        return log(high / low) <= SURE_SHARE * log(self.high / self.low)

    def at(self, value: float) -> float:
        """The fitted objective at a value of the setting."""
        place = _place(value, self.low, self.high)
        constant, linear, squared = self.coefficients
        return constant + linear * place + squared * place**2


def response_curve(
    values: Sequence[float],
    objectives: Sequence[float],
    low: float,
    high: float,
    error: float = ERROR,
    skews: Sequence[float] = SKEWS,
) -> ResponseCurve | None:
    """Fits ``objectives`` (trials,), higher is better, against the logarithms of ``values`` (trials,), all above 0.

    ``error``: the share of such intervals that may miss the optimum. ``skews``: of the curves that the interval allows
    for; 1 alone is a parabola. ``None`` for fewer than three different values, or where all objectives are equal.

    >>> curve = response_curve([1e-4, 1e-3, 1e-2], [0.5, 0.9, 0.5], 1e-4, 1e-2)
    >>> round(curve.optimum, 6)
    0.001
    """
    if len(set(values)) < MIN_VALUES or len(set(objectives)) < 2:
        return None
    places = np.array([_place(value, low, high) for value in values])
    fitted = np.linalg.pinv(_columns(places)) @ np.asarray(objectives, dtype=float)
    place, intervals = _optimum(fitted), optimum_intervals(values, objectives, low, high, skews)
    interval = intervals(error) if intervals is not None else None
    constant, linear, squared = (float(value) for value in fitted)
    return ResponseCurve(low, high, _value(place, low, high), interval, (constant, linear, squared))


def optimum_intervals(
    values: Sequence[float],
    objectives: Sequence[float],
    low: float,
    high: float,
    skews: Sequence[float] = SKEWS,
) -> Intervals | None:
    """The interval of the optimum by the share of cases that it may miss, as of :func:`response_curve`. ``None`` where
    there is none.
    """
    degrees = len(values) - MIN_VALUES
    if len(set(values)) < MIN_VALUES or len(set(objectives)) < 2 or degrees < MIN_DEGREES:
        return None
    places = np.array([_place(value, low, high) for value in values])
    drawn = np.asarray(objectives, dtype=float)
    optimum = _optimum(np.linalg.pinv(_columns(places)) @ drawn)
    by_skew = [_slopes(places, drawn, skew) for skew in skews]

    def interval(error: float) -> tuple[float, float]:
        bound = float(stats.t.ppf(1 - error / 2, degrees))
        first, last = _interval(by_skew, bound, optimum)
        return _value(first, low, high), _value(last, low, high)

    return interval


def precision_of(trials: int) -> int:
    """What so many trials say of an optimum: 0 nothing, 1 where it is, 2 (``WITH_INTERVAL``) that with an interval."""
    return (trials >= MIN_VALUES) + (trials >= LEAST_TRIALS)


def _columns(places: Array) -> Array:
    return np.stack([np.ones_like(places), places, places**2], axis=1)


def _optimum(coefficients: Array) -> float:
    """Where a parabola (3,) is highest between -1 and 1."""
    _, linear, squared = (float(value) for value in coefficients)
    if squared < 0:
        return min(max(-linear / (2 * squared), -1.0), 1.0)
    # Without a maximum, the higher of both ends.
    return 1.0 if linear >= 0 else -1.0


def _interval(by_skew: Sequence[tuple[Array, Array]], bound: float, optimum: float) -> tuple[float, float]:
    """The lowest and the highest place between -1 and 1 that may be the optimum, by any of the curves: where the slope
    is at most ``bound`` standard errors from 0, and the ends that it doesn't point away from by more than one.

    ``by_skew``: the slopes at ``_PLACES`` and their standard errors, of each curve.
    """
    limits = [optimum]
    for slopes, errors in by_skew:
        limits += _PLACES[np.abs(slopes) <= bound * errors].tolist()
        # Between two places each bound of the slope has its own crossing: an interval may be narrower than a step.
        limits += _crossings(slopes - bound * errors) + _crossings(slopes + bound * errors)
        limits += [-1.0] if slopes[0] <= errors[0] else []
        limits += [1.0] if slopes[-1] >= -errors[-1] else []
    return min(limits), max(limits)


def _slopes(places: Array, objectives: Array, skew: float) -> tuple[Array, Array]:
    """The slope at each of ``_PLACES``, were the two halves to meet there, and its standard error."""
    distance = places - _PLACES[:, None]
    weight = np.where(distance > 0, skew, 1.0)
    columns = np.stack([np.ones_like(distance), distance * weight, distance**2 * weight], axis=2)
    transposed = columns.transpose(0, 2, 1)
    covariance = _inverse(transposed @ columns)
    fitted = (covariance @ (transposed @ objectives)[..., None])[..., 0]
    residuals = objectives - (columns @ fitted[..., None])[..., 0]
    variance = (residuals**2).sum(axis=1) / (len(objectives) - MIN_VALUES)
    return fitted[:, 1], np.sqrt(np.maximum(0.0, variance * covariance[:, 1, 1]))


def _inverse(matrices: Array) -> Array:
    """Of symmetric matrices (places, 3, 3); rates that are almost the same may make one that has none."""
    try:
        return np.linalg.inv(matrices).astype(np.float64)
    except np.linalg.LinAlgError:
        return np.linalg.pinv(matrices, hermitian=True).astype(np.float64)


def _crossings(values: Array) -> list[float]:
    """Where values at ``_PLACES`` change their sign, by linear interpolation."""
    before, after = values[:-1], values[1:]
    changes = np.flatnonzero(before * after < 0)
    share = before[changes] / (before[changes] - after[changes])
    found: list[float] = (_PLACES[changes] + share * (_PLACES[changes + 1] - _PLACES[changes])).tolist()
    return found


def _place(value: float, low: float, high: float) -> float:
    """From -1 at the low end of the range to 1 at the high one, on the log scale."""
    return 2 * log(value / low) / log(high / low) - 1


def _value(place: float, low: float, high: float) -> float:
    # An end is exactly that of the range.
    return {-1.0: low, 1.0: high}.get(place, low * exp((place + 1) / 2 * log(high / low)))
