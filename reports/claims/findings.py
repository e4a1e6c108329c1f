"""The findings on all claims of a report, corrected together.

Whether claims are supported, and whether they are contradicted, are two families of one-sided tests, each corrected by
Holm's procedure (``reports.statistics.comparisons``) at the error of this look at the run: 4 % at the first
(``reports.statistics.looks``). Claims of which nothing can be tested count in the correction, too: they were asked.
Those that a run began with are corrected among themselves, and those that were added later among all: what is asked
afterwards makes nothing less certain that was asked before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reports.analysis import settling
from reports.analysis.group import Group
from reports.analysis.looks import look_of_claim, next_look
from reports.claims.cells import NamedCells, named_cells
from reports.claims.finding import Finding, Outcome
from reports.claims.judgement import Judgement, OpenDifference
from reports.claims.stated import StatedClaim
from reports.statistics.comparisons import holm
from reports.statistics.looks import level
from reports.statistics.one_sided import LEAST_ERROR
from reports.statistics.power import Criterion, difference_law


@dataclass(frozen=True)
class _Question:
    """A claim about cells of one group, and what is known of it by itself."""

    stated: StatedClaim
    cells: NamedCells
    judgement: Judgement

    @property
    def look(self) -> int:
        """The look by whose error it is judged: what an earlier one settled stays, as of two cells."""
        folders = {row.cell.run.folder for row in self.cells.rows}
        if len(folders) == 1:
            return look_of_claim(folders.pop(), self.stated.values)
        return self.cells.group.look if self.cells.group is not None else 1


def findings(claims: Sequence[StatedClaim], groups: Sequence[Group]) -> list[Finding]:
    """What the groups say of each claim, in the order of the claims: of each group that has its cells."""
    asked: list[tuple[StatedClaim, NamedCells]] = []
    for stated in claims:
        for cells in _cells_of(stated, groups):
            # What a run claims itself is asked of the cells of other runs only.
            if stated.run is not None or not any(
                each.claim == stated.claim and other.keys == cells.keys for each, other in asked
            ):
                asked.append((stated, cells))
    questions = [_Question(stated, cells, stated.claim.judge(cells)) for stated, cells in asked]
    return [_finding(question, _family(questions, question)) for question in questions]


def _cells_of(stated: StatedClaim, groups: Sequence[Group]) -> list[NamedCells]:
    names = stated.claim.names
    return named_cells(groups, names, stated.run) if names else [NamedCells(())]


def _family(questions: Sequence[_Question], own: _Question) -> list[_Question]:
    """What one is corrected with."""
    return [
        each
        for each in questions
        if own.stated.added or (not each.stated.added and each.stated.run == own.stated.run)
    ]


def _finding(question: _Question, family: Sequence[_Question]) -> Finding:
    stated, judgement = question.stated, question.judgement
    place = next(position for position, each in enumerate(family) if each is question)
    tested = [each.judgement for each in family]
    p = holm([each.p_supported for each in tested])[place]
    against = holm([each.p_contradicted for each in tested])[place]
    error = level(question.look)
    outcome: Outcome = "supported" if p < error else "contradicted" if against < error else "not settled"
    refuted = outcome == "contradicted"
    known = judgement.obstacle is None and judgement.tested
    found = Finding(
        stated.claim.kind,
        stated.claim.statement(question.cells),
        outcome,
        (against if refuted else p) if known else None,
        (judgement.p_contradicted if refuted else judgement.p_supported) <= LEAST_ERROR,
        judgement.figures,
        judgement.obstacle,
        (),
        None,
        stated.stated_at,
        stated.added,
        question.cells.runs,
        question.cells.group,
        stated.values,
        stated.source,
    )
    if outcome != "not settled" or judgement.obstacle is not None:
        return found
    # Holm's procedure corrects a claim for all whose p-value is not smaller; it is settled at a later look.
    tests = sum(each.p_supported >= judgement.p_supported for each in tested)
    group = question.cells.group
    looks = [next_look(row.cell.run.folder) for row in group.all_rows] if group is not None else []
    needed = level(max(looks, default=1)) / tests
    if judgement.open is not None:
        needs, text = _needs(judgement.open, needed)
        return replace(found, settled_by=tuple(needs), settled_by_text=text)
    return replace(
        found, settled_by_text=judgement.further(needed) if judgement.further is not None else None
    )


def _needs(difference: OpenDifference, error: float) -> tuple[list[settling.Need], str | None]:
    """The seeds or rows that would settle a claim at a one-sided error, if the true difference is the measured one."""
    group, row, against = difference.group, difference.row, difference.against
    assert row.cell.estimate is not None
    assert against.cell.estimate is not None
    law = difference_law(
        row.cell.estimate, against.cell.estimate, group.seed_variance, higher_is_better=group.higher_is_better
    )
    if law is None:
        return [], None
    # What has to be told from 0 is how far the gain lies beyond the margin; a two-sided error is twice a one-sided one.
    criterion = Criterion(2 * error, error, None)
    shifted = replace(law, gain=difference.distance(law.gain))
    needs = list(settling.needs_of(group, settling.OpenComparison(row, against, shifted, criterion)))
    return needs, settling.needs_clause(row, against, needs)
