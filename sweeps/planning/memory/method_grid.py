"""Predicted memory of full, freeze, LoRA and QLoRA for one model: no spec, no download, no GPU."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sweeps.planning.memory.cell_memory import ConfigMemory
from trainables.config.model import ModelConfig
from trainables.memory.predicted_model import PredictedModel
from trainables.models import locate
from trainables.models.architecture.decoder_shape import MemoryNotPredictable
from trainables.models.catalog import CATALOG, find_shape
from trainables.models.folder import ModelError, read_json
from trainables.system.byte_sizes import GIB, both_units, gib
from trainables.trial.config import TrialConfig

METHODS: dict[str, dict[str, Any]] = {
    "full": {"kind": "full"},
    "full, pure bf16": {"kind": "full"},
    "full, 8-bit AdamW": {"kind": "full"},
    "freeze, 2 layers": {"kind": "freeze", "layers": 2},
    "LoRA r16": {"kind": "lora", "rank": 16},
    "QLoRA 8-bit r16": {"kind": "qlora", "rank": 16, "bits": 8},
    "QLoRA 4-bit r16": {"kind": "qlora", "rank": 16},
}

# What a row's training has beside its method.
TRAIN: dict[str, dict[str, Any]] = {
    "full, pure bf16": {"precision": "pure_bf16"},
    "full, 8-bit AdamW": {"optimizer": "adamw_8bit"},
}
# Of common GPUs: what the sentences under the grid are about where no limit is given.
COMMON_LIMITS = (24 * GIB, 80 * GIB)


@dataclass(frozen=True)
class GridRow:
    """A method, with or without gradient checkpointing, and its predicted memory."""

    method: str
    checkpointing: bool
    predicted: ConfigMemory

    def to_json(self) -> dict[str, Any]:
        parts = {f"{name}_bytes": value for name, value in asdict(self.predicted.prediction).items()}
        row = {"method": self.method, "gradient_checkpointing": self.checkpointing}
        return {**row, "peak_bytes": self.predicted.peak_bytes, **parts, "source": self.predicted.source}


def find_model(model: str) -> PredictedModel:
    """The model given by its name, its id on a hub, its folder or its ``config.json``.

    Raises ``ModelError`` for a model that is unknown.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        path = path / "config.json"
    try:
        if path.is_file():
            return PredictedModel.of_config(read_json(path))
        if (shape := find_shape(model)) is not None:
            return PredictedModel(shape)
        source = locate.find_source(model if model in locate.NAMED_MODELS or ":" in model else f"hf:{model}")
        if (folder := source.local()) is not None:
            return PredictedModel.of_config(read_json(folder / "config.json"))
    except json.JSONDecodeError as error:
        raise ModelError(f"{model}: {error}") from error
    raise ModelError(
        f"{model} is not on this machine, and its dimensions are not in the catalog. Give its config.json "
        f"(--model path/to/config.json), or one of {', '.join(CATALOG)}."
    )


def grid_rows(model: str, batch: int, tokens: int, device: str = "cuda") -> Iterator[GridRow]:
    """Each method without and with checkpointing, for SFT in bf16 on ``batch`` rows of ``tokens`` tokens.

    Raises ``ModelError`` for a model that is unknown, or whose memory can't be predicted. A method that can't train the
    model is left out.
    """
    found, reasons = find_model(model), []
    for name, method in METHODS.items():
        for checkpointing in (False, True):
            config = _config(name, method, checkpointing, batch, tokens)
            row = GridRow(name, checkpointing, ConfigMemory(config, found, tokens, 1, device))
            try:
                _ = row.predicted.prediction
            except MemoryNotPredictable as error:
                reasons.append(str(error))
                continue
            yield row
    if len(reasons) == 2 * len(METHODS):
        raise ModelError(f"{model}: {reasons[0]}")


def _config(name: str, method: dict[str, Any], checkpointing: bool, batch: int, tokens: int) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "cell": "sft",
            "method_name": name,
            "model": ModelConfig(name="any", attention="sdpa"),
            "data": {"train": "any", "cutoff": tokens},
            "stage": {"kind": "sft"},
            "method": method,
            "train": {
                "steps": 1,
                "batch_size": batch,
                "learning_rate": 1e-4,
                "gradient_checkpointing": checkpointing,
                **TRAIN.get(name, {}),
            },
        }
    )


def fit_sentence(rows: Sequence[GridRow], limit: int) -> str:
    """Which methods fit in ``limit`` bytes: ``in 25.77 GB (24 GiB): QLoRA 4-bit r16; with checkpointing also full``."""
    fitting = [row for row in rows if row.predicted.peak_bytes <= limit]
    plain = [row.method for row in fitting if not row.checkpointing]
    checkpointed = [row.method for row in fitting if row.method not in plain]
    if not fitting:
        least = min(rows, key=lambda row: row.predicted.peak_bytes)
        kept = " with checkpointing" if least.checkpointing else ""
        needed = gib(least.predicted.peak_bytes)
        return f"in {both_units(limit)}: none of these; {least.method}{kept} needs the least, {needed}"
    listed = [_either(plain)] if plain else []
    if checkpointed:
        listed.append(f"with checkpointing {'also ' if plain else ''}{_either(checkpointed)}")
    return f"in {both_units(limit)}: {'; '.join(listed)}"


def _either(names: Sequence[str]) -> str:
    """``LoRA r16``, ``full (pure bf16) or LoRA r16``, ``freeze (2 layers), LoRA r16 or QLoRA 4-bit r16``."""
    readable = [f"{name.replace(', ', ' (')})" if "," in name else name for name in names]
    return " or ".join([", ".join(readable[:-1]), readable[-1]] if len(readable) > 1 else readable)
