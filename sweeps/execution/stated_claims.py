"""The claims of a run as it keeps them: when each was stated, and whether that was after the run had begun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sweeps.spec.claims.base import BaseClaim
from trainables.results import ADDED, CLAIM_MARKS, STATED_AT


def stated_claims(
    claims: Sequence[BaseClaim], previous: Mapping[str, Any] | None, now: datetime | None = None
) -> dict[str, Any]:
    """``{"claims": [...]}`` for a run's ``environment.json``; empty where nothing is claimed.

    ``previous``: what it held, of a run that is resumed; ``None`` for a new run. What was claimed stays, also where the
    spec no longer has it: a claim that was stated can't be taken back once there are results.
    """
    before = (previous or {}).get("claims")
    # What is damaged stays as it is: the report says that it can't be read.
    kept = before if isinstance(before, list) else [] if before is None else [before]
    known = [_without_marks(claim) for claim in kept]
    added = [each.to_record() for each in claims if each.statement not in known]
    stated = marked(added, later=previous is not None, now=now)
    return {"claims": [*kept, *stated]} if kept or stated else {}


def marked(
    claims: Sequence[Mapping[str, Any]], later: bool, now: datetime | None = None
) -> list[dict[str, Any]]:
    """Claims with the time, and whether they are stated ``later`` than the run began."""
    time = (now or datetime.now(UTC)).isoformat(timespec="seconds")
    return [{**claim, STATED_AT: time, ADDED: later} for claim in claims]


def _without_marks(claim: Any) -> dict[str, Any]:
    return (
        {}
        if not isinstance(claim, Mapping)
        else {key: value for key, value in claim.items() if key not in CLAIM_MARKS}
    )
