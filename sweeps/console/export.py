"""What ``paretune export`` does and prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sweeps.runs.artifacts import BestTrials
from sweeps.runs.resolve import resolve
from sweeps.spec.byte_sizes import parse_bytes
from trainables.models.folder import ModelError

if TYPE_CHECKING:
    from trainables.export.exported import Exported, ExportOptions
    from trainables.export.model_card import ShareInterval

DTYPES = ("bfloat16", "float16", "float32")
MIN_SHARD_BYTES = 10**6


@dataclass(frozen=True)
class ExportRequest:
    """The command's arguments and options, not yet checked."""

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


class ExportEvents(Protocol):
    """What programs are told of an export, in place of what is printed for people."""

    def progress(self, what: str) -> None: ...
    def error(self, message: str, exit_code: int) -> None: ...
    def result(self, values: dict[str, Any]) -> None: ...


def export(
    request: ExportRequest,
    best_trials: BestTrials,
    interval: ShareInterval,
    events: ExportEvents | None = None,
) -> int:
    """Exports a model, prints the checks and then the folder; returns the exit code. With ``events`` programs get both.

    Raises ``ModelError`` before any work for what can't be exported as requested.
    """
    options = _options(request)
    from trainables.export import export as exporting
    from trainables.export import hub_upload
    from trainables.export.output_folder import ExportFailed

    if request.push is not None:
        hub_upload.check_repository(request.push)
    result = resolve(request.result, best_trials, request.trust)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)
        if events is not None:
            events.progress(text)

    url = None
    try:
        exported = exporting.export(result, request.out, options, say, interval)
        if events is None:
            _print_checks(exported)
        if request.push is not None:
            say(f"uploading to {request.push}")
            url = hub_upload.upload(exported.folder, request.push, request.public)
            say(f"uploaded: {url}")
    except ExportFailed as error:
        from trainables.system.redaction import redacted

        message = redacted(str(error))
        print(message, file=sys.stderr)
        if events is not None:
            events.error(message, 1)
        return 1
    if events is None:
        print(exported.folder)
    else:
        events.result(exported_json(exported, url))
    return 0


def exported_json(exported: Exported, url: str | None = None) -> dict[str, Any]:
    """What was written, and how it compares with the trained model; ``url`` of the upload."""
    from trainables.export import check_tables, merge_verdict

    return {
        "folder": str(exported.folder),
        "bytes": exported.bytes,
        "dtype": exported.dtype,  # null for an adapter alone
        "url": url,
        "checks": [
            {
                "sentence": check.sentence,
                "columns": list(check.columns),
                "rows": [list(row) for row in check.rows],
            }
            for check in check_tables.check_tables(exported)
        ],
        "verdict": list(merge_verdict.verdict_sentences(exported)),
        "notes": list(exported.notes),
    }


def _options(request: ExportRequest) -> ExportOptions:
    """The checked options. Raises ``ModelError`` for wrong ones, and for ``--gguf`` without a converter."""
    from trainables.export import gguf

    if request.dtype is not None and request.dtype not in DTYPES:
        raise ModelError(f"--dtype {request.dtype}: give one of {', '.join(DTYPES)}")
    if request.gguf is not None and request.gguf not in gguf.TYPES:
        raise ModelError(f"--gguf {request.gguf}: give one of {', '.join(gguf.TYPES)}")
    if request.public and request.push is None:
        raise ModelError("--public needs --push ORG/NAME")
    converter = gguf.find_converter(request.llama_cpp) if request.gguf else None
    from trainables.export.exported import ExportOptions

    return ExportOptions(
        adapter=request.adapter,
        dtype=request.dtype,
        shard_bytes=_shard_bytes(request.shard_size),
        verify=request.verify,
        force=request.force,
        gguf=request.gguf,
        converter=converter,
        ollama=request.ollama,
    )


def _shard_bytes(text: str) -> int:
    try:
        size = parse_bytes(text)
    except ValueError:
        raise ModelError(f"--shard-size {text}: not a size; write 5GB or 500MB") from None
    if size < MIN_SHARD_BYTES:
        raise ModelError(f"--shard-size {text}: must be at least 1MB; write 5GB or 500MB")
    return size


def _print_checks(exported: Exported) -> None:
    """Prints the comparisons that the model card has too."""
    from rich.table import Table

    from sweeps.console.guarded_console import GuardedConsole
    from trainables.export import check_tables, merge_verdict

    for check in check_tables.check_tables(exported):
        table = Table(*check.columns, box=None, pad_edge=False, header_style="bold")
        for row in check.rows:
            table.add_row(*row)
        print(check.sentence)
        GuardedConsole().print(table)
    for sentence in merge_verdict.verdict_sentences(exported):
        print(sentence)
    for note in exported.notes:
        print(f"note: {note}")
    kind = f"full weights, {exported.dtype}" if exported.dtype else "adapter only"
    print(f"{kind}, {exported.bytes / 2**20:,.1f} MiB")
