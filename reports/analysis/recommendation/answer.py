"""The answer in two or three sentences: which method to use, its quality and memory, and what is not settled."""

from __future__ import annotations

from dataclasses import dataclass
from math import isinf

from reports import units
from reports.analysis.configs import leaves, optimizer_name
from reports.analysis.group import Group
from reports.analysis.quality_names import quality_explanation, quality_name
from reports.analysis.recommendation import caveats
from reports.analysis.row import Row
from reports.analysis.runs.differences import difference_sentence
from reports.statistics.pareto import EQUAL_PEAKS
from reports.statistics.verdicts import Verdict


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
    open_questions = f"Not settled: {'; '.join(questions)}." if questions else None
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
        _expected(group, best),
        _cheaper(group, recommended),
        _precision_of_full(group),
    )
    return [part for part in parts if part]


_ENDED = {
    "stopped": "stopped early",
    "out_of_memory": "did not fit in memory",
    "failed": "failed",
    "interrupted": "interrupted",
}


def _no_answer(group: Group) -> str:
    counts = {status: sum(row.counts[status] for row in group.rows) for status in _ENDED}
    ended = units.join([f"{count} {_ENDED[status]}" for status, count in counts.items() if count])
    if unscored := [row.name for row in group.rows if row.best is not None]:
        held_out = "no rows were held out (eval_fraction: 0), so no quality was measured"
        return f"{units.join(unscored)} of {group.title} trained to the end; {held_out}."
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
        f"its {quality_name(group)} is {_quality(row)}{memory}{_base_quality(group, row)}."
    )


def _recommendation(group: Group, row: Row, best: Row) -> str:
    use = "Nothing is settled; by what was measured, use" if _nothing_is_settled(group) else "Use"
    start = f"{use} {row.name}{_settings(row)}: its {quality_name(group)} of {_quality(row)}{_base_quality(group, row)}"
    if row is best:
        return f"{start} is the best{_measured(group, best)}{_memory_rank(group, row)}."
    verdict = group.verdict(row, best)
    assert row.peak is not None
    assert best.peak is not None
    assert group.margin is not None
    assert verdict.worst is not None
    share = group.share_of_gain(row)
    keeps = f"; it keeps {units.percent(share)} of what training gained" if share is not None else ""
    return (
        f"{start} is as good as the best, {best.name}'s {_quality(best)}, within the margin of "
        f"{units.difference(group.margin, group.unit)} (at most {units.difference(verdict.worst, group.unit)} worse)"
        f"{keeps}. It needs {units.percent(row.peak / best.peak)} of {best.name}'s memory ({units.gib(row.peak)} "
        f"against {units.gib(best.peak)} at the peak)."
    )


def _nothing_is_settled(group: Group) -> bool:
    """Whether of no cell it is known that it is worse than the best, or as good."""
    best, *others = group.scored_rows
    return bool(others) and all(group.verdict(row, best).outcome == "not settled" for row in others)


def _measured(group: Group, best: Row) -> str:
    """ " measured", where another cell could be the best as well; and which cells have the same quality."""
    same = [row.name for row in group.scored_rows if row is not best and row.quality == best.quality]
    if same:
        return f" measured ({units.join(same)} {'has' if len(same) == 1 else 'have'} the same)"
    others = (group.verdict(best, row) for row in group.scored_rows if row is not best)
    return "" if all(verdict.outcome == "better" for verdict in others) else " measured"


def _expected(group: Group, best: Row) -> str | None:
    """What the best cell's quality is expected to be on new rows, where being chosen by these rows flatters it."""
    chosen = group.choice
    if chosen is None:
        return None
    unit = best.best.quality_unit if best.best else None
    expected = units.quality(chosen.expected_quality, unit)
    if expected == _quality(best) or group.is_better(chosen.expected_quality, best.quality or 0.0):
        return None
    expected = units.quality_with_interval(chosen.expected_quality, group.interval(best), unit, name="95 %: ")
    others = "new ones" if group.seed_variance is None else "new ones, with other seeds"
    return f"As the best of {len(group.scored_rows)} on these rows, it is expected to have {expected} on {others}."


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
    if min(peaks) >= max(peaks) * (1 - EQUAL_PEAKS):
        return f", and all cells need about the same memory: {units.gib(row.peak)} at the peak"
    if row.peak == min(peaks):
        return f", and needs the least memory: {units.gib(row.peak)} at the peak, {share}"
    if row.peak == max(peaks):
        return f", and needs the most memory: {units.gib(row.peak)} at the peak"
    return f", with {peak}, {share}"


def _cheaper(group: Group, row: Row) -> str | None:
    """What the cells on the front that need less memory cost in quality: the best of these, and the cheapest."""
    if row.peak is None:
        return None
    limit = row.peak * (1 - EQUAL_PEAKS)
    cheaper = [
        (other, other.peak)
        for other in group.scored_rows
        if other.on_front and other.peak is not None and other.peak < limit
    ]
    if not cheaper:
        return None
    # Rows are ordered by quality, and on the front a lower quality needs less memory: the last is the cheapest.
    named = cheaper if len(cheaper) < 3 else [cheaper[0], cheaper[-1]]
    texts = [
        f"{other.name} {_how_much_worse(group, other, row)} at {units.percent(peak / row.peak)} of that memory"
        for other, peak in named
    ]
    bound = (
        " 'Up to' is a one-sided bound, which lies nearer than the end of an interval."
        if any(_has_only_a_bound(group.verdict(other, row)) for other, _ in named)
        else ""
    )
    return f"If memory is short: {units.join(texts)}.{bound}"


# What weights and gradients of full fine-tuning are held in, by train.precision.
_HELD_IN = {"bf16": "32 bits", "fp16": "32 bits", "fp32": "32 bits", "pure_bf16": "16 bits"}


def _precision_of_full(group: Group) -> str | None:
    """What full fine-tuning was measured in, as half the precision has half of its memory."""
    named: dict[str, list[str]] = {}
    for row in group.rows:
        settings = dict(leaves(row.best.config)) if row.best is not None and row.peak is not None else {}
        held_in = _HELD_IN.get(settings.get("train.precision", ""))
        if settings.get("method.kind") == "full" and held_in is not None:
            details = f"precision {settings['train.precision']}, optimizer {optimizer_name(settings)}"
            named.setdefault(f"{held_in} ({details})", []).append(row.name)
    sentences = [
        f"The memory of {units.join(names)} was measured with weights and gradients in {held_in}."
        for held_in, names in named.items()
    ]
    return " ".join(sentences) or None


def _how_much_worse(group: Group, row: Row, other: Row) -> str:
    """What is known of a cell of lower quality: by how much it is worse, or may be."""
    verdict = group.verdict(row, other)
    if verdict.comparison is None or verdict.gain is None or verdict.worst is None:
        return f"has {_quality(row)}"
    measured = units.difference(max(0.0, -verdict.gain), group.unit)
    if verdict.outcome == "as good":
        return f"is as good within the margin ({measured} worse as measured)"
    if verdict.outcome == "worse":
        low, high = sorted(abs(end) for end in verdict.comparison.interval)
        ends = f"{units.difference(low, group.unit, bare=True)} to {units.difference(high, group.unit, bare=True)}"
        return f"is {measured} worse (95 %: {ends})"
    if not _has_only_a_bound(verdict):
        return f"is {measured} worse as measured, on too few test rows to say more"
    return f"may be up to {units.difference(verdict.worst, group.unit)} worse ({measured} as measured)"


def _has_only_a_bound(verdict: Verdict) -> bool:
    """Whether of a difference no more is known than how much worse the cell is at most."""
    settled = verdict.outcome in ("as good", "worse")
    return not settled and verdict.worst is not None and not isinf(verdict.worst)


def _settings(row: Row) -> str:
    return f" ({units.settings(row.settings)})" if row.settings else ""


def _base_quality(group: Group, row: Row) -> str:
    base = group.base_of(row)
    # Its unit stands beside the quality before it.
    before = units.quality(base.quality, "fraction" if group.unit == "fraction" else None) if base else ""
    return f" ({'untuned' if base.start is None else 'before training'}: {before})" if base else ""


def _quality(row: Row) -> str:
    return units.quality(row.quality, row.best.quality_unit if row.best else None)
