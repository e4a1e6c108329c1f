"""Which base model, and how it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, model_validator

from trainables.config.base import Frozen
from trainables.config.rope import Rope, written
from trainables.config.trained_model import Trained

Attention = Literal["auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3"]
Unsafe = Literal["remote_code", "pickle"]
Kernels = Literal["none", "auto", "liger", "unsloth"]


class ModelConfig(Frozen):
    """The base model: a known name or hub id (``hf:``, ``ms:``), or a local folder.

    ``attention`` and ``kernels`` ``auto`` take what is quickest where they run; the record says what ran. ``rope``
    scales positions. ``unsafe`` names what is refused unless it is: ``remote_code`` that comes with the model, weights
    as ``pickle``.
    ``start`` is what an earlier trial made of it, to go on from. ``fingerprint`` is the hash of the model's files,
    filled while planning: it, and not the path, is part of a trial's id.
    """

    name: str | None = None
    path: Path | None = None
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    attention: Attention = "auto"
    kernels: Kernels = "none"
    rope: Annotated[Rope | None, BeforeValidator(written)] = None
    unsafe: tuple[Unsafe, ...] = ()
    start: Trained | None = None
    fingerprint: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> ModelConfig:
        if (self.name is None) == (self.path is None):
            raise ValueError("give one of name and path")
        return self

    @property
    def label(self) -> str:
        """How the model is called in reports."""
        return self.name or (self.path.name if self.path else "")

    @property
    def runs_remote_code(self) -> bool:
        return "remote_code" in self.unsafe
