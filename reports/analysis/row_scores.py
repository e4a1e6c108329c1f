"""The scores of a trial's test rows, and how its quality follows from them: what intervals and tests resample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose, nan
from typing import Any

from reports.analysis import uncertainty
from reports.analysis.uncertainty import ResampledMeasure
from trainables.results import Record, Run, drawn_auc

RowKeys = tuple[tuple[Any, ...], ...]  # (row number, prompt, reference) of each row
COLUMNS = ("row", "prompt", "reference", "score", "weight", "good_worth", "bad_worth")


@dataclass(frozen=True)
class RowScores:
    """The test rows of one trial.

    ``keys`` identify the rows: two trials with equal keys were scored on the same rows.
    ``quality_of`` computes the quality from how often each row is drawn, (rows,) of int.
    ``scores`` is filled where the quality is their mean, ``weights`` (tokens, bytes) where that mean is weighted.
    ``answer_counts``, the numbers of good and of bad answers, is set where the quality is an AUC.
    """

    keys: RowKeys
    quality_of: ResampledMeasure
    scores: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    answer_counts: tuple[int, int] | None = None

    @property
    def is_auc(self) -> bool:
        return self.answer_counts is not None

    @property
    def interval(self) -> tuple[float, float]:
        """The quality's 95 % interval."""
        if self.answer_counts is None:
            return uncertainty.bootstrap(self.scores, self.weights or [1.0] * len(self.scores))
        import numpy as np

        return uncertainty.auc_interval(self.quality_of(np.ones(len(self.keys), int)), *self.answer_counts)


def row_scores(run: Run, record: Record) -> RowScores | None:
    """The rows of a trial's ``predictions.parquet``; ``None`` without the file or if they don't give its quality."""
    import numpy as np
    import pyarrow.parquet as pq

    path = run.folder / "trials" / record.trial_id / "predictions.parquet"
    if record.quality is None or not path.exists():
        return None
    columns = [name for name in COLUMNS if name in pq.read_schema(path).names]
    rows = [row for row in pq.read_table(path, columns=columns).to_pylist() if row["score"] is not None]
    if not rows:
        return None
    keys = tuple((row["row"], row["prompt"], row["reference"]) for row in rows)
    scores = (_auc_scores if record.quality_name == "auc" else _mean_scores)(keys, rows)
    # The quality from each row drawn once. A quality of another kind (one that is no mean) has no error to give.
    recomputed = scores.quality_of(np.ones(len(rows), int))
    return scores if isclose(recomputed, record.quality, rel_tol=1e-3, abs_tol=1e-6) else None


def _mean_scores(keys: RowKeys, rows: Sequence[dict[str, Any]]) -> RowScores:
    import numpy as np

    scores = tuple(float(row["score"]) for row in rows)
    weights = tuple(row["weight"] for row in rows if row.get("weight") is not None)
    values, sizes = np.array(scores), np.array(weights or [1.0] * len(rows))

    def weighted_mean(times_drawn: Any) -> float:
        # Both factors are (rows,). A resample that draws only rows of weight 0 has no mean.
        weighting = times_drawn * sizes
        return float((weighting * values).sum() / weighting.sum()) if weighting.any() else nan

    return RowScores(keys, weighted_mean, scores, weights)


def _auc_scores(keys: RowKeys, rows: Sequence[dict[str, Any]]) -> RowScores:
    good, bad = ([row.get(column) for row in rows] for column in ("good_worth", "bad_worth"))
    counts = (sum(score is not None for score in good), sum(score is not None for score in bad))
    return RowScores(keys, drawn_auc(good, bad), answer_counts=counts)
