"""The claim that one cell's quality is not worse than another's by a margin, or differs by less than it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sweeps.spec.claims.base import PairClaim, Tests


class Within(PairClaim):
    """``a`` is worse than ``b`` by less than ``margin``; with ``both`` neither is worse than the other by it."""

    kind: Literal["within"] = "within"
    margin: float = Field(gt=0)
    both: bool = False

    @property
    def tests(self) -> Tests:
        return Tests(sides=2 if self.both else 1)

    @property
    def smallest_difference(self) -> float | None:
        return self.margin
