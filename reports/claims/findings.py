"""The findings on all claims of a report, corrected together.

Whether claims are supported, and whether they are contradicted, are two families of one-sided tests, each corrected by
Holm's procedure (``reports.statistics.comparisons``) at the error of this look at the run: 4 % at the first
(``reports.statistics.looks``). Claims of which nothing can be tested count in the correction, too: they were asked.
Those that a run began with are corrected among themselves, and those that were added later among all: what is asked
afterwards makes nothing less certain that was asked before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reports.analysis import settling
from reports.analysis.group import Group
from reports.analysis.looks import next_look
from reports.claims.cells import named_cells
from reports.claims.claim import Claim
from reports.claims.finding import Finding, Outcome
from reports.claims.judgement import Judgement, OpenDifference
from reports.claims.kinds import claim_of
from reports.statistics.comparisons import holm
from reports.statistics.looks import level
from reports.statistics.power import Criterion, difference_law
from trainables.results import Run


@dataclass(frozen=True)
class StatedClaim:
    """A claim, and of which run's cells it is; ``None`` of all that the report has."""

    claim: Claim
    run: str | None
    stated_at: str | None
    added: bool


def stated_claims(runs: Sequence[Run], further: Sequence[Mapping[str, Any]] = ()) -> list[StatedClaim]:
    """The claims that the runs were begun with, those that were added to them, then ``further`` ones.

    Raises ``ValueError`` for claims that this version doesn't know.
    """
    stated = [
        _stated(values, str(run.folder)) for run in runs for values in run.environment.get("claims") or ()
    ]
    known = [each.claim for each in stated]
    return [*stated, *(each for values in further if (each := _stated(values, None)).claim not in known)]


def _stated(values: Mapping[str, Any], run: str | None) -> StatedClaim:
    return StatedClaim(claim_of(values), run, values.get("stated_at"), values.get("added") is not False)


def findings(claims: Sequence[StatedClaim], groups: Sequence[Group]) -> list[Finding]:
    """What the groups say of each claim, in the order of the claims."""
    cells = [named_cells(groups, each.claim.names, each.run) for each in claims]
    judged = [each.claim.judge(named) for each, named in zip(claims, cells, strict=True)]
    found: list[Finding] = []
    for place, (stated, named) in enumerate(zip(claims, cells, strict=True)):
        family = _family(claims, stated)
        tested = [judged[member] for member in family]
        own = family.index(place)
        p = holm([each.p_supported for each in tested])[own]
        against = holm([each.p_contradicted for each in tested])[own]
        # Holm's procedure corrects a claim for all whose p-value is not smaller.
        tests = sum(each.p_supported >= judged[place].p_supported for each in tested)
        found.append(_finding(stated, stated.claim.statement(named), judged[place], p, against, tests))
    return found


def _family(claims: Sequence[StatedClaim], stated: StatedClaim) -> list[int]:
    """The places of the claims that one is corrected with."""
    return [
        place
        for place, each in enumerate(claims)
        if stated.added or (not each.added and each.run == stated.run)
    ]


def _finding(
    stated: StatedClaim, statement: str, judgement: Judgement, p: float, against: float, tests: int
) -> Finding:
    error = level(judgement.look)
    outcome: Outcome = "supported" if p < error else "contradicted" if against < error else "not settled"
    found = Finding(
        stated.claim.kind,
        statement,
        outcome,
        None if judgement.obstacle is not None else against if outcome == "contradicted" else p,
        judgement.figures,
        judgement.obstacle,
        (),
        None,
        stated.stated_at,
        stated.added,
    )
    if outcome != "not settled" or judgement.obstacle is not None:
        return found
    if judgement.open is None:
        return replace(found, settled_by_text=judgement.further)
    needs, text = _needs(judgement.open, tests)
    return replace(found, settled_by=tuple(needs), settled_by_text=text)


def _needs(difference: OpenDifference, tests: int) -> tuple[list[settling.Need], str | None]:
    """The seeds or rows that would settle a claim at the next look, if the true difference is the measured one."""
    group, row, against = difference.group, difference.row, difference.against
    assert row.cell.estimate is not None
    assert against.cell.estimate is not None
    law = difference_law(
        row.cell.estimate, against.cell.estimate, group.seed_variance, higher_is_better=group.higher_is_better
    )
    if law is None:
        return [], None
    error = level(max(next_look(each.cell.run.folder) for each in group.all_rows)) / tests
    # What has to be told from 0 is how far the gain lies beyond the margin; a two-sided error is twice a one-sided one.
    criterion = Criterion(2 * error, error, None)
    shifted = replace(law, gain=difference.distance(law.gain))
    needs = list(settling.needs_of(group, settling.OpenComparison(row, against, shifted, criterion)))
    return needs, settling.needs_clause(group, row, against, needs)
