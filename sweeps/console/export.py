"""What ``paretune export`` does and says."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.runs.artifacts import Answers
from sweeps.runs.resolve import resolve
from sweeps.spec.byte_sizes import parse_bytes
from trainables.models.folder import ModelError

if TYPE_CHECKING:
    from trainables.export.exported import Exported, ExportOptions
    from trainables.export.model_card import ShareInterval

DTYPES = ("bfloat16", "float16", "float32")
LEAST_SHARD = 10**6


@dataclass(frozen=True)
class Asked:
    """The command's options as they were given."""

    result: str
    out: Path
    adapter: bool
    dtype: str | None
    shard_size: str
    verify: bool
    force: bool
    gguf: str | None
    llama_cpp: Path | None
    ollama: bool
    push: str | None
    public: bool
    trust: Sequence[str]


def export(asked: Asked, answers: Answers, interval: ShareInterval) -> int:
    """Exports, prints what came of it and the folder last; the exit code. Raises ``ModelError`` before any work."""
    from trainables.system import quiet

    quiet.silence()
    options = _options(asked)
    from trainables.export import export as exporting
    from trainables.export import hub_upload
    from trainables.export.output_folder import ExportFailed

    if asked.push is not None:
        hub_upload.check_repository(asked.push)
    result = resolve(asked.result, answers, asked.trust)
    try:
        found = exporting.export(result, asked.out, options, _say, interval)
        _show(found)
        if asked.push is not None:
            _say(f"uploading to {asked.push}")
            _say(f"uploaded: {hub_upload.upload(found.folder, asked.push, asked.public)}")
    except ExportFailed as error:
        from trainables.system.redaction import redacted

        print(redacted(str(error)), file=sys.stderr)
        return 1
    print(found.folder)
    return 0


def _options(asked: Asked) -> ExportOptions:
    """Raises ``ModelError`` for what can't be, and where ``--gguf`` has no converter."""
    from trainables.export import gguf

    if asked.dtype is not None and asked.dtype not in DTYPES:
        raise ModelError(f"--dtype {asked.dtype}: give {', '.join(DTYPES)}")
    if asked.gguf is not None and asked.gguf not in gguf.TYPES:
        raise ModelError(f"--gguf {asked.gguf}: give {', '.join(gguf.TYPES)}")
    if asked.public and asked.push is None:
        raise ModelError("--public says how to --push ORG/NAME, and goes with it")
    converter = gguf.find_converter(asked.llama_cpp) if asked.gguf else None
    from trainables.export.exported import ExportOptions

    return ExportOptions(
        adapter=asked.adapter,
        dtype=asked.dtype,
        shard_bytes=_shard(asked.shard_size),
        verify=asked.verify,
        force=asked.force,
        gguf=asked.gguf,
        converter=converter,
        ollama=asked.ollama,
    )


def _shard(text: str) -> int:
    try:
        found = parse_bytes(text)
    except ValueError:
        raise ModelError(f"--shard-size {text}: write 5GB or 500MB") from None
    if found < LEAST_SHARD:
        raise ModelError(f"--shard-size {text}: a shard has at least 1MB; write 5GB or 500MB")
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _show(found: Exported) -> None:
    """What was compared, as the card has it."""
    from rich.console import Console
    from rich.table import Table

    from trainables.export import check_tables

    for each in check_tables.check_tables(found):
        table = Table(*each.names, box=None, pad_edge=False, header_style="bold")
        for row in each.rows:
            table.add_row(*row)
        print(each.sentence)
        Console().print(table)
    for note in found.notes:
        print(f"note: {note}")
    kind = f"whole weights, {found.dtype}" if found.dtype else "the adapter alone"
    print(f"{kind}, {found.bytes / 2**20:,.1f} MiB")
