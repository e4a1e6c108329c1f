"""The claims of a report as they were stated: of its runs, and further ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.claims.claim import Claim
from reports.claims.kinds import claim_of
from reports.claims.unreadable import Unreadable
from trainables.results import ADDED, CLAIM_MARKS, CLAIM_SOURCE, STATED_AT, Run


@dataclass(frozen=True)
class StatedClaim:
    """A claim, and of which run's cells it is, by its folder; ``None`` of all that the report has. ``values``: as it is
    kept, without when it was stated and who published it; of an unreadable one none.
    """

    claim: Claim
    run: str | None
    stated_at: str | None
    added: bool
    values: Mapping[str, Any]
    source: str | None = None


def stated_claims(runs: Sequence[Run], further: Sequence[Mapping[str, Any]] = ()) -> list[StatedClaim]:
    """The claims that the runs were begun with, those that were added to them, then ``further`` ones. What can't be
    read is a claim of which nothing can be said: no report ends because of it.
    """
    stated = [_stated(values, str(run.folder)) for run in runs for values in _of_run(run)]
    return [*stated, *(_stated(values, None) for values in further)]


def _of_run(run: Run) -> Iterator[Any]:
    kept = run.environment.get("claims")
    yield from kept if isinstance(kept, list) else [] if kept is None else [kept]


def _stated(values: Any, run: str | None) -> StatedClaim:
    claim: Claim
    try:
        claim = claim_of(values)
    except ValueError as error:
        claim = Unreadable.of(values, str(error))
    kept = values if isinstance(values, Mapping) else {}
    own = {} if isinstance(claim, Unreadable) else {k: v for k, v in kept.items() if k not in CLAIM_MARKS}
    time, source = (
        each if isinstance(each := kept.get(key), str) else None for key in (STATED_AT, CLAIM_SOURCE)
    )
    return StatedClaim(claim, run, time, kept.get(ADDED) is not False, own, source)
