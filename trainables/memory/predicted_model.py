"""How the memory of a model is predicted: by the formula for plain decoders, or else by a traced step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from trainables.memory.prediction import predict, predict_by_trace
from trainables.memory.tracing.tracing_process import counted_parameters
from trainables.models.architecture import decoder_shape
from trainables.models.architecture.decoder_shape import DecoderShape, MemoryNotPredictable

if TYPE_CHECKING:
    from trainables.memory.step import MemoryPrediction
    from trainables.models.folder import Architecture
    from trainables.stages.forward_pass import Batch
    from trainables.trial.config import TrialConfig

# Model types of which the formula is known to count every parameter (tests/trainables/memory/test_prediction.py).
PLAIN_DECODERS = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "smollm3")

Source = Literal["formula", "traced"]


@dataclass(frozen=True)
class PredictedModel:
    """A model by its dimensions, ``shape``, where it is a plain decoder, and its ``config.json``, if known."""

    shape: DecoderShape | None
    config: Mapping[str, Any] | None = None

    @classmethod
    def of_files(cls, architecture: Architecture) -> PredictedModel:
        """The model of a folder. Its shape counts only if its files have the same parameters and layers."""
        try:
            shape = decoder_shape.from_config(architecture.config)
            decoder_shape.check_parameters(shape, architecture.parameters)
            decoder_shape.check_layers(shape, architecture.matrix_names)
        except MemoryNotPredictable:
            return cls(None, architecture.config)
        return cls(shape, architecture.config)

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> PredictedModel:
        """A model of which nothing but the ``config.json`` is there.

        The parameters of one that isn't known to be a plain decoder are counted, which may take seconds.
        """
        try:
            shape = decoder_shape.from_config(config)
            if config.get("model_type") not in PLAIN_DECODERS:
                decoder_shape.check_parameters(shape, counted_parameters(config))
        except MemoryNotPredictable:
            return cls(None, config)
        return cls(shape, config)

    def predict(
        self,
        config: TrialConfig,
        batch: Batch,
        device: str,
        attention: str,
        workers: int = 1,
        multiplies_in_32_bits: bool | None = None,
    ) -> tuple[MemoryPrediction, Source]:
        """The peak of a training step, as ``prediction.predict`` gives it, and how it was predicted.

        Raises ``MemoryNotPredictable``, which says why.
        """
        how = (batch, device, attention, workers, multiplies_in_32_bits)
        if self.shape is not None:
            try:
                return predict(config, self.shape, *how), "formula"
            except MemoryNotPredictable:
                if self.config is None or batch.rollout is not None:
                    raise
        if self.config is None:
            raise MemoryNotPredictable("its config.json is unknown")
        return predict_by_trace(config, self.config, *how), "traced"
