"""What a cell's trials will take at their peak, at the ends of its space, before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from trainables import shape
from trainables.kernels import attention
from trainables.prediction import Prediction, predict

if TYPE_CHECKING:
    from sweeps.spec import Spec
    from trainables.config import TrialConfig
    from trainables.data import Data
    from trainables.model_folder import Architecture


@dataclass(frozen=True)
class Foretold:
    """The least and the greatest peak over a cell's space, in bytes; ``most`` has its parts."""

    least: Prediction
    most: Prediction

    def to_json(self) -> dict[str, Any]:
        parts = {f"{name}_bytes": value for name, value in asdict(self.most).items()}
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
    found = [_one(spec, config, numbers, data) for config in configs]
    known = [one for one in found if one is not None]
    if len(known) < len(found) or not known:
        return None
    return Foretold(min(known, key=lambda one: one.total), max(known, key=lambda one: one.total))


def _one(spec: Spec, config: TrialConfig, numbers: shape.Shape, data: Data) -> Prediction | None:
    from trainables.look import longest

    rows = config.train.batch_size // spec.resources.workers
    batch = config.stage.forward_pass(rows, 1)
    if batch is None or not rows:
        return None
    device = "cuda" if spec.resources.gpus else "cpu"
    batch = config.stage.forward_pass(rows, longest(config, data))
    assert batch is not None
    ran = attention(config.model.attention, config.data.cutoff, device)
    return predict(config, numbers, batch, device, ran)
