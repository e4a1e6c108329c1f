"""The answer in two or three sentences: which method to use, its quality and memory, and what is not settled."""

from __future__ import annotations

from dataclasses import dataclass

from reports import units
from reports.analysis.group import Group
from reports.analysis.quality_names import quality_explanation, quality_name
from reports.analysis.recommendation import caveats
from reports.analysis.recommendation.cheaper_cells import cheaper_cells
from reports.analysis.recommendation.expected_quality import expected_quality
from reports.analysis.recommendation.full_precision import precision_of_full
from reports.analysis.recommendation.trial_ends import OUTCOMES
from reports.analysis.row import Row
from reports.analysis.runs.differences import difference_sentence
from reports.statistics.pareto import EQUAL_PEAKS
from reports.text import joined, text


@dataclass(frozen=True)
class Answer:
    """``sentences`` say what to do; ``open_questions`` is the last sentence, of the ``questions``, ``None`` when all is
    settled.

    ``explanation``: what the quality's unit means, where few know it.
    """

    title: str
    sentences: tuple[str, ...]
    open_questions: str | None
    explanation: str | None = None
    questions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return " ".join((*self.sentences, self.open_questions) if self.open_questions else self.sentences)


def answer(group: Group) -> Answer:
    """The answer for one stage, model and data set."""
    recommended = recommend(group)
    questions = caveats.caveats(group, recommended)
    open_questions = (
        text("Not settled: {questions}.", questions=joined("; ", questions)) if questions else None
    )
    first, *others = _sentences(group, recommended)
    # What makes the comparison unfair comes before what else there is to say.
    sentences = tuple(filter(None, [first, difference_sentence(group), *others, group.note]))
    return Answer(
        group.title, sentences, open_questions, quality_explanation(group, recommended), tuple(questions)
    )


def recommend(group: Group) -> Row | None:
    """The cell to use: of the best and those that are as good as it, within the margin, the one of least memory.

    A cell that can't be told apart from the best is not as good for that: with few test rows, a much worse one can't.
    Of cells whose memory is equal within 2 %, the one of better quality.
    """
    if not group.scored_rows:
        return None
    best, *others = group.scored_rows
    # Without the best cell's memory nothing shows that another cell needs less.
    if best.peak is None:
        return best
    chosen, least = best, best.peak
    for row in others:
        as_good = group.verdict(row, best).outcome == "as good"
        if as_good and row.peak is not None and row.peak < least * (1 - EQUAL_PEAKS):
            chosen, least = row, row.peak
    return chosen


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
    parts = (
        _recommendation(group, recommended, best),
        expected_quality(group, best),
        cheaper_cells(group, recommended),
        precision_of_full(group),
    )
    return [part for part in parts if part]


def _no_answer(group: Group) -> str:
    counts = {status: sum(row.counts[status] for row in group.rows) for status in OUTCOMES}
    ended = [
        text("{count} {outcome}", count=count, outcome=OUTCOMES[name])
        for name, count in counts.items()
        if count
    ]
    if unscored := [row.name for row in group.rows if row.best is not None]:
        return text(
            "{cells} of {group} trained to the end; no rows were held out (eval_fraction: 0), so no quality was "
            "measured.",
            cells=units.join(unscored),
            group=group.title,
        )
    if not ended:
        return text("There is no answer: no trial of {group} finished.", group=group.title)
    return text(
        "There is no answer: no trial of {group} finished ({outcomes}).",
        group=group.title,
        outcomes=units.join(ended),
    )


def _base_is_best(group: Group, best: Row, base: Row) -> str:
    return text(
        "Use none of these methods: {base} ({base_quality}) {verb} the best result of training, {cell}'s {quality}.",
        base=base.description,
        base_quality=base.quality_text,
        verb=text("equals") if best.quality == base.quality else text("beats"),
        cell=best.name,
        quality=best.quality_text,
    )


def _only_one(group: Group, row: Row) -> str:
    memory = (
        text(" with a peak memory of {memory}", memory=units.gib(row.peak)) if row.peak is not None else ""
    )
    return text(
        "Only {cell} {only}, so there is nothing to compare it with: its {measure} is {quality}{memory}{before}.",
        cell=f"{row.name}{_settings(row)}",
        only=text("was tried") if len(group.rows) == 1 else text("has a finished trial"),
        measure=quality_name(group),
        quality=row.quality_text,
        memory=memory,
        before=_base_quality(group, row),
    )


def _recommendation(group: Group, row: Row, best: Row) -> str:
    start = text(
        "Nothing is settled; by what was measured, use {cell}: its {measure} of {quality}{before}"
        if _nothing_is_settled(group)
        else "Use {cell}: its {measure} of {quality}{before}",
        cell=f"{row.name}{_settings(row)}",
        measure=quality_name(group),
        quality=row.quality_text,
        before=_base_quality(group, row),
    )
    if row is best:
        return text(
            "{start} is the best{measured}{memory}.",
            start=start,
            measured=_measured(group, best),
            memory=_memory_rank(group, row),
        )
    verdict = group.verdict(row, best)
    assert row.peak is not None
    assert best.peak is not None
    assert group.margin is not None
    assert verdict.worst is not None
    share = group.share_of_gain(row)
    return text(
        "{start} is as good as the best, {best}'s {best_quality}, within the margin of {margin} (at most {worst} "
        "worse){keeps}. It needs {share} of {best}'s memory ({memory} against {best_memory} at the peak).",
        start=start,
        best=best.name,
        best_quality=best.quality_text,
        margin=units.difference(group.margin, group.unit),
        worst=units.difference(verdict.worst, group.unit),
        keeps=text("; it keeps {share} of what training gained", share=units.percent(share))
        if share is not None
        else "",
        share=units.percent(row.peak / best.peak),
        memory=units.gib(row.peak),
        best_memory=units.gib(best.peak),
    )


def _nothing_is_settled(group: Group) -> bool:
    """Whether of no cell it is known that it is worse than the best, or as good."""
    best, *others = group.scored_rows
    return bool(others) and all(group.verdict(row, best).outcome == "not settled" for row in others)


def _measured(group: Group, best: Row) -> str:
    """ " measured", where another cell could be the best as well; and which cells have the same quality."""
    same = [row.name for row in group.scored_rows if row is not best and row.quality == best.quality]
    if same:
        return text(
            " measured ({cells} has the same)" if len(same) == 1 else " measured ({cells} have the same)",
            cells=units.join(same),
        )
    others = (group.verdict(best, row) for row in group.scored_rows if row is not best)
    return "" if all(verdict.outcome == "better" for verdict in others) else text(" measured")


def _memory_rank(group: Group, row: Row) -> str:
    """How the memory of the best cell compares to that of the others."""
    peaks = [other.peak for other in group.rows if other.peak is not None]
    if row.peak is None:
        return ""
    memory = units.gib(row.peak)
    if len(peaks) == 1:
        return text(", with a peak memory of {memory}", memory=memory)
    largest = max(group.rows, key=lambda other: other.peak or 0)
    share = text("{share} of {cell}'s", share=units.percent(row.share_of_largest_peak), cell=largest.name)
    if min(peaks) >= max(peaks) * (1 - EQUAL_PEAKS):
        return text(", and all cells need about the same memory: {memory} at the peak", memory=memory)
    if row.peak == min(peaks):
        return text(", and needs the least memory: {memory} at the peak, {share}", memory=memory, share=share)
    if row.peak == max(peaks):
        return text(", and needs the most memory: {memory} at the peak", memory=memory)
    return text(", with a peak memory of {memory}, {share}", memory=memory, share=share)


def _settings(row: Row) -> str:
    return f" ({units.settings(row.settings)})" if row.settings else ""


def _base_quality(group: Group, row: Row) -> str:
    base = group.base_of(row)
    # Its unit stands beside the quality before it.
    before = units.quality(base.quality, "fraction" if group.unit == "fraction" else None) if base else ""
    if base is None:
        return ""
    return text(
        " (untuned: {quality})" if base.start is None else " (before training: {quality})", quality=before
    )
