"""What a report says of a claim, with what would settle it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from reports.analysis.group import Group
from reports.analysis.settling import Need
from reports.claims.judgement import Figure

Outcome = Literal["supported", "contradicted", "not settled"]


@dataclass(frozen=True)
class Finding:
    """``p``: one-sided and corrected for the number of claims, for the outcome, or where it is not settled for the
    claim; ``None`` where nothing was tested; ``p_is_bound``: it is less than that. ``reason``: why nothing could be
    tested. ``settled_by``: each way to settle it, and in words.

    ``runs`` and ``group``: of the cells that it is about, where these are known. ``values``: the claim as it is kept,
    without ``stated_at``, when it was claimed (``None`` where that is unknown), ``added``: after the run had begun, and
    ``source``: who published it.
    """

    kind: str
    statement: str
    outcome: Outcome
    p: float | None
    p_is_bound: bool
    figures: tuple[Figure, ...]
    reason: str | None
    settled_by: tuple[Need, ...]
    settled_by_text: str | None
    stated_at: str | None
    added: bool
    runs: tuple[str, ...]
    group: Group | None
    values: Mapping[str, Any]
    source: str | None = None
