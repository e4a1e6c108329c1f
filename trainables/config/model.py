"""Settings of the base model: which one, and how it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, model_validator

from trainables.config.base import Frozen
from trainables.config.rope import Rope, parse_rope
from trainables.config.trained_model import TrainedModel

Attention = Literal["auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3"]
Unsafe = Literal["remote_code", "pickle"]
Kernels = Literal["none", "auto", "liger", "unsloth"]


class ModelConfig(Frozen):
    """The base model: a known name or hub id (``hf:``, ``ms:``), or a local folder.

    ``auto`` as ``attention`` or ``kernels`` selects the fastest that works where the trial runs; the record says which
    ran. ``rope`` scales positions. ``unsafe`` allows what is refused otherwise: ``remote_code`` that comes with the
    model, and weights as ``pickle``. ``start``: a model that an earlier trial trained from this one, to continue from.
    ``fingerprint``: the hash of the model's files, set while planning; it is part of a trial's id, the path is not.
    """

    name: str | None = None
    path: Path | None = None
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    attention: Attention = "auto"
    kernels: Kernels = "none"
    rope: Annotated[Rope | None, BeforeValidator(parse_rope)] = None
    unsafe: tuple[Unsafe, ...] = ()
    start: TrainedModel | None = None
    fingerprint: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> ModelConfig:
        if (self.name is None) == (self.path is None):
            raise ValueError("give exactly one of name and path, such as name: smollm2-135m")
        return self

    @property
    def label(self) -> str:
        """The model's name in reports."""
        return self.name or (self.path.name if self.path else "")

    @property
    def runs_remote_code(self) -> bool:
        return "remote_code" in self.unsafe
