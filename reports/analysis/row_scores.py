"""What a trial's test rows tell of its quality: how it comes out if other rows had been drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose, nan
from typing import Any

from reports.analysis import uncertainty
from reports.analysis.uncertainty import Drawn
from trainables.results import Record, Run, drawn_auc

Asked = tuple[tuple[Any, ...], ...]
COLUMNS = ("row", "prompt", "reference", "score", "weight", "good_worth", "bad_worth")


@dataclass(frozen=True)
class Rows:
    """``asked`` tells which rows they are. ``of`` makes the quality of rows that are drawn so many times each, (rows,)
    of int. ``scores`` are there where it is their mean, ``weights`` (tokens, bytes) where that is a weighted one;
    ``ranked`` (how many good and bad answers) where it is AUC.
    """

    asked: Asked
    of: Drawn
    scores: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    ranked: tuple[int, int] | None = None

    @property
    def interval(self) -> tuple[float, float]:
        """The quality's 95 % interval."""
        if self.ranked is None:
            return uncertainty.bootstrap(self.scores, self.weights or [1.0] * len(self.scores))
        import numpy as np

        return uncertainty.area(self.of(np.ones(len(self.asked), int)), *self.ranked)


def rows_of(run: Run, record: Record) -> Rows | None:
    """The rows of ``predictions.parquet``; ``None`` without them, and where they don't make up the quality."""
    import numpy as np
    import pyarrow.parquet as pq

    path = run.folder / "trials" / record.trial_id / "predictions.parquet"
    if record.quality is None or not path.exists():
        return None
    kept = [name for name in COLUMNS if name in pq.read_schema(path).names]
    found = [row for row in pq.read_table(path, columns=kept).to_pylist() if row["score"] is not None]
    if not found:
        return None
    asked = tuple((row["row"], row["prompt"], row["reference"]) for row in found)
    rows = (_ranked if record.quality_name == "auc" else _mean)(asked, found)
    same = isclose(rows.of(np.ones(len(found), int)), record.quality, rel_tol=1e-3, abs_tol=1e-6)
    return rows if same else None


def _mean(asked: Asked, rows: Sequence[dict[str, Any]]) -> Rows:
    import numpy as np

    scores = tuple(float(row["score"]) for row in rows)
    weights = tuple(row["weight"] for row in rows if row.get("weight") is not None)
    values, sizes = np.array(scores), np.array(weights or [1.0] * len(rows))

    def of(drawn: Any) -> float:
        weighing = drawn * sizes
        return float((weighing * values).sum() / weighing.sum()) if weighing.any() else nan

    return Rows(asked, of, scores, weights)


def _ranked(asked: Asked, rows: Sequence[dict[str, Any]]) -> Rows:
    good, bad = ([row.get(side) for row in rows] for side in ("good_worth", "bad_worth"))
    counts = (sum(worth is not None for worth in good), sum(worth is not None for worth in bad))
    return Rows(asked, drawn_auc(good, bad), ranked=counts)
