"""What choosing the best of several cells does to its figure, and how sure a cell's place on the front is.

Test rows are resampled with replacement (by prompt), and the seeds of the finalists with them: each resample chooses
anew. Rows that a resample leaves out play no part in its choice, so they show what the chosen cell has on new rows
(the out-of-bag estimate; B. Efron, "Estimating the error rate of a prediction rule", JASA 78, 1983).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.statistics.estimates import Estimate
from reports.statistics.intervals import SeedVariance, variance_beside_rows
from reports.statistics.pareto import EQUAL_PEAKS
from reports.statistics.resampling import draw_counts

RESAMPLES = 1_000


@dataclass(frozen=True)
class ResampledChoice:
    """``expected_quality`` of the best cell on new rows; ``front_shares``: by the cell's label, how many of the
    resamples have it on the Pareto front of quality and memory, from 0 to 1.
    """

    expected_quality: float
    front_shares: dict[str, float]


def resampled_choice(
    cells: Mapping[str, tuple[Estimate, int | None]],
    seeds: SeedVariance | None,
    *,
    higher_is_better: bool,
) -> ResampledChoice | None:
    """``cells``: by label, the estimate of each quality and the peak memory in bytes.

    ``None`` with fewer than two cells, or where they were not scored on the same test rows.
    """
    estimates = [estimate for estimate, _ in cells.values()]
    if len(cells) < 2 or len({estimate.keys for estimate in estimates}) > 1:
        return None
    rng = np.random.default_rng(0)
    counts = draw_counts(rng, RESAMPLES, estimates[0].clusters)
    # (resamples, cells), in the direction that is better.
    sign = 1.0 if higher_is_better else -1.0
    noise = _seed_noise(estimates, seeds, rng)
    drawn = sign * np.stack([estimate.resampled(counts) for estimate in estimates], axis=1) + noise
    left_out = (counts == 0).astype(float)
    usable = left_out.any(axis=1)
    unseen = np.stack([estimate.resampled(left_out[usable]) for estimate in estimates], axis=1)
    chosen = np.nanargmax(drawn[usable], axis=1)
    expected = float(np.nanmean(unseen[np.arange(len(chosen)), chosen]))
    shares = _on_front(drawn, [peak for _, peak in cells.values()])
    return ResampledChoice(expected, dict(zip(cells, shares, strict=True)))


def _seed_noise(estimates: list[Estimate], seeds: SeedVariance | None, rng: np.random.Generator) -> Any:
    """What other seeds would change in each cell's mean, beside the rows: (resamples, cells); 0 where not known."""
    if seeds is None:
        return 0.0
    variances = [variance_beside_rows(seeds, estimate) for estimate in estimates]
    return rng.normal(0.0, np.sqrt(variances), size=(RESAMPLES, len(estimates)))


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
