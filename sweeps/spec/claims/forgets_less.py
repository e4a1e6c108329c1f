"""The claim that one cell forgets less than another."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from sweeps.spec.claims.base import PairClaim, Subject


class ForgetsLess(PairClaim):
    """The evaluation set called ``set`` gets worse by less in the training of ``a`` than in that of ``b``: its loss
    rises, or its score falls, by less. It may be left out where ``data.eval`` has one further set.
    """

    subject: ClassVar[Subject] = "second evaluation set"

    kind: Literal["forgets_less"] = "forgets_less"
    set: str | None = Field(default=None, min_length=1)
