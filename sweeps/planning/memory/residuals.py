"""What training really took against what had been foretold, kept from sweep to sweep: the next plan is the nearer.

A measurement counts for cells that are alike: the same stage, method, checkpointing, precision and kind of device;
those of the same model first, and only without any those of other models.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.memory import byte_widths, data_parallel, prediction, rollout
from trainables.methods import footprint
from trainables.models import decoder_shape
from trainables.storage import files
from trainables.storage.home import home

if TYPE_CHECKING:
    from trainables.trial.config import TrialConfig

KEPT = 1000  # measurements, the newest
FORETELLS = (prediction, rollout, decoder_shape, byte_widths, data_parallel, footprint)
FARTHEST = 2.0  # a measurement that is so many times off is of something else, and corrects nothing


@dataclass(frozen=True)
class Correction:
    """What a foretold peak is multiplied with; the median of ``count`` measurements, of the ``same_model`` or not."""

    factor: float = 1.0
    count: int = 0
    same_model: bool = True

    def __str__(self) -> str:
        what = "measurement" if self.count == 1 else "measurements"
        return f"{self.factor - 1:+.1%} by {self.count} {what}{'' if self.same_model else ' of other models'}"


UNCORRECTED = Correction()


@dataclass(frozen=True)
class Residual:
    """A measured peak and the one that had been foretold, in bytes."""

    likeness: str
    model: str
    foretold: int
    measured: int
    arithmetic: str  # the version of what foretold it


def place() -> Path:
    return home() / "foretold.json"


def correction(
    config: TrialConfig, numbers: decoder_shape.Shape, device: str, workers: int = 1
) -> Correction:
    """What earlier measurements say of a config like this one; nothing without any."""
    alike = [each for each in _usable() if each.likeness == likeness(config, device, workers)]
    own = [each for each in alike if each.model == _model(numbers)]
    ratios = [each.measured / each.foretold for each in own or alike]
    near = [ratio for ratio in ratios if 1 / FARTHEST < ratio < FARTHEST]
    return Correction(statistics.median(near), len(near), bool(own)) if near else UNCORRECTED


def likeness(config: TrialConfig, device: str, workers: int = 1) -> str:
    """What cells have in common whose predictions err alike."""
    assert config.method is not None
    method = config.method.model_copy(update={"name": None}).label
    train = config.train
    parts = (device, config.stage.kind, method, train.precision, train.gradient_checkpointing, train.packing)
    several = (f"{workers} workers", train.sharding) if workers > 1 else ()
    return "/".join(map(str, (*parts, *several)))


def _usable() -> list[Residual]:
    return [each for each in _kept().values() if each.arithmetic == arithmetic()]


def _kept() -> dict[str, Residual]:
    try:
        status = place().stat()
        return _parsed(place(), status.st_mtime_ns, status.st_size)
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # none yet, or not ours any more: it will be written anew


@lru_cache(maxsize=1)
def _parsed(path: Path, changed: int, size: int) -> dict[str, Residual]:
    """Read once, for a plan asks of every end of every cell's space."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {key: Residual(**value) for key, value in found.items()}


def _model(numbers: decoder_shape.Shape) -> str:
    return files.sha256(asdict(numbers))[:12]


@lru_cache
def arithmetic() -> str:
    """A hash of the code that foretells: what it learned of another's errors is no use to it."""
    return files.sha256([files.file_sha256(Path(str(module.__file__))) for module in FORETELLS])[:12]
