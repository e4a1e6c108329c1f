"""What a spec may claim, for its report to answer. A new kind is one file here and one line in the union.

``reports/claims`` has the test of each kind.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sweeps.spec.claims.best_setting import BestSetting
from sweeps.spec.claims.better import Better
from sweeps.spec.claims.flat import Flat
from sweeps.spec.claims.forgets_less import ForgetsLess
from sweeps.spec.claims.least_memory import LeastMemory
from sweeps.spec.claims.memory_ratio import MemoryRatio
from sweeps.spec.claims.within import Within

Claim = Annotated[
    Within | Better | LeastMemory | BestSetting | Flat | ForgetsLess | MemoryRatio,
    Field(discriminator="kind"),
]

__all__ = ["BestSetting", "Better", "Claim", "Flat", "ForgetsLess", "LeastMemory", "MemoryRatio", "Within"]
