"""What choosing the best of several cells does to its figure, and how sure a cell's place on the front is.

Test rows are resampled with replacement (by prompt), and the seeds of the finalists with them: each resample chooses
anew. Rows that a resample leaves out play no part in its choice, so they show what the chosen cell has on new rows
(the out-of-bag estimate; B. Efron, "Estimating the error rate of a prediction rule", JASA 78, 1983).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.analysis.group import Group
from reports.statistics.resampling import draw_counts

RESAMPLES = 1_000
EQUAL_PEAKS = 0.02  # how well a measurement of memory repeats
SURE = 0.95


@dataclass(frozen=True)
class ResampledChoice:
    """``expected_quality`` of the best cell on new rows; ``front_shares``: by the cell's label, how many of the
    resamples have it on the Pareto front of quality and memory, from 0 to 1.
    """

    expected_quality: float
    front_shares: dict[str, float]


def resampled_choice(group: Group) -> ResampledChoice | None:
    """``None`` with fewer than two cells that have scores of the same test rows."""
    rows = [row for row in group.scored_rows if row.cell.estimate is not None]
    estimates = [row.cell.estimate for row in rows if row.cell.estimate is not None]
    if len(rows) < 2 or len({estimate.keys for estimate in estimates}) > 1:
        return None
    rng = np.random.default_rng(0)
    counts = draw_counts(rng, RESAMPLES, estimates[0].clusters)
    # (resamples, cells), in the direction that is better.
    sign = 1.0 if group.higher_is_better else -1.0
    noise = _seed_noise(group, rng, len(rows))
    drawn = sign * np.stack([estimate.resampled(counts) for estimate in estimates], axis=1) + noise
    left_out = (counts == 0).astype(float)
    usable = left_out.any(axis=1)
    unseen = np.stack([estimate.resampled(left_out[usable]) for estimate in estimates], axis=1)
    chosen = np.nanargmax(drawn[usable], axis=1)
    expected = float(np.nanmean(unseen[np.arange(len(chosen)), chosen]))
    shares = _on_front(drawn, [row.peak for row in rows])
    labels = [row.cell.label for row in rows]
    return ResampledChoice(expected, dict(zip(labels, shares, strict=True)))


def _seed_noise(group: Group, rng: np.random.Generator, cells: int) -> Any:
    """What other seeds would change in each cell's mean, beside the rows: (resamples, cells); 0 where not known."""
    if group.seed_variance is None:
        return 0.0
    estimates = [row.cell.estimate for row in group.scored_rows if row.cell.estimate is not None]
    variances = [
        max(0.0, group.seed_variance.value * each.seed_share - each.both_variance) for each in estimates
    ]
    return rng.normal(0.0, np.sqrt(variances), size=(RESAMPLES, cells))


def _on_front(qualities: Any, peaks: list[int | None]) -> list[float]:
    """The share of resamples in which no cell is at least as good in both and better in one, by cell.

    ``qualities``: (resamples, cells), higher is better. A cell of unknown peak is never on the front.
    """
    shares = []
    for cell, peak in enumerate(peaks):
        if peak is None:
            shares.append(0.0)
            continue
        dominated = np.zeros(len(qualities), dtype=bool)
        for other, its_peak in enumerate(peaks):
            if other == cell or its_peak is None or its_peak > peak * (1 + EQUAL_PEAKS):
                continue
            cheaper = its_peak < peak * (1 - EQUAL_PEAKS)
            better = qualities[:, other] > qualities[:, cell]
            dominated |= better | (cheaper & (qualities[:, other] == qualities[:, cell]))
        shares.append(float(1 - dominated.mean()))
    return shares
