"""How qualities and objectives are named and signed for readers, and what their units mean.

An objective is recorded so that higher is better: minus the loss, for one. Readers see one sign for one thing: a loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp

from reports import units
from reports.analysis.group import Group
from reports.analysis.row import Row
from reports.text import joined, text


@dataclass(frozen=True)
class ObjectiveScale:
    """The objective as it is shown: its ``name``, its ``unit``, and the ``sign`` that recorded values get."""

    name: str
    unit: str | None = None
    sign: int = 1

    @property
    def higher_is_better(self) -> bool:
        return self.sign > 0

    def shown(self, objective: float) -> float:
        return self.sign * objective


def quality_name(group: Group) -> str:
    """The name of a group's quality in words."""
    return units.readable(group.metric_record.quality_name if group.metric_record else None)


# What was recorded as minus something, by the objective's name.
_NEGATED = {
    "log-probability per token": ObjectiveScale("loss", "nats per token", -1),
    "minus bits per byte": ObjectiveScale("bits per byte", None, -1),
    "minus loss per masked token": ObjectiveScale("masked loss", "nats per masked token", -1),
}


def objective_scale(group: Group) -> ObjectiveScale:
    """The scale on which a group's objectives are shown; that of the record where they have several names."""
    records = [record for row in group.rows for record in row.cell.records if record.objective is not None]
    names = list(dict.fromkeys(record.objective_name for record in records if record.objective_name))
    if len(names) != 1:
        return ObjectiveScale("objective")
    same = group.metric_record is not None and group.metric_record.quality_name == names[0]
    plain = ObjectiveScale(units.readable(names[0]), group.unit if same else None)
    return _NEGATED.get(names[0], plain)


def shown_objective_name(name: str) -> str:
    """The name of an objective as readers see it: ``loss`` for ``log-probability per token``."""
    return _NEGATED[name].name if name in _NEGATED else units.readable(name)


def quality_explanation(group: Group, row: Row | None) -> str | None:
    """What the quality of a group measures, and what that of one cell means, for those who have not met its unit;
    ``None`` where its name says it.
    """
    record = group.metric_record
    if record is None:
        return None
    if record.quality_unit == "nats per token":
        meaning = text("Nats per token say how surprised a model is by the right answers; lower is better.")
        return joined(" ", [meaning, *_likelihoods(group, row)])
    return _EXPLANATIONS.get(record.quality_name or "")


_EXPLANATIONS = {
    "bits_per_byte": text(
        "Bits per byte say how well a model predicts the text, whatever its tokenizer: the bits that a compressor "
        "which knows the model would need for each byte. Lower is better."
    ),
    "masked_loss": text(
        "Nats per masked token say how surprised a model is by words that are hidden from it, 15 % of each text and "
        "the same for every model; lower is better."
    ),
    "pair_accuracy": text(
        "Pair accuracy is the share of pairs of answers of which the model finds the good one likelier; guessing has "
        "50 %."
    ),
    "auc": text(
        "AUC is the probability that a good answer gets a higher score than a bad one; guessing has 0.5."
    ),
    "macro_f1": text(
        "Macro-F1 is the mean of the labels' F1, in which rare labels count as much as frequent ones; a label's F1 is "
        "1 where exactly the rows that have it were given it."
    ),
    "reward": text(
        "The reward is the mean score that the reward model gives to a model's answers; it has no scale of its own. "
        "Higher is better."
    ),
}


def _likelihoods(group: Group, row: Row | None) -> Iterator[str]:
    """What a cell's loss, and that before training, are as a probability of each token."""
    if row is None or row.quality is None:
        return
    base = group.base_of(row)
    known = base is not None and base.quality is not None
    before = (
        text(", before training {share}", share=units.percent(exp(-(base.quality or 0.0))))
        if base is not None and known
        else ""
    )
    yield text(
        "At {loss}, {cell} gives the next token of a right answer a probability of {share} on geometric "
        "average{before}.",
        loss=units.number(row.quality, 4),
        cell=row.name,
        share=units.percent(exp(-row.quality)),
        before=before,
    )
