"""The labels that a classifier's head has outputs for, and why rows can't be classified by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from trainables.data.formats.class_labels import label_text
from trainables.data.label_counts import count_labels, have_several
from trainables.system.wording import counted

SHOWN = 5  # labels in a message


def labels_of_setting(values: Iterable[Any]) -> tuple[str, ...]:
    """Labels of a spec, where YAML reads some as numbers or truth values, as rows have them. Raises ``ValueError``."""
    texts = tuple(map(label_text, values))
    if None in texts:
        raise ValueError("a label is a text or a whole number, and one is empty; put it in quotes")
    return tuple(text for text in texts if text is not None)


def weights_of_setting(weights: Mapping[Any, Any]) -> dict[str, Any]:
    """The weights of labels by their names as rows have them. Raises ``ValueError``."""
    labels = labels_of_setting(weights)
    if twice := [label for label, count in Counter(labels).items() if count > 1]:
        raise ValueError(f"the label {_listed(twice)} has two weights; give one")
    return dict(zip(labels, weights.values(), strict=True))


def labels_to_learn(rows: Sequence[Any]) -> list[str] | None:
    """The labels of training ``rows``; ``None`` where :func:`training_problems` says why these can't be learned."""
    counts = count_labels(rows)
    return sorted(counts) if len(counts) > 1 and (have_several(rows) or not _are_texts(rows)) else None


def _are_texts(rows: Sequence[Any]) -> bool:
    """Whether the labels are so many that they are texts of their own."""
    return len(count_labels(rows)) > len(rows) / 2


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
    elif labels is None and not have_several(rows) and _are_texts(rows):
        yield (
            "kind",
            f"the {len(rows)} training rows have {len(counts)} different labels, so these are texts of their own and "
            "no labels; learn them with sft, name the column of the labels (data: {columns: {class: ...}}), or give "
            "them where they are labels (labels: [...])",
        )
    if unused := [label for label in labels or () if label not in counts]:
        yield "labels", f"no training row has the label {_listed(unused)}; leave it out, or add rows with it"
    if not several and have_several(rows):
        yield "multi_label", "rows have lists of labels, of which several may apply; leave multi_label out"


def lists_problem(rows: Sequence[Any], several: bool | None) -> str | None:
    """What rows that are not trained on have, which a head of single labels can't be right about."""
    if several or not have_several(rows):
        return None
    return "lists of labels, and the head is of rows with one; train with multi_label: true, or give each row one label"


def unknown_labels(rows: Sequence[Any], labels: Sequence[str] | None) -> str | None:
    """What labels ``rows`` have that the head has no output for; ``None`` where it has one for each."""
    counts = count_labels(rows)
    if labels is None or not (unknown := sorted(set(counts) - set(labels))):
        return None
    shown = _listed([f"{label} ({counted(counts[label], 'row')})" for label in unknown])
    by_case = {label.lower(): label for label in labels}
    alike = [(by_case[label.lower()], label) for label in unknown if label.lower() in by_case]
    # As YAML's true, which is no text, and a table's True, which is one.
    case = (
        f"; upper and lower case count: {alike[0][0]} is not {alike[0][1]}, so write it in quotes"
        if alike
        else ""
    )
    return (
        f"the label {shown}, and the head has {len(labels)} labels: {_listed(labels)}{case}; add training rows with "
        "it, take its rows out of the data, or give them one of these labels"
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
