"""Which labels the best trial of a cell gave to the test rows: a confusion matrix, and each label's precision, recall
and F1.

A language model that writes the label as a text is judged alike: what it wrote after its thoughts is the label that it
gave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reports.analysis.group import Group
from reports.analysis.row import Row
from reports.analysis.row_scores import MACRO_F1, labels_of
from trainables.results import reading

FILE = "predictions.parquet"


@dataclass(frozen=True)
class LabelResults:
    """``pairs``: how many rows have the first label and were given the second, where each row has one; ``None`` where
    several may apply. ``has``, ``given`` and ``hits``: rows by label that have it, were given it, and both.
    """

    pairs: Mapping[tuple[str, str], int] | None
    has: Mapping[str, int]
    given: Mapping[str, int]
    hits: Mapping[str, int]

    @property
    def labels(self) -> tuple[str, ...]:
        """Those that rows have, the most frequent first."""
        return tuple(sorted(self.has, key=lambda label: (-self.has[label], label)))

    def precision(self, label: str) -> float | None:
        """The share of the rows that were given the label which have it; ``None`` where none was given it."""
        given = self.given.get(label, 0)
        return self.hits.get(label, 0) / given if given else None

    def recall(self, label: str) -> float:
        """The share of the rows with the label that were given it."""
        return self.hits.get(label, 0) / self.has[label]

    def f1(self, label: str) -> float:
        """2 hits / (has + given), the harmonic mean of precision and recall."""
        return 2 * self.hits.get(label, 0) / (self.has[label] + self.given.get(label, 0))


def label_results(row: Row) -> LabelResults | None:
    """Those of a cell's best trial; ``None`` where its rows have no labels, or were not stored."""
    import pyarrow.parquet as pq

    if row.best is None or not _has_labels(row):
        return None
    path = row.cell.run.folder / "trials" / row.best.trial_id / FILE
    if not path.exists():
        return None
    with reading(path):
        table = pq.read_table(path, columns=["reference", "prediction"])
    several = bool((row.best.config.get("stage") or {}).get("multi_label"))
    return counted(zip(*table.to_pydict().values(), strict=True), several)


def counted(rows: Iterable[tuple[str | None, str | None]], several: bool) -> LabelResults:
    """The results of (reference, prediction) of each row, ``None`` or empty where it has none; where ``several`` may
    apply, each is a JSON list.

    >>> found = counted([("a", "a"), ("a", "b"), ("b", "b")], several=False)
    >>> found.labels, found.precision("a"), found.recall("a"), found.pairs["a", "b"]
    (('a', 'b'), 1.0, 0.5, 1)
    """
    pairs: Counter[tuple[str, str]] = Counter()
    has: Counter[str] = Counter()
    given: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    for reference, prediction in rows:
        right, found = (labels_of(text, several) for text in (reference, prediction))
        has.update(right)
        given.update(found)
        hits.update(right & found)
        if not several and right:
            pairs["".join(right), "".join(found)] += 1
    return LabelResults(None if several else pairs, has, given, hits)


def labelled(groups: Iterable[Group]) -> list[Group]:
    """The groups whose test rows have labels."""
    return [group for group in groups if any(map(_has_labels, group.rows))]


def _has_labels(row: Row) -> bool:
    # Recorded where rows have labels, as the quality or beside it.
    return row.best is not None and MACRO_F1 in row.best.metrics
