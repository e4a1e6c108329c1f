"""The claim that one cell needs at most a share of another's memory, and is hardly worse."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sweeps.spec.claims.base import PairClaim


class LeastMemory(PairClaim):
    """The measured peak of ``a`` is at most ``share`` of that of ``b``, and its quality is worse by less than
    ``margin``.
    """

    kind: Literal["least_memory"] = "least_memory"
    share: float = Field(gt=0, lt=1)
    margin: float = Field(gt=0)

    @property
    def smallest_difference(self) -> float | None:
        return self.margin
