"""Measured training peaks beside the predicted ones, kept from sweep to sweep to correct the next predictions.

A measurement corrects the cells that are similar: same stage, method, checkpointing, precision and kind of device.
Measurements of the same model come first; those of other models count only where there are none.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from trainables.memory import (
    activations,
    byte_widths,
    data_parallel,
    held,
    moments,
    predicted_model,
    prediction,
    rollout,
    sizes,
    step,
    tracing,
)
from trainables.memory.predicted_model import PredictedModel
from trainables.methods import footprint
from trainables.models.architecture import decoder_shape
from trainables.storage import files
from trainables.storage.home import home
from trainables.storage.stored_values import read_stored, valid_entries
from trainables.training.label_head import sizes as head_sizes

if TYPE_CHECKING:
    from trainables.config.train import TrainConfig
    from trainables.trial.config import TrialConfig

# A peak that was mispredicted by more is a measurement of something else, and corrects nothing.
MAX_RATIO = 2.0
# The modules that decide a prediction: a change in any of them makes the stored residuals unusable.
PREDICTION_MODULES = (
    prediction, step, held, activations, sizes, moments, rollout, data_parallel, byte_widths, decoder_shape, footprint,
    predicted_model, head_sizes,
)  # fmt: skip
OLD_FILE = "foretold.json"
# Keys of the old file, and what they are called now.
OLD_KEYS = {"likeness": "similarity", "foretold": "predicted", "arithmetic": "code_version"}


@dataclass(frozen=True)
class Correction:
    """The factor that a predicted peak is multiplied by: the median measured / predicted of ``count`` measurements."""

    factor: float = 1.0
    count: int = 0
    same_model: bool = True  # whether the measurements are of the same model

    def __str__(self) -> str:
        noun = "measurement" if self.count == 1 else "measurements"
        return f"{self.factor - 1:+.1%} ({self.count} {noun}{'' if self.same_model else ' of other models'})"


UNCORRECTED = Correction()


@dataclass(frozen=True)
class Residual:
    """One trial's measured peak beside the predicted one, both in bytes."""

    similarity: str  # what it has in common with cells that it corrects, see similarity_key
    model: str  # a hash of the model's shape
    # The file that they are read from may have been edited.
    predicted: Annotated[int, Field(gt=0)]
    measured: Annotated[int, Field(gt=0)]
    code_version: str  # of the code that predicted it


def cache_file() -> Path:
    return home() / "predicted.json"


def correction_for(config: TrialConfig, model: PredictedModel, device: str, workers: int = 1) -> Correction:
    """The correction for a config by earlier measurements of similar ones; none without any."""
    similarity = similarity_key(config, device, workers)
    similar = [each for each in _usable_residuals() if each.similarity == similarity]
    same_model = [each for each in similar if each.model == model_key(model)]
    ratios = [each.measured / each.predicted for each in same_model or similar]
    plausible = [ratio for ratio in ratios if 1 / MAX_RATIO < ratio < MAX_RATIO]
    if not plausible:
        return UNCORRECTED
    return Correction(statistics.median(plausible), len(plausible), bool(same_model))


def similarity_key(config: TrialConfig, device: str, workers: int = 1) -> str:
    """What cells have in common whose predictions err in the same way."""
    assert config.method is not None
    train, method = config.train, config.method.similarity
    parts = (device, config.stage.kind, method, train.precision, train.gradient_checkpointing, train.packing)
    shared = (f"{workers} workers", train.sharding) if workers > 1 else ()
    return "/".join(map(str, (*parts, *shared, *compiled_part(train))))


def compiled_part(train: TrainConfig) -> tuple[str, ...]:
    """What a key has of compiled layers: trials are faster, and the measured memory of a CPU holds the compiler."""
    return ("compiled",) if train.compile == "on" else ()


def model_key(model: PredictedModel) -> str:
    dimensions = asdict(model.shape) if model.shape is not None else dict(model.config or {})
    return files.sha256(dimensions)[:12]


@lru_cache
def prediction_code_hash() -> str:
    """A hash of the code that predicts: errors of another version say nothing about this one."""
    sources = [Path(str(module.__file__)) for module in PREDICTION_MODULES]
    # By its folder: importing all of its files would import torch.
    sources += sorted(Path(str(tracing.__file__)).parent.glob("*.py"))
    return files.sha256([files.file_sha256(source) for source in sources])[:12]


def _usable_residuals() -> list[Residual]:
    return [each for each in stored_residuals().values() if each.code_version == prediction_code_hash()]


def stored_residuals() -> dict[str, Residual]:
    """All stored residuals by key, oldest first; none where the file is missing or damaged."""
    path = cache_file() if cache_file().exists() else home() / OLD_FILE
    try:
        status = path.stat()
    except OSError:
        return {}  # none yet
    return _parse(path, status.st_mtime_ns, status.st_size)


# A plan asks for the correction of every probe of every cell. The time and size only make the cache notice a change.
@lru_cache(maxsize=1)
def _parse(path: Path, modified_ns: int, size: int) -> dict[str, Residual]:
    entries = {
        key: {OLD_KEYS.get(name, name): value for name, value in entry.items()}
        for key, entry in read_stored(path).items()
        if isinstance(entry, dict)
    }
    return valid_entries(entries, Residual)
