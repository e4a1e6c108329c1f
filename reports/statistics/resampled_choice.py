"""What choosing the best of several cells does to its figure, and how sure a cell's place on the front is.

The best is chosen twice: of all cells, and of those that need no more memory than it, for each step of the front.

Test rows are resampled with replacement (by prompt), and the seeds of the finalists with them: each resample chooses
anew. Rows that a resample leaves out play no part in its choice, so they show what the chosen cell has on new rows
(the out-of-bag estimate; B. Efron, "Estimating the error rate of a prediction rule", JASA 78, 1983). Likewise for
seeds: noise of their variance is added to what is chosen by, and subtracted from what the chosen cell is judged by, so
that the two are independent (D. G. Rasines and G. A. Young, "Splitting strategies for post-selection inference",
Biometrika 110, 2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.statistics.estimates import Array, Estimate
from reports.statistics.intervals import Interval, SeedVariance, beside_rows
from reports.statistics.pareto import EQUAL_PEAKS
from reports.statistics.resampling import drawn_counts
from reports.statistics.rounding import rounded_decimals

RESAMPLES = 1_000


@dataclass(frozen=True)
class ResampledChoice:
    """``best``: the label of the best cell; ``expected_quality``: what it has on new rows, with other seeds;
    ``expected_within``: the same of each cell that is the best of those within its own peak memory, by its label;
    ``front_shares``: by the cell's label, how many of the resamples have it on the Pareto front of quality and memory,
    from 0 to 1.
    """

    best: str
    expected_quality: float
    expected_within: dict[str, float]
    front_shares: dict[str, float]

    def extended(self, label: str, measured: float, interval: Interval, proportion: bool) -> Interval:
        """A cell's interval, with those around what it is expected to have beside the one around what was ``measured``.

        The interval of a cell that was chosen for its figure holds the truth less often than one of a cell that was
        named beforehand. Extended by as much as the figure is flattered, it holds it often enough (simulated); moved by
        as much, it would not where a few rows decide, or where the best is no chance. That of a cell that is the best
        of none stays as it is.
        """
        expected = [self.expected_within.get(label, measured)]
        expected += [self.expected_quality] if label == self.best else []
        low, high = interval
        low += min(0.0, *(value - measured for value in expected))
        high += max(0.0, *(value - measured for value in expected))
        return (max(0.0, low), min(1.0, high)) if proportion else (low, high)


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
    if len(cells) < 2 or len({(estimate.keys, estimate.clusters) for estimate in estimates}) > 1:
        return None
    # (resamples, cells), in the direction that is better.
    sign = 1.0 if higher_is_better else -1.0
    seeds_change = _seed_noise(estimates, seeds)
    drawn, unseen, start = [], [], 0
    for counts in drawn_counts(RESAMPLES, estimates[0].clusters):
        noise = seeds_change[start : start + len(counts)]
        start += len(counts)
        drawn.append(sign * _resampled(estimates, counts) + noise)
        # The opposite noise; nan where no row is left out.
        unseen.append(sign * _resampled(estimates, (counts == 0).astype(float)) - noise)
    chosen_by, judged_by = np.concatenate(drawn), np.concatenate(unseen)
    usable = np.isfinite(judged_by).all(axis=1) & np.isfinite(chosen_by).all(axis=1)
    if not usable.any():
        return None
    peaks = [peak for _, peak in cells.values()]
    measured = sign * np.array([estimate.quality for estimate in estimates])
    labels, best = list(cells), int(np.argmax(measured))

    known_by, known_on = chosen_by[usable], judged_by[usable]

    def expected_of(candidates: list[int]) -> float:
        return sign * _expected(known_by[:, candidates], known_on[:, candidates])

    return ResampledChoice(
        labels[best],
        expected_of(list(range(len(labels)))),
        {
            labels[cell]: expected_of(within)
            for cell, within in _best_within_their_memory(measured, peaks).items()
        },
        dict(zip(labels, _on_front(chosen_by, peaks), strict=True)),
    )


def _expected(chosen_by: Array, judged_by: Array) -> float:
    """The mean of what each resample's choice has on what played no part in it; both are (resamples, cells)."""
    chosen = np.argmax(chosen_by, axis=1)
    return float(judged_by[np.arange(len(chosen)), chosen].mean())


def _best_within_their_memory(qualities: Array, peaks: list[int | None]) -> dict[int, list[int]]:
    """The cells that need no more memory than each cell that is the best of them, itself among them.

    ``qualities``: (cells,), higher is better.
    """
    found = {}
    for cell, peak in enumerate(peaks):
        if peak is None:
            continue
        limit = peak * (1 + EQUAL_PEAKS)
        within = [other for other, its_peak in enumerate(peaks) if its_peak is not None and its_peak <= limit]
        if qualities[cell] == max(qualities[other] for other in within):
            found[cell] = within
    return found


def _resampled(estimates: list[Estimate], counts: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return rounded_decimals(np.stack([estimate.resampled(counts) for estimate in estimates], axis=1))


def _seed_noise(estimates: list[Estimate], seeds: SeedVariance | None) -> Array:
    """What other seeds would change in each cell's mean, beside the rows: (resamples, cells); 0 where not known."""
    if seeds is None:
        return np.zeros((RESAMPLES, len(estimates)))
    # The pooled variance: noise of a larger one would make the two parts of a figure contradict each other.
    variances = [beside_rows(seeds.value * estimate.seed_share, estimate) for estimate in estimates]
    rng = np.random.default_rng(1)  # other numbers than those that draw the rows
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
