"""The kinds of claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.claims.best_setting import BestSetting
from reports.claims.better import Better
from reports.claims.claim import Claim
from reports.claims.flat import Flat
from reports.claims.forgets_less import ForgetsLess
from reports.claims.least_memory import LeastMemory
from reports.claims.memory_ratio import MemoryRatio
from reports.claims.within import Within

KINDS: dict[str, type[Claim]] = {
    cls.kind: cls for cls in (Within, Better, LeastMemory, BestSetting, Flat, ForgetsLess, MemoryRatio)
}


def claim_of(values: Mapping[str, Any]) -> Claim:
    """The claim as a run keeps it. Raises ``ValueError`` for a kind that is not known, and for settings that
    are missing, unknown, or can't be."""
    kind = values.get("kind") if isinstance(values, Mapping) else None
    if not isinstance(kind, str):
        raise ValueError("it has no kind")
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is unknown to this version of Paretune")
    return KINDS[kind].from_values(values)
