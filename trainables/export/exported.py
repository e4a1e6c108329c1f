"""The options of an export, and what it wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainables.export import merge_effect, verify


@dataclass(frozen=True)
class ExportOptions:
    """How to export. ``adapter``: the adapter alone. ``dtype``: of the weights; ``None`` for that of the result.

    ``gguf``: write a GGUF file of this type, one of ``gguf.TYPES``, with the script ``converter``. ``ollama``: write a
    Modelfile. ``force``: replace an existing export.
    """

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
    """What was written: ``bytes`` in total, weights of ``dtype``, which is ``None`` for an adapter alone.

    ``check``: how its outputs compare with the result's; ``change``: how merging changed the scores. ``None`` for what
    was not measured; ``notes`` say why.
    """

    folder: Path
    bytes: int
    dtype: str | None
    check: verify.Check | None = None
    change: merge_effect.ScoreChange | None = None
    notes: tuple[str, ...] = ()
