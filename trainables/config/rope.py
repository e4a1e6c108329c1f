"""Settings of RoPE scaling: which kind, and by which factor positions are extended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field

from trainables.config.base import Frozen
from trainables.system.suggestions import did_you_mean

Kind = Literal["linear", "dynamic", "yarn", "llama3"]


KINDS: tuple[str, ...] = get_args(Kind)
# As in the config.json of Llama 3.1.
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}


class Rope(Frozen):
    """RoPE scaling by ``factor``; without one, by the smallest whole number that the cutoff fits in."""

    kind: Kind
    factor: float | None = Field(default=None, ge=1)

    def factor_for(self, cutoff: int, positions: int) -> float:
        """The factor for rows of ``cutoff`` tokens and a model that was trained on ``positions``.

        >>> Rope(kind="linear").factor_for(9000, 8192)
        2.0
        """
        return float(max(1, math.ceil(cutoff / positions))) if self.factor is None else self.factor

    def parameters(self, original: Mapping[str, Any], positions: int, cutoff: int) -> dict[str, Any]:
        """transformers' ``rope_parameters``, to replace the model's ``original`` ones."""
        parameters = {**original, "rope_type": self.kind, "factor": self.factor_for(cutoff, positions)}
        if self.kind in ("yarn", "llama3"):
            parameters["original_max_position_embeddings"] = positions
        return parameters | (LLAMA3 if self.kind == "llama3" else {})


def parse_rope(value: Any) -> Any:
    """``model.rope`` as written in a spec: a kind alone, ``none``, or a mapping. Raises ``ValueError``."""
    if value == "none":
        return None
    if not isinstance(value, str):
        return value
    if value not in KINDS:
        allowed = ", ".join(("none", *KINDS))
        hint = did_you_mean(value, KINDS)
        raise ValueError(f"got {value!r}; allowed: {allowed}, or {{kind: yarn, factor: 4}}{hint}")
    return {"kind": value}
