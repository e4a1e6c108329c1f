"""Whether two trials' qualities differ by more than their error, row by row where the rows are there.

difference(run, lora, run, full).settled   # True, False, or None: no error can be given
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isclose

from reports import uncertainty
from trainables.results import Record, Run


@dataclass(frozen=True)
class Difference:
    """``settled`` is ``None`` where the error is not known. ``how`` says by what it was judged."""

    settled: bool | None
    how: str


def difference(one_run: Run, one: Record, other_run: Run, other: Record) -> Difference:
    """Judges the difference of two qualities at the 5 % level, by the best means that the records allow."""
    pairs = _pairs(scores(one_run, one), scores(other_run, other))
    if pairs:
        return _by_row(pairs)
    if one.quality is None or other.quality is None:
        return Difference(None, "not measured")
    if one.quality_unit == "fraction" and one.test_rows and other.test_rows:
        low, high = uncertainty.newcombe(one.quality, one.test_rows, other.quality, other.test_rows)
        return Difference(low > 0 or high < 0, f"two standard errors of {one.test_rows} test rows")
    return Difference(None, "no scores by row")


def scores(run: Run, record: Record) -> dict[int, float]:
    """A trial's score for each test row; empty without ``predictions.parquet``.

    Empty as well where the scores' mean is not the quality (bits per byte, AUC): rows say nothing of it then.
    """
    path = run.folder / "trials" / record.trial_id / "predictions.parquet"
    if record.quality is None or not path.exists():
        return {}
    import pyarrow.parquet as pq

    rows = pq.read_table(path, columns=["row", "score"]).to_pylist()
    found = {row["row"]: float(row["score"]) for row in rows if row["score"] is not None}
    mean = sum(found.values()) / len(found) if found else float("nan")
    return found if isclose(mean, record.quality, rel_tol=1e-3, abs_tol=1e-6) else {}


def _pairs(one: dict[int, float], other: dict[int, float]) -> list[tuple[float, float]]:
    return [(one[row], other[row]) for row in one if row in other]


def _by_row(pairs: list[tuple[float, float]]) -> Difference:
    if all(score in (0.0, 1.0) for pair in pairs for score in pair):
        p = uncertainty.mcnemar(pairs.count((1.0, 0.0)), pairs.count((0.0, 1.0)))
        return Difference(p < 0.05, f"McNemar's exact test on {len(pairs)} rows, p = {p:.2g}")
    low, high = uncertainty.paired_bootstrap([one - other for one, other in pairs])
    return Difference(low > 0 or high < 0, f"paired bootstrap over {len(pairs)} rows")
