"""What an export was asked to do, and what it wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainables.export import (
    merge_effect,
    verify,
)


@dataclass(frozen=True)
class ExportOptions:
    """``dtype`` is the weights' own without one. ``gguf`` is a type of ``gguf.TYPES``, by ``converter``."""

    adapter: bool = False
    dtype: str | None = None
    shard_bytes: int = 5 * 10**9
    verify: bool = True
    force: bool = False
    gguf: str | None = None
    converter: Path | None = None
    ollama: bool = False


@dataclass(frozen=True)
class Exported:
    """What was written. ``check`` and ``change`` are ``None`` where nothing was compared; ``notes`` say why."""

    folder: Path
    bytes: int
    dtype: str | None
    check: verify.Check | None = None
    change: merge_effect.ScoreChange | None = None
    notes: tuple[str, ...] = ()
