"""Precision, recall and F1 of labels, from which labels rows have and which were given to them.

>>> scores = label_scores([{"a"}, {"a"}, {"b"}], [{"a"}, {"b"}, {"b"}])
>>> scores["a"].precision, scores["a"].recall, round(macro_f1(scores), 3)
(1.0, 0.5, 0.667)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from trainables.data.thinking import without_thinking

MIN_ROWS_PER_LABEL = 5  # in the mean, where answers are taken for labels


@dataclass(frozen=True)
class LabelScore:
    """Of one label: how many rows have it and were given it (``hits``), have it, and were given it."""

    hits: int
    has: int
    given: int

    @property
    def precision(self) -> float | None:
        """The share of the rows that were given the label which have it; ``None`` where none was given it."""
        return self.hits / self.given if self.given else None

    @property
    def recall(self) -> float:
        """The share of the rows with the label that were given it."""
        return self.hits / self.has if self.has else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall: 2 hits / (has + given); 0 where neither has it."""
        return 2 * self.hits / (self.has + self.given) if self.has + self.given else 0.0


def label_scores(
    references: Sequence[Collection[str]], predictions: Sequence[Collection[str]]
) -> dict[str, LabelScore]:
    """The scores of each label that a row has, by name, the most frequent first."""
    has: dict[str, int] = {}
    given: dict[str, int] = {}
    hits: dict[str, int] = {}
    for right, found in zip(references, predictions, strict=True):
        for counts, labels in ((has, right), (given, found), (hits, set(right) & set(found))):
            for label in labels:
                counts[label] = counts.get(label, 0) + 1
    ordered = sorted(has, key=lambda label: (-has[label], label))
    return {label: LabelScore(hits.get(label, 0), has[label], given.get(label, 0)) for label in ordered}


def written_label_scores(references: Sequence[str], answers: Sequence[str]) -> dict[str, LabelScore]:
    """The scores of labels that a model writes: what it wrote after its thoughts is the label that it gave."""
    right, given = ([{without_thinking(text)} for text in texts] for texts in (references, answers))
    return label_scores(right, given)


def macro_f1(scores: Mapping[str, LabelScore]) -> float:
    """The mean F1 of the labels that rows have, each counting alike; 0 without any.

    As scikit-learn's ``f1_score(average="macro")`` with the labels that occur among the references: a text that is no
    label counts against the label that it should have been.
    """
    return sum(score.f1 for score in scores.values()) / len(scores) if scores else 0.0


def are_labels(references: Sequence[str]) -> bool:
    """Whether answers are labels: at least two, and in the mean :data:`MIN_ROWS_PER_LABEL` rows of each."""
    return 2 <= len(set(references)) <= len(references) / MIN_ROWS_PER_LABEL
