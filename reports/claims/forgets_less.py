"""Whether one cell forgets less than another: its loss on a second evaluation set, which sweeps don't measure yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from reports.claims.cells import NamedCells
from reports.claims.claim import PairClaim
from reports.claims.judgement import Judgement, not_judged


@dataclass(frozen=True)
class ForgetsLess(PairClaim):
    """The loss of ``a`` on a second evaluation set is lower than that of ``b``."""

    kind: ClassVar[str] = "forgets_less"

    def statement(self, cells: NamedCells) -> str:
        return f"{self.a} forgets less than {self.b}"

    def judge(self, cells: NamedCells) -> Judgement:
        return not_judged(
            cells.obstacle
            or "this run has no loss on a second evaluation set (paretune evaluate --forgetting measures one model)"
        )
