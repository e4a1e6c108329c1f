"""The claim that one cell forgets less than another."""

from __future__ import annotations

from typing import ClassVar, Literal

from sweeps.spec.claims.base import PairClaim, Subject


class ForgetsLess(PairClaim):
    """The loss of ``a`` on a second evaluation set is lower than that of ``b``."""

    subject: ClassVar[Subject] = "second evaluation set"

    kind: Literal["forgets_less"] = "forgets_less"
