"""The answer in two or three plain sentences: which method, how much of the best quality at what share of the
memory, and what was not settled.
"""

from __future__ import annotations

from dataclasses import dataclass

from reports import units
from reports.analysis import caveats
from reports.analysis.difference import Difference, difference
from reports.analysis.group import Group, Row

CLOSE = 0.9  # of the best quality: with few test rows a much worse cell can't be told apart either


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
    use = recommend(group, tied)
    questions = caveats.caveats(group, use, tied)
    open_questions = f"Not settled: {'; '.join(questions)}." if questions else None
    return Answer(group.title, tuple(_sentences(group, use)), open_questions)


def ties(group: Group) -> dict[str, Difference]:
    """The cells, by label, that can't be told from the best quality: within the error, or no error known."""
    if not group.scored_rows:
        return {}
    best, *others = group.scored_rows
    judged = {row.cell.label: judge(row, best) for row in others}
    return {label: verdict for label, verdict in judged.items() if verdict.settled is not True}


def judge(one: Row, other: Row) -> Difference:
    """Whether two cells' bests differ by more than their error."""
    assert one.best is not None
    assert other.best is not None
    return difference(one.cell.run, one.best, other.cell.run, other.best)


def recommend(group: Group, tied: dict[str, Difference] | None = None) -> Row | None:
    """The cell to use: of those that can't be told from the best quality, the one that needs least memory.

    A cell under nine tenths of the best quality never counts as its equal, nor one whose error is unknown. ``tied`` is
    what :func:`ties` gives, where that is known.
    """
    if not group.scored_rows:
        return None
    best, *others = group.scored_rows
    tied = ties(group) if tied is None else tied
    equals = [best, *(row for row in others if _as_good(row, tied))]
    if best.peak is None:
        return best
    return min((row for row in equals if row.peak is not None), key=lambda row: row.peak or 0)


def _as_good(row: Row, tied: dict[str, Difference]) -> bool:
    same = row.share_of_best_quality == 1.0
    verdict = tied.get(row.cell.label)
    close = row.share_of_best_quality is None or row.share_of_best_quality >= CLOSE
    return same or (verdict is not None and verdict.settled is False and close)


def _sentences(group: Group, use: Row | None) -> list[str]:
    if use is None:
        return [_nothing(group)]
    best = group.scored_rows[0]
    base = group.base_of(best)
    if base is not None and not group.better(best.quality or 0.0, base.quality or 0.0):
        return [_base_wins(group, best, base)]
    if len(group.rows) == 1 or len(group.scored_rows) == 1:
        return [_alone(group, use)]
    return [sentence for sentence in (_use(group, use, best), _cheaper(group, use)) if sentence]


def _nothing(group: Group) -> str:
    counts = {
        status: sum(row.counts[status] for row in group.rows)
        for status in ("stopped", "out_of_memory", "failed", "interrupted")
    }
    ended = units.listing([f"{count} {_ENDED[status]}" for status, count in counts.items() if count])
    return f"There is no answer: no trial of {group.title} finished{f' ({ended})' if ended else ''}."


_ENDED = {
    "stopped": "stopped early",
    "out_of_memory": "did not fit in memory",
    "failed": "failed",
    "interrupted": "interrupted",
}


def _base_wins(group: Group, best: Row, base: Row) -> str:
    verb = "equals" if best.quality == base.quality else "beats"
    return (
        f"Use none of these: {base.described} ({_quality(base)}) {verb} the best that training "
        f"reached, {best.name}'s {_quality(best)}."
    )


def _alone(group: Group, use: Row) -> str:
    memory = f" at {_peak(use)}" if use.peak is not None else ""
    only = "was tried" if len(group.rows) == 1 else "has a finished trial"
    return (
        f"Only {use.name}{_with(use)} {only}, so there is nothing to compare it with: "
        f"its {_metric(group)} is {_quality(use)}{memory}{_against_base(group, use)}."
    )


def _use(group: Group, use: Row, best: Row) -> str:
    start = f"Use {use.name}{_with(use)}: its {_metric(group)} of {_quality(use)}{_against_base(group, use)}"
    if use.quality == best.quality:
        return f"{start} is the best{_of_largest(group, use)}."
    assert use.peak is not None
    assert best.peak is not None
    saving = (
        f"at {units.share(use.peak / best.peak)} of its memory ({_gib(use)} against {_gib(best)} at the peak)"
    )
    return f"{start} {_compared(use, best)}, {saving}."


def _compared(use: Row, best: Row) -> str:
    """How a quality stands to the best: a share where higher is better, a distance where lower is."""
    record = best.best
    share = use.share_of_best_quality
    if share is None or record is None:
        return f"is next to the best, {best.name}'s {_quality(best)}"
    if record.quality_higher_is_better is False:
        return f"is {units.share(1 / share - 1)} above the best and lowest, {best.name}'s {_quality(best)}"
    return f"is {units.share(share)} of the best quality, {best.name}'s {_quality(best)}"


def _of_largest(group: Group, use: Row) -> str:
    """How the memory of the best stands to that of the others."""
    peaks = [row.peak for row in group.rows if row.peak is not None]
    if use.peak is None:
        return ""
    if len(peaks) == 1:
        return f", at {_peak(use)}"
    largest = max(group.rows, key=lambda row: row.peak or 0)
    of_largest = f"{units.share(use.share_of_largest_peak)} of {largest.name}'s"
    if use.peak == min(peaks):
        return f", and no cell needs less memory: {_peak(use)}, {of_largest}"
    if use.peak == max(peaks):
        return f", but no cell needs more memory: {_peak(use)}"
    return f", at {_peak(use)}, {of_largest}"


def _cheaper(group: Group, use: Row) -> str | None:
    """What needs less memory and is on the front: the best of these, and the one that needs least."""
    if use.peak is None:
        return None
    cheaper = [row for row in group.rows if row.on_front and row.peak is not None and row.peak < use.peak]
    if not cheaper:
        return None
    said = [
        f"{row.name} gives {_quality(row)} at {units.share((row.peak or 0) / use.peak)}" for row in cheaper
    ]
    shown = (
        said if len(said) < 3 else [said[0], said[-1]]
    )  # rows stand by quality, so the last is the cheapest
    return f"For less memory, {units.listing(shown)} of that memory."


def _with(row: Row) -> str:
    return f" ({units.settings(row.settings)})" if row.settings else ""


def _against_base(group: Group, row: Row) -> str:
    base = group.base_of(row)
    return f" ({'untuned' if base.start is None else 'before'}: {_quality(base)})" if base else ""


def _metric(group: Group) -> str:
    return units.words(group.scored.quality_name if group.scored else None)


def _quality(row: Row) -> str:
    return units.quality(row.quality, row.best.quality_unit if row.best else None)


def _peak(row: Row) -> str:
    return f"{_gib(row)} peak memory"


def _gib(row: Row) -> str:
    return units.gib(row.peak)
