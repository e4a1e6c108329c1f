"""The report's tables of labels: precision, recall and F1 of each, and which were taken for which."""

from __future__ import annotations

from collections.abc import Sequence

from reports import units
from reports.analysis.across_stages import LABELS_NAME, LABELS_NOTE
from reports.analysis.group import Group
from reports.analysis.label_results import LabelResults, label_results, labelled
from reports.analysis.row import Row
from reports.pages.tables import Table

__all__ = [
    "LABELS_NAME",
    "LABELS_NOTE",
    "NOTE",
    "confused_cell",
    "confusion",
    "label_scores",
    "labelled",
    "stored_results",
]

SHOWN_CELLS = 6  # the best
SHOWN_LABELS = 20  # of the table of which were taken for which: the most frequent
OTHER = "any other"  # a text that is no label, a label that no row has, or one that is too rare to be shown
NOTE = (
    "Of the test rows, by the best trial of each cell. Precision is the share of the rows given a label that have it, "
    "recall the share of the rows with a label that were given it, F1 their harmonic mean. Macro-F1 is the mean of the "
    "labels' F1, in which rare labels count as much as frequent ones. The last table is of the best cell whose "
    "predictions are stored: rows by the label that they have, columns by the label that they were given, of the "
    f"{SHOWN_LABELS} most frequent labels. "
    f"'{OTHER.capitalize()}' counts rarer labels, labels that no row has, and texts that are no label."
)
Known = Sequence[tuple[Row, LabelResults]]


def label_scores(known: Known) -> Table:
    """A row for each label: how many test rows have it, and what each cell reaches."""
    if not known:
        return Table((), [])
    best, first = known[0]
    columns = (
        "label",
        "rows",
        f"precision ({best.name})",
        f"recall ({best.name})",
        *(f"F1 ({row.name})" for row, _ in known),
    )
    rows = [
        (
            label,
            str(first.has[label]),
            units.percent(first.precision(label)),
            units.percent(first.recall(label)),
            # Trials of other rows have other labels.
            *(units.number(each.f1(label), 3) if label in each.has else units.UNKNOWN for _, each in known),
        )
        for label in first.labels
    ]
    return Table(columns, rows, frozenset({"label"}))


def confusion(known: Known) -> Table:
    """The confusion matrix of the best of these cells; empty where several labels may apply to a row."""
    pairs = known[0][1].pairs if known else None
    if pairs is None:
        return Table((), [])
    labels = known[0][1].labels[:SHOWN_LABELS]
    rows = []
    for right in known[0][1].labels:
        counts = {label: pairs.get((right, label), 0) for label in labels}
        other = sum(count for (has, _), count in pairs.items() if has == right) - sum(counts.values())
        if right in labels:
            rows.append((right, *map(str, counts.values()), str(other)))
    return Table(("has", *labels, OTHER), rows, frozenset({"has"}))


def confused_cell(known: Known) -> str:
    """The name of the cell that :func:`confusion` is of."""
    return known[0][0].display_name if known else ""


def stored_results(group: Group) -> Known:
    """The best trained cells whose labels are stored, the best first: what the tables are made of."""
    found = ((row, label_results(row)) for row in group.rows[:SHOWN_CELLS])
    return [(row, results) for row, results in found if results is not None]
