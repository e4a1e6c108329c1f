"""The measured memory of two cells beside each other, and how far measured peaks can be told apart."""

from __future__ import annotations

from reports.analysis.row import Row
from reports.claims.judgement import Figure
from reports.statistics.pareto import EQUAL_PEAKS
from reports.text import text
from trainables.results import Record


def memory_share(row: Row, against: Row) -> Figure | str:
    """The first cell's peak as a share of the second's, from the least to the largest that the measured peaks allow; or
    why it is not known.
    """
    if (obstacle := _unmeasured(row, against)) is not None:
        return obstacle
    own, others = _peaks(row), _peaks(against)
    ends = min(own) / max(others) * (1 - EQUAL_PEAKS), max(own) / min(others) * (1 + EQUAL_PEAKS)
    name = text("memory of {one}, of {other}'s", one=row.name, other=against.name)
    return Figure(name, "share", _mean(own) / _mean(others), ends)


def saved_share(row: Row, against: Row) -> Figure | str:
    """What the first cell's peak is lower by than the second's, as a share of what its weights are smaller by; or why
    it is not known. From the least to the largest that the measured peaks allow.
    """
    if (obstacle := _unmeasured(row, against)) is not None:
        return obstacle
    weights = [
        [each.weight_bytes for each in _measured(cell) if each.weight_bytes] for cell in (row, against)
    ]
    for each, known in zip((row, against), weights, strict=True):
        if not known:
            return text("the size of the weights of {cell} is not known", cell=each.name)
    smaller = _mean(weights[1]) - _mean(weights[0])
    if smaller <= 0:
        return text(
            "the weights of {one} are not smaller than those of {other}", one=row.name, other=against.name
        )
    own, others = _peaks(row), _peaks(against)
    error = EQUAL_PEAKS * max(*own, *others)
    ends = (min(others) - max(own) - error) / smaller, (max(others) - min(own) + error) / smaller
    name = text("memory that {cell} saves, of what its weights are smaller by", cell=row.name)
    return Figure(name, "share", (_mean(others) - _mean(own)) / smaller, ends)


def _unmeasured(*rows: Row) -> str | None:
    for row in rows:
        if not _peaks(row):
            return text(
                "the memory of {cells} was not measured, only predicted"
                if row.peak
                else "the memory of {cells} was not measured",
                cells=row.name,
            )
    return None


def _measured(row: Row) -> list[Record]:
    trials = row.cell.judged_trials or ([row.best] if row.best is not None else [])
    return [each for each in trials if each.peak_bytes is not None and each.memory_source != "predicted"]


def _peaks(row: Row) -> list[int]:
    return [each.peak_bytes for each in _measured(row) if each.peak_bytes is not None]


def _mean(values: list[int]) -> float:
    return sum(values) / len(values)
