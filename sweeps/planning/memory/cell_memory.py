"""What a cell's trials will take at their peak, at the ends of its space, before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sweeps.planning.memory.residuals import UNCORRECTED, Correction, correction
from trainables.memory.prediction import predict
from trainables.memory.step import Prediction
from trainables.models import decoder_shape
from trainables.models.kernels import attention
from trainables.trial.config import TrialConfig

if TYPE_CHECKING:
    pass
    from sweeps.spec.settings import ResourcesConfig
    from trainables.trial.config import TrialConfig

if TYPE_CHECKING:
    from sweeps.spec.settings import ResourcesConfig
    from trainables.data.loading import Data
    from trainables.models.folder import Architecture


@dataclass(frozen=True)
class Case:
    """One config with all that its memory depends on; ``tokens`` of its longest row, ``workers`` that share a batch.

    ``correction``: by what was measured before.
    """

    config: TrialConfig
    numbers: decoder_shape.Shape
    tokens: int
    workers: int
    device: str
    correction: Correction = UNCORRECTED

    @cached_property
    def prediction(self) -> Prediction:
        batch = self.config.stage.forward_pass(self.config.train.batch_size // self.workers, self.tokens)
        assert batch is not None
        ran = attention(self.config.model.attention, self.config.data.cutoff, self.device)
        return predict(self.config, self.numbers, batch, self.device, ran, self.workers)

    @property
    def total(self) -> int:
        return round(self.prediction.total * self.correction.factor)

    def ways(self) -> list[Case]:
        """The case with each number of workers that can share its rows evenly."""
        rows, least = self.config.train.batch_size, self.config.stage.least_batch
        return [self.shared_by(n) for n in range(1, rows // least + 1) if rows % n == 0]

    def shared_by(self, workers: int) -> Case:
        corrected = correction(self.config, self.numbers, self.device, workers)
        return replace(self, workers=workers, correction=corrected)

    def changed(self, part: str, **values: Any) -> Case:
        """The case with other settings in a part of its config."""
        own = getattr(self.config, part)
        return replace(self, config=self.config.model_copy(update={part: own.model_copy(update=values)}))


@dataclass(frozen=True)
class Foretold:
    """The least and the greatest peak over a cell's space; ``tokens`` of the longest row over all of it."""

    least: Case
    most: Case
    tokens: int

    def of(self, config: TrialConfig) -> Case:
        """Any other config of the same cell."""
        return replace(self.most, config=config, tokens=min(self.tokens, config.data.cutoff))

    def to_json(self) -> dict[str, Any]:
        """In bytes; the parts are those of the greatest, before correction."""
        parts = {f"{name}_bytes": value for name, value in asdict(self.most.prediction).items()}
        peaks = {"least_bytes": self.least.total, "peak_bytes": self.most.total}
        return {**peaks, **parts, "correction": asdict(self.most.correction)}


def foretell(
    takes: ResourcesConfig, configs: Sequence[TrialConfig], architecture: Architecture | None, data: Data
) -> Foretold | None:
    """What trials with these configs take; ``None`` where the model, stage or method isn't one that can be told."""
    if architecture is None:
        return None
    try:
        numbers = decoder_shape.of(architecture.config)
        cases = [case for config in configs if (case := _case(takes, config, numbers, data)) is not None]
        by_size = sorted(cases, key=lambda case: case.total)
    except decoder_shape.Unforeseen:
        return None
    if len(cases) < len(configs) or not cases:
        return None
    return Foretold(by_size[0], by_size[-1], max(case.tokens for case in cases))


def _case(
    takes: ResourcesConfig, config: TrialConfig, numbers: decoder_shape.Shape, data: Data
) -> Case | None:
    from trainables.trial.preview import longest

    workers = takes.least_workers
    if config.train.batch_size < workers or config.stage.forward_pass(1, 1) is None:
        return None
    device = "cuda" if takes.gpus else "cpu"
    corrected = correction(config, numbers, device, workers)
    return Case(config, numbers, longest(config, data), workers, device, corrected)


SPARE = 1.05  # by how much a prediction may be off and the trial still fit


def fewest_workers(case: Case, room: int) -> Case:
    """The case with as few workers as fit in so many bytes each, or with the most that there can be."""
    ways = case.ways()
    return next((way for way in ways if way.total * SPARE <= room), ways[-1])
