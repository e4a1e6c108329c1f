"""The claim that one cell's quality is better than another's."""

from __future__ import annotations

from typing import Literal

from sweeps.spec.claims.base import PairClaim


class Better(PairClaim):
    """``a`` is better than ``b``, by however little."""

    kind: Literal["better"] = "better"
