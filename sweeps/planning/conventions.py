"""What a spec means where it leaves something open. A run that an earlier version began goes on as it was begun."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from sweeps.spec.settings import SEARCH_VERSION


@dataclass(frozen=True)
class Conventions:
    """``split_by``: what keeps rows on one side of the split; ``None``: their whole prompt. ``by_length``: short
    answers of one's own data are judged by exact match. ``one_cutoff``: what is compared is scored at one cutoff.
    ``tools_need_place``: rows with tools that the chat template has no place for are errors. ``late_rungs``: trials are
    not compared before they differ in more than rounding. ``early_rungs``: they are first compared after a tenth or a
    quarter of their steps.
    """

    version: int
    split_by: Literal["first_turn"] | None
    by_length: bool
    one_cutoff: bool
    tools_need_place: bool
    late_rungs: bool = False
    early_rungs: bool = True


FIRST = Conventions(version=1, split_by=None, by_length=False, one_cutoff=False, tools_need_place=False)
SECOND = Conventions(version=2, split_by="first_turn", by_length=True, one_cutoff=True, tools_need_place=True)
# Versions before it searched by `EARLIER_SEARCH` where their specs left a setting out.
THIRD = replace(SECOND, version=SEARCH_VERSION, late_rungs=True)
CURRENT = replace(THIRD, version=4, early_rungs=False)
BY_VERSION = {each.version: each for each in (FIRST, SECOND, THIRD, CURRENT)}


def conventions_of(environment: Mapping[str, Any] | None) -> Conventions:
    """Those that a run began with, by its ``environment.json``; the current ones for a new run."""
    if environment is None:
        return CURRENT
    # Version 1 wrote none.
    return BY_VERSION.get((environment.get("plan") or {}).get("conventions", FIRST.version), FIRST)
