"""What a trial's test rows tell of its quality: how it comes out if other rows had been drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose, nan
from typing import Any

from reports import uncertainty
from reports.uncertainty import Drawn
from trainables.results import Record, Run, drawn_auc

COLUMNS = ("row", "prompt", "reference", "score", "weight", "good_worth", "bad_worth")


@dataclass(frozen=True)
class Rows:
    """``asked`` tells which rows they are. ``of`` makes the quality of rows that are drawn so many times each, (rows,)
    of int; ``scores`` are there where it is their mean, ``ranked`` (how many good and bad answers) where it is AUC.
    """

    asked: tuple[tuple[Any, ...], ...]
    scores: tuple[float, ...] | None
    of: Drawn
    ranked: tuple[int, int] | None = None

    @property
    def interval(self) -> tuple[float, float]:
        """The quality's 95 % interval."""
        import numpy as np

        count = len(self.asked)
        if self.ranked is not None:
            return uncertainty.area(self.of(np.ones(count, int)), *self.ranked)
        return uncertainty.drawn(count, self.of)


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
    is_auc = record.quality_name == "auc"
    of = (_auc if is_auc else _mean)(found)
    if not isclose(of(np.ones(len(found), int)), record.quality, rel_tol=1e-3, abs_tol=1e-6):
        return None
    asked = tuple((row["row"], row["prompt"], row["reference"]) for row in found)
    weighed = any(row.get("weight") is not None for row in found)
    scores = None if is_auc or weighed else tuple(float(row["score"]) for row in found)
    return Rows(asked, scores, of, _ranked(found) if is_auc else None)


def _mean(rows: Sequence[dict[str, Any]]) -> Drawn:
    """Of the scores, weighed by tokens or bytes where these make up the quality."""
    import numpy as np

    scores = np.array([row["score"] for row in rows], float)
    weights = np.array([1.0 if row.get("weight") is None else row["weight"] for row in rows])

    def of(drawn: Any) -> float:
        weighing = drawn * weights
        return float((weighing * scores).sum() / weighing.sum()) if weighing.any() else nan

    return of


def _auc(rows: Sequence[dict[str, Any]]) -> Drawn:
    return drawn_auc([row.get("good_worth") for row in rows], [row.get("bad_worth") for row in rows])


def _ranked(rows: Sequence[dict[str, Any]]) -> tuple[int, int] | None:
    good, bad = (sum(row.get(side) is not None for row in rows) for side in ("good_worth", "bad_worth"))
    return (good, bad) if good and bad else None
