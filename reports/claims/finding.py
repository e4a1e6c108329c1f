"""What a report says of a claim, with what would settle it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reports.analysis.settling import Need
from reports.claims.judgement import Figure

Outcome = Literal["supported", "contradicted", "not settled"]


@dataclass(frozen=True)
class Finding:
    """``p``: one-sided and corrected for the number of claims, for the outcome, or where it is not settled for the
    claim. ``reason``: why nothing could be tested. ``settled_by``: each way to settle it, and in words.

    ``stated_at``: when it was claimed, ``None`` where that is unknown; ``added``: after the run had begun.
    """

    kind: str
    statement: str
    outcome: Outcome
    p: float | None
    figures: tuple[Figure, ...]
    reason: str | None
    settled_by: tuple[Need, ...]
    settled_by_text: str | None
    stated_at: str | None
    added: bool
