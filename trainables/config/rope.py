"""RoPE scaling: which kind, for how many positions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field

from trainables.config.base import Frozen
from trainables.system.suggestions import did_you_mean

Kind = Literal["linear", "dynamic", "yarn", "llama3"]


KINDS: tuple[str, ...] = get_args(Kind)
# Llama 3.1's own; what its config.json has.
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}


class Rope(Frozen):
    """``factor`` is by how much the positions grow; without one, as many times as the cutoff takes, a whole number."""

    kind: Kind
    factor: float | None = Field(default=None, ge=1)

    def factor_for(self, cutoff: int, known: int) -> float:
        """The factor for rows of ``cutoff`` tokens and a model that knows ``known`` positions.

        >>> Rope(kind="linear").factor_for(9000, 8192)
        2.0
        """
        return float(max(1, math.ceil(cutoff / known))) if self.factor is None else self.factor

    def parameters(self, before: Mapping[str, Any], known: int, cutoff: int) -> dict[str, Any]:
        """transformers' ``rope_parameters``, in place of the model's own (``before``)."""
        found = {**before, "rope_type": self.kind, "factor": self.factor_for(cutoff, known)}
        if self.kind in ("yarn", "llama3"):
            found["original_max_position_embeddings"] = known
        return found | (LLAMA3 if self.kind == "llama3" else {})


def written(value: Any) -> Any:
    """``model.rope`` as people write it: a kind alone, ``none``, or a mapping. Raises ``ValueError``."""
    if value == "none":
        return None
    if not isinstance(value, str):
        return value
    if value not in KINDS:
        allowed = ", ".join(("none", *KINDS))
        near = did_you_mean(value, KINDS)
        raise ValueError(f"got {value!r}; allowed: {allowed}, or {{kind: yarn, factor: 4}}{near}")
    return {"kind": value}
