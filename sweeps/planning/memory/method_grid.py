"""Full, freeze, LoRA and QLoRA of one model side by side, by arithmetic: no spec, no download, no GPU."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sweeps.planning.memory.cell_memory import Case
from trainables.config.model import ModelConfig
from trainables.models import decoder_shape, locate
from trainables.models.catalog import KNOWN, shape_of
from trainables.models.folder import ModelError, read_json
from trainables.trial.config import TrialConfig

METHODS: dict[str, dict[str, Any]] = {
    "full": {"kind": "full"},
    "full, 8-bit AdamW": {"kind": "full"},
    "freeze, 2 layers": {"kind": "freeze", "layers": 2},
    "LoRA r16": {"kind": "lora", "rank": 16},
    "QLoRA 8-bit r16": {"kind": "qlora", "rank": 16, "bits": 8},
    "QLoRA 4-bit r16": {"kind": "qlora", "rank": 16},
}


@dataclass(frozen=True)
class Row:
    """A method, with or without checkpointing."""

    method: str
    checkpointing: bool
    case: Case

    def to_json(self) -> dict[str, Any]:
        parts = {f"{name}_bytes": value for name, value in asdict(self.case.prediction).items()}
        told = {"method": self.method, "gradient_checkpointing": self.checkpointing}
        return {**told, "peak_bytes": self.case.total, **parts}


def numbers(model: str) -> decoder_shape.Shape:
    """The shape of a model given by its name, a hub's id, a folder or a ``config.json``.

    Raises ``ModelError`` for one that isn't known, or whose memory can't be foretold.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        path = path / "config.json"
    try:
        if path.is_file():
            return decoder_shape.of(read_json(path))
        if (found := shape_of(model)) is not None:
            return found
        source = locate.source(model if model in locate.KNOWN or ":" in model else f"hf:{model}")
        if (here := source.local()) is not None:
            return decoder_shape.of(read_json(here / "config.json"))
    except (decoder_shape.Unforeseen, json.JSONDecodeError) as error:
        raise ModelError(f"{model}: {error}") from error
    raise ModelError(
        f"{model} is not on this machine, and its numbers aren't among those known here. Give its config.json "
        f"(--model path/to/config.json), or one of {', '.join(KNOWN)}."
    )


def rows(model: str, batch: int, tokens: int, device: str = "cuda") -> Iterator[Row]:
    """Each method without and with checkpointing, for ``batch`` rows of ``tokens`` tokens (SFT, bf16)."""
    found = numbers(model)
    for name, method in METHODS.items():
        for checkpointing in (False, True):
            yield Row(name, checkpointing, _case(found, method, name, checkpointing, batch, tokens, device))


def _case(
    found: decoder_shape.Shape,
    method: dict[str, Any],
    name: str,
    checkpointing: bool,
    batch: int,
    tokens: int,
    device: str,
) -> Case:
    config = TrialConfig.model_validate(
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
                "optimizer": "adamw_8bit" if "8-bit AdamW" in name else "adamw",
            },
        }
    )
    return Case(config, found, tokens, 1, device)
