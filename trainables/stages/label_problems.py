"""Why rows can't be classified by the labels that a classifier's head has outputs for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainables.data.label_counts import count_labels, have_several

SHOWN = 5  # labels in a message


def training_problems(
    rows: Sequence[Any], labels: Sequence[str] | None, several: bool | None
) -> Iterator[tuple[str, str]]:
    """(setting of the stage, message) for each reason why training ``rows`` teach no ``labels``, of which ``several``
    may apply.
    """
    counts = count_labels(rows)
    if len(counts) < 2:
        one = next(iter(counts), None)
        what = f"every training row has the label {one}" if one is not None else "no training row has a label"
        yield "kind", f"{what}, and there are two or more to tell apart; add rows with others"
    elif len(counts) > len(rows) / 2:
        yield (
            "kind",
            f"the {len(rows)} training rows have {len(counts)} different labels, so these are texts of their own and "
            "no labels; learn them with sft, or name the column of the labels: data: {columns: {class: ...}}",
        )
    if unused := [label for label in labels or () if label not in counts]:
        yield "labels", f"no training row has the label {_listed(unused)}; leave it out, or add rows with it"
    if several is False and have_several(rows):
        yield "multi_label", "rows have lists of labels, of which several may apply; leave multi_label out"


def unknown_labels(rows: Sequence[Any], labels: Sequence[str] | None) -> str | None:
    """What labels ``rows`` have that the head has no output for; ``None`` where it has one for each."""
    if labels is None or not (unknown := sorted(set(count_labels(rows)) - set(labels))):
        return None
    return (
        f"the label {_listed(unknown)}, and the head has {len(labels)} labels: {_listed(labels)}; correct them, or "
        "train on rows that have them"
    )


def weight_problem(
    weights: str | Mapping[str, float] | None, labels: Sequence[str] | None, several: bool | None
) -> str | None:
    """Why rows can't be weighted by their labels so; ``None`` where they can, or are not."""
    if weights is None:
        return None
    if several:
        return "rows have several labels, each learned on its own; weights are of rows with one label: leave them out"
    if isinstance(weights, Mapping) and (others := sorted(set(weights) ^ set(labels or ()))):
        return f"give each label one weight, and nothing else; {_listed(others)} is given or missing"
    return None


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    return f"{', '.join(labels[:SHOWN])}{more}"
