"""The answer in two or three sentences: which method to use, its quality and memory, and what is not settled."""

from __future__ import annotations

from dataclasses import dataclass

from reports import units
from reports.analysis import caveats
from reports.analysis.difference import Difference, difference
from reports.analysis.group import Group, Row

# The share of the best quality that a cheaper cell must reach: with few test rows, a much worse cell can't be told
# apart from the best either.
MIN_SHARE_OF_BEST = 0.9


@dataclass(frozen=True)
class Answer:
    """``sentences`` say what to do; ``open_questions`` is the last sentence, ``None`` when all is settled."""

    title: str
    sentences: tuple[str, ...]
    open_questions: str | None

    @property
    def text(self) -> str:
        return " ".join((*self.sentences, self.open_questions) if self.open_questions else self.sentences)


def answer(group: Group) -> Answer:
    """The answer for one stage, model and data set."""
    tied = ties(group)
    recommended = recommend(group, tied)
    questions = caveats.caveats(group, recommended, tied)
    open_questions = f"Not settled: {'; '.join(questions)}." if questions else None
    return Answer(group.title, tuple(_sentences(group, recommended)), open_questions)


def ties(group: Group) -> dict[str, Difference]:
    """The cells, by label, that can't be told apart from the best: within the error, or of unknown error."""
    if not group.scored_rows:
        return {}
    best, *others = group.scored_rows
    differences = {row.cell.label: difference_of_best_trials(row, best) for row in others}
    return {label: verdict for label, verdict in differences.items() if verdict.settled is not True}


def difference_of_best_trials(row: Row, other: Row) -> Difference:
    """Whether the qualities of two cells' best trials differ by more than their error."""
    assert row.best is not None
    assert other.best is not None
    return difference(row.cell.run, row.best, other.cell.run, other.best)


def recommend(group: Group, tied: dict[str, Difference] | None = None) -> Row | None:
    """The cell to use: the one that needs least memory of those that can't be told apart from the best quality.

    A cell with less than 90 % of the best quality never counts as equal to it, nor does one whose error is unknown.
    ``tied`` is the result of :func:`ties`, where the caller has it already.
    """
    if not group.scored_rows:
        return None
    best, *others = group.scored_rows
    tied = ties(group) if tied is None else tied
    equals = [best, *(row for row in others if _is_as_good(row, tied))]
    # Without the best cell's memory nothing shows that another cell needs less.
    if best.peak is None:
        return best
    return min((row for row in equals if row.peak is not None), key=lambda row: row.peak or 0)


def _is_as_good(row: Row, tied: dict[str, Difference]) -> bool:
    share = row.share_of_best_quality
    verdict = tied.get(row.cell.label)
    # `settled` is None where the error is unknown, which is no proof of equality.
    within_error = verdict is not None and verdict.settled is False
    return share == 1.0 or (within_error and (share is None or share >= MIN_SHARE_OF_BEST))


def _sentences(group: Group, recommended: Row | None) -> list[str]:
    if recommended is None:
        return [_no_answer(group)]
    best = group.scored_rows[0]
    base = group.base_of(best)
    # A method that isn't better than the untuned model is no recommendation, whatever its memory.
    if base is not None and not group.is_better(best.quality or 0.0, base.quality or 0.0):
        return [_base_is_best(group, best, base)]
    if len(group.rows) == 1 or len(group.scored_rows) == 1:
        return [_only_one(group, recommended)]
    return [s for s in (_recommendation(group, recommended, best), _cheaper(group, recommended)) if s]


_ENDED = {
    "stopped": "stopped early",
    "out_of_memory": "did not fit in memory",
    "failed": "failed",
    "interrupted": "interrupted",
}


def _no_answer(group: Group) -> str:
    counts = {status: sum(row.counts[status] for row in group.rows) for status in _ENDED}
    ended = units.join([f"{count} {_ENDED[status]}" for status, count in counts.items() if count])
    return f"There is no answer: no trial of {group.title} finished{f' ({ended})' if ended else ''}."


def _base_is_best(group: Group, best: Row, base: Row) -> str:
    verb = "equals" if best.quality == base.quality else "beats"
    return (
        f"Use none of these methods: {base.description} ({_quality(base)}) {verb} the best result of training, "
        f"{best.name}'s {_quality(best)}."
    )


def _only_one(group: Group, row: Row) -> str:
    memory = f" with a peak memory of {units.gib(row.peak)}" if row.peak is not None else ""
    only = "was tried" if len(group.rows) == 1 else "has a finished trial"
    return (
        f"Only {row.name}{_settings(row)} {only}, so there is nothing to compare it with: "
        f"its {_metric(group)} is {_quality(row)}{memory}{_base_quality(group, row)}."
    )


def _recommendation(group: Group, row: Row, best: Row) -> str:
    start = (
        f"Use {row.name}{_settings(row)}: its {_metric(group)} of {_quality(row)}{_base_quality(group, row)}"
    )
    if row.quality == best.quality:
        return f"{start} is the best{_memory_rank(group, row)}."
    assert row.peak is not None
    assert best.peak is not None
    memory = f"{units.percent(row.peak / best.peak)} of {best.name}'s memory"
    return (
        f"{start} {_compared_to_best(row, best)}, at {memory} ({units.gib(row.peak)} against "
        f"{units.gib(best.peak)} at the peak)."
    )


def _compared_to_best(row: Row, best: Row) -> str:
    """A share of the best where higher is better, the distance to it where lower is better."""
    record = best.best
    share = row.share_of_best_quality
    if share is None or record is None:
        return f"is next to the best, {best.name}'s {_quality(best)}"
    if record.quality_higher_is_better is False:
        # Where lower is better the share is best / own, so own is 1 / share times the best.
        return f"is {units.percent(1 / share - 1)} above the lowest, {best.name}'s {_quality(best)}"
    return f"is {units.percent(share)} of the best, {best.name}'s {_quality(best)}"


def _memory_rank(group: Group, row: Row) -> str:
    """How the memory of the best cell compares to that of the others."""
    peaks = [other.peak for other in group.rows if other.peak is not None]
    if row.peak is None:
        return ""
    peak = f"a peak memory of {units.gib(row.peak)}"
    if len(peaks) == 1:
        return f", with {peak}"
    largest = max(group.rows, key=lambda other: other.peak or 0)
    share = f"{units.percent(row.share_of_largest_peak)} of {largest.name}'s"
    if row.peak == min(peaks):
        return f", and no other cell needs less memory: it has {peak}, {share}"
    if row.peak == max(peaks):
        return f", but it also needs the most memory: {units.gib(row.peak)} at the peak"
    return f", with {peak}, {share}"


def _cheaper(group: Group, row: Row) -> str | None:
    """The cells on the front that need less memory: the best of these, and the one that needs least."""
    if row.peak is None:
        return None
    cheaper = [
        f"{other.name} gives {_quality(other)} at {units.percent(other.peak / row.peak)}"
        for other in group.rows
        if other.on_front and other.peak is not None and other.peak < row.peak
    ]
    if not cheaper:
        return None
    # Rows are ordered by quality, and on the front a lower quality needs less memory: the last is the cheapest.
    named = cheaper if len(cheaper) < 3 else [cheaper[0], cheaper[-1]]
    return f"If memory is short: {units.join(named)} of that memory."


def _settings(row: Row) -> str:
    return f" ({units.settings(row.settings)})" if row.settings else ""


def _base_quality(group: Group, row: Row) -> str:
    base = group.base_of(row)
    return f" ({'untuned' if base.start is None else 'before training'}: {_quality(base)})" if base else ""


def _metric(group: Group) -> str:
    return units.readable(group.metric_record.quality_name if group.metric_record else None)


def _quality(row: Row) -> str:
    return units.quality(row.quality, row.best.quality_unit if row.best else None)
