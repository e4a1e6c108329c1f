"""What a cell's trials will take at their peak, at the ends of its space, before anything is loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trainables import shape
from trainables.config import TrialConfig
from trainables.kernels import attention
from trainables.prediction import Prediction, predict

if TYPE_CHECKING:
    from sweeps.spec import Spec
    from trainables.data import Data
    from trainables.model_folder import Architecture

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
UNITS |= {f"{unit}i": 1024**power for power, unit in enumerate("kmgt", start=1)}


@dataclass(frozen=True)
class Case:
    """One config with all that its memory depends on; ``tokens`` of its longest row, ``workers`` that share a batch."""

    config: TrialConfig
    numbers: shape.Shape
    tokens: int
    workers: int
    device: str

    @cached_property
    def prediction(self) -> Prediction:
        batch = self.config.stage.forward_pass(self.config.train.batch_size // self.workers, self.tokens)
        assert batch is not None
        ran = attention(self.config.model.attention, self.config.data.cutoff, self.device)
        return predict(self.config, self.numbers, batch, self.device, ran)

    @property
    def total(self) -> int:
        return self.prediction.total

    def changed(self, part: str, **values: Any) -> Case:
        """The case with other settings in a part of its config."""
        own = getattr(self.config, part)
        return replace(self, config=self.config.model_copy(update={part: own.model_copy(update=values)}))


@dataclass(frozen=True)
class Foretold:
    """The least and the greatest peak over a cell's space."""

    least: Case
    most: Case

    def to_json(self) -> dict[str, Any]:
        """In bytes; the parts are those of the greatest."""
        parts = {f"{name}_bytes": value for name, value in asdict(self.most.prediction).items()}
        return {"least_bytes": self.least.total, "peak_bytes": self.most.total, **parts}


def foretell(
    spec: Spec, configs: Sequence[TrialConfig], architecture: Architecture | None, data: Data
) -> Foretold | None:
    """What trials with these configs take; ``None`` where the model or the stage isn't one that can be told."""
    if architecture is None:
        return None
    try:
        numbers = shape.of(architecture.config)
    except shape.Unforeseen:
        return None
    cases = [case for config in configs if (case := _case(spec, config, numbers, data)) is not None]
    if len(cases) < len(configs) or not cases:
        return None
    return Foretold(min(cases, key=lambda case: case.total), max(cases, key=lambda case: case.total))


def _case(spec: Spec, config: TrialConfig, numbers: shape.Shape, data: Data) -> Case | None:
    from trainables.look import longest

    workers = spec.resources.workers
    if config.train.batch_size < workers or config.stage.forward_pass(1, 1) is None:
        return None
    device = "cuda" if spec.resources.gpus else "cpu"
    return Case(config, numbers, longest(config, data), workers, device)


def parse_bytes(text: str) -> int:
    """
    >>> parse_bytes("24GiB"), parse_bytes("80 GB"), parse_bytes("512 MiB")
    (25769803776, 80000000000, 536870912)

    Raises ``ValueError`` for what is no amount of memory.
    """
    found = re.fullmatch(r"\s*([0-9.]+)\s*([kmgt]?i?)b?\s*", text.lower())
    if found is None or found[2] not in UNITS:
        raise ValueError(f"{text!r} is no amount of memory. Write 24GiB, 80GB or 512MiB")
    return int(float(found[1]) * UNITS[found[2]])
