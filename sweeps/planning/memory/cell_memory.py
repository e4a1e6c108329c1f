"""The predicted peak memory of a cell's trials over its search space, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sweeps.planning.memory.residuals import UNCORRECTED, Correction, correction_for
from trainables.memory.predicted_model import PredictedModel, Source
from trainables.memory.step import MemoryPrediction
from trainables.models.architecture.decoder_shape import MemoryNotPredictable
from trainables.models.architecture.model_classes import ALL_ATTENTION, supported_attention
from trainables.models.catalog import find_shape
from trainables.models.kernels import choose_attention
from trainables.stages.forward_pass import RowLength
from trainables.system import machine

if TYPE_CHECKING:
    from sweeps.spec.settings import ResourcesConfig
    from trainables.data.loading import Data
    from trainables.models.folder import Architecture
    from trainables.trial.config import TrialConfig

SAFETY_FACTOR = 1.05  # a trial still fits if its prediction is too low by so much


@dataclass(frozen=True)
class ConfigMemory:
    """One trial config with everything that its training memory depends on, and the peak predicted from it."""

    config: TrialConfig
    model: PredictedModel
    tokens: int  # of the longest row
    workers: int  # that share a batch; the peak is that of one of them
    device: str  # cuda or cpu
    correction: Correction = UNCORRECTED  # learned from earlier measurements
    attention: frozenset[str] = ALL_ATTENTION  # the implementations that the model's class supports
    labels: int | None = None  # of the row that has the most; as many as its tokens where it isn't known
    local: bool = False  # whether it trains on this machine, whose processor is known

    @property
    def prediction(self) -> MemoryPrediction:
        """The peak before correction, in bytes by part. Raises ``MemoryNotPredictable``."""
        return self._predicted[0]

    @property
    def source(self) -> Source:
        """How the peak was predicted. Raises ``MemoryNotPredictable``."""
        return self._predicted[1]

    @cached_property
    def _predicted(self) -> tuple[MemoryPrediction, Source]:
        # One worker's part of the batch, every row as long as the longest: that is the peak.
        length = RowLength(self.tokens, self.labels)
        batch = self.config.stage.forward_pass(self.config.train.batch_size // self.workers, length)
        if batch is None:
            raise MemoryNotPredictable(
                f"memory of {self.config.stage.kind} with these settings can't be predicted"
            )
        implementation = choose_attention(
            self.config.model.attention,
            self.config.data.cutoff,
            self.device,
            self.attention,
            self.config.attends_in_16_bits,
        )
        known = self.local and self.config.train.precision in ("bf16", "pure_bf16")
        in_32_bits = machine.multiplies_bf16_in_32_bits() if known else None
        return self.model.predict(self.config, batch, self.device, implementation, self.workers, in_32_bits)

    @property
    def peak_bytes(self) -> int:
        """The predicted peak with its correction."""
        return round(self.prediction.total * self.correction.factor)

    def worker_options(self) -> list[ConfigMemory]:
        """The same config for each number of workers that divides its batch evenly, fewest first."""
        rows, least = self.config.train.batch_size, self.config.stage.min_worker_rows
        return [self.with_workers(count) for count in range(1, rows // least + 1) if rows % count == 0]

    def with_workers(self, workers: int) -> ConfigMemory:
        corrected = correction_for(self.config, self.model, self.device, workers)
        return replace(self, workers=workers, correction=corrected)

    def with_settings(self, part: str, **settings: Any) -> ConfigMemory:
        """The same with other ``settings`` in one part (``train``, ``method``, ``stage``) of the config."""
        changed = getattr(self.config, part).model_copy(update=settings)
        config = self.config.model_copy(update={part: changed})
        tokens = self.tokens
        if tokens < config.data.cutoff:  # else the prompt was cut, and grows by what an answer shrinks
            tokens += config.stage.sampled_tokens - self.config.stage.sampled_tokens
        return replace(self, config=config, tokens=tokens)


@dataclass(frozen=True)
class CellMemory:
    """The smallest and the largest predicted peak over a cell's search space."""

    smallest: ConfigMemory
    largest: ConfigMemory
    tokens: int  # of the longest row over the whole space
    labels: int | None = None  # of the row that has the most, over the whole space

    def for_config(self, config: TrialConfig) -> ConfigMemory:
        """The prediction for any other config of the same cell."""
        # The longest row of the whole space, cut at this config's own cutoff.
        tokens = min(self.tokens, config.data.cutoff)
        changed = replace(self.largest, config=config, tokens=tokens, labels=self.labels)
        try:
            _ = changed.prediction
        except MemoryNotPredictable:  # it could be traced at the ends of the space
            return self.largest
        return changed

    def to_json(self) -> dict[str, Any]:
        """Both peaks in bytes; the parts are those of the largest peak, before correction."""
        parts = {f"{name}_bytes": value for name, value in asdict(self.largest.prediction).items()}
        peaks = {"least_bytes": self.smallest.peak_bytes, "peak_bytes": self.largest.peak_bytes}
        return {
            **peaks,
            **parts,
            "correction": asdict(self.largest.correction),
            "source": self.largest.source,
        }


def predict_cell_memory(
    resources: ResourcesConfig,
    configs: Sequence[TrialConfig],
    architecture: Architecture | None,
    data_of: Callable[[TrialConfig], Data],
    local: bool = False,
) -> CellMemory:
    """Predicts the peaks of trials with these configs.

    ``architecture``: ``None`` for a model that is not on this machine yet; its dimensions may be in the catalog.
    ``data_of``: the rows of each trial. ``local``: they run on this machine.

    Raises ``MemoryNotPredictable``, which says why, if one of them can't be predicted: the range would be open.
    """
    if architecture is None:
        shape = find_shape(configs[0].model.name or "")
        if shape is None:
            raise MemoryNotPredictable("the model is not on this machine")
        model, attention = PredictedModel(shape), ALL_ATTENTION
    else:
        model, attention = PredictedModel.of_files(architecture), supported_attention(architecture.config)
    predicted = [
        _config_memory(resources, config, model, data_of(config), attention, local) for config in configs
    ]
    # Only here each is predicted.
    by_size = sorted(predicted, key=lambda memory: memory.peak_bytes)
    labels = [memory.labels for memory in predicted if memory.labels is not None]
    return CellMemory(
        by_size[0],
        by_size[-1],
        max(memory.tokens for memory in predicted),
        max(labels) if len(labels) == len(predicted) else None,
    )


def _config_memory(
    resources: ResourcesConfig,
    config: TrialConfig,
    model: PredictedModel,
    data: Data,
    attention: frozenset[str],
    local: bool,
) -> ConfigMemory:
    # Counting tokens imports a tokenizer, which takes seconds.
    from trainables.trial.preview import largest_row

    workers = resources.min_workers
    if config.train.batch_size < workers:
        raise MemoryNotPredictable(f"{workers} workers can't share a batch of {config.train.batch_size} rows")
    device = "cuda" if resources.gpus else "cpu"
    correction = correction_for(config, model, device, workers)
    length = largest_row(config, data)
    return ConfigMemory(
        config, model, length.tokens, workers, device, correction, attention, length.labels, local
    )


def with_fewest_workers(memory: ConfigMemory, capacity: int) -> ConfigMemory:
    """The config shared by as few workers as fit in ``capacity`` bytes each; by as many as possible if none do."""
    options = memory.worker_options()
    return next(
        (option for option in options if option.peak_bytes * SAFETY_FACTOR <= capacity),
        options[-1],
    )
