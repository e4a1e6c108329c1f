"""A claim of a run that can't be read: damaged, or of a later version. It was asked, so it has its line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from reports.claims.cells import NamedCells
from reports.claims.claim import Claim
from reports.claims.judgement import Judgement, not_judged
from reports.text import text

SHOWN = 120  # characters of what it says


@dataclass(frozen=True)
class Unreadable(Claim):
    """``text``: the claim as it is kept, shortened. ``why``: it can't be read."""

    kind: ClassVar[str] = "unreadable"
    text: str
    why: str

    @classmethod
    def of(cls, values: Any, why: str) -> Unreadable:
        try:
            text = json.dumps(values)
        except (TypeError, ValueError, RecursionError):
            text = type(values).__name__
        return cls(text if len(text) <= SHOWN else f"{text[:SHOWN]}…", why)

    @property
    def names(self) -> tuple[str, ...]:
        return ()

    def statement(self, cells: NamedCells) -> str:
        return text("claim {text}", text=self.text)

    def judge(self, cells: NamedCells) -> Judgement:
        return not_judged(text("this claim can't be read: {reason}", reason=self.why))
