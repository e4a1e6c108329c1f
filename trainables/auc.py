"""How well good answers are told from bad ones by what they are worth: the area under the ROC curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def auc(good: Any, bad: Any) -> float:
    """The share of (good, bad) pairs with the good one higher, ties half; 0.5 where one side is empty.

    Mann and Whitney's U over the number of pairs (H. B. Mann and D. R. Whitney, Annals of Mathematical Statistics 18,
    1947).

    >>> auc([2.0, 3.0], [1.0, 3.0])
    0.625
    """
    if not len(good) or not len(bad):
        return 0.5
    rows = len(good) + len(bad)
    return drawn_auc([*good, *[None] * len(bad)], [*[None] * len(good), *bad])(np.ones(rows, int))


def drawn_auc(good: Sequence[float | None], bad: Sequence[float | None]) -> Callable[[Any], float]:
    """The same of rows that are drawn so many times each, (rows,) of int. A row has a good answer, a bad one, or both;
    ``None`` for none. Without any of either there is no such share: NaN.

    >>> drawn_auc([2.0, 3.0], [1.0, 3.0])(np.array([2, 0]))
    1.0
    """
    sides = [[(row, worth) for row, worth in enumerate(side) if worth is not None] for side in (good, bad)]
    (good_rows, bad_rows), (_, places) = (
        [np.array([row for row, _ in side], int) for side in sides],
        np.unique([worth for side in sides for _, worth in side], return_inverse=True),
    )
    good_places, bad_places = places[: len(good_rows)], places[len(good_rows) :]
    count = len(places)

    def of(drawn: Any) -> float:
        goods = np.bincount(good_places, weights=drawn[good_rows], minlength=count)
        bads = np.bincount(bad_places, weights=drawn[bad_rows], minlength=count)
        pairs = goods.sum() * bads.sum()
        below = np.cumsum(bads) - bads / 2
        return float((goods * below).sum() / pairs) if pairs else math.nan

    return of
