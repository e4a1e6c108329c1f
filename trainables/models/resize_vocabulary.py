"""Adds the embedding rows that a model lacks for its tokenizer's tokens, once, in a copy in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainables.models.conversion import convert_model
from trainables.models.folder import fingerprint, read_json
from trainables.models.vocabulary import NO_ROWS, MissingRows, missing_rows
from trainables.storage import cache
from trainables.storage.files import sha256

# The files that a tokenizer is made from; code of its own and the model's type can matter too.
TOKENIZER_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "spiece.model",
    "vocab.*",
    "merges.txt",
    "*.tiktoken",
    "*.py",
    "config.json",
)


def with_all_embeddings(folder: Path, unsafe: Sequence[str] = ()) -> Path:
    """The model's folder, or, where rows are missing, a cached copy whose embedding has a row for each token.

    ``unsafe``: what the spec trusts the model with. Raises ``ModelError`` if the copy can't be made.
    """
    missing = find_missing_rows(folder, unsafe)
    if not missing.rows:
        return folder
    key = sha256([fingerprint(folder), asdict(missing)])
    return cache.entry("grown", key, lambda into: convert_model(folder, into, unsafe))


def find_missing_rows(folder: Path, unsafe: Sequence[str] = ()) -> MissingRows:
    """What the model's embedding lacks; nothing for a tokenizer that can't be read, which is reported when it is used.

    Kept in the cache: to read a tokenizer takes seconds.
    """
    rows = embedding_rows(folder)
    if rows is None:
        return NO_ROWS
    files = sorted({file for pattern in TOKENIZER_FILES for file in folder.glob(pattern) if file.is_file()})
    versions = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    try:
        return cache.value(
            "vocabularies",
            sha256([versions, rows]),
            "missing.json",
            MissingRows,
            lambda: _missing_rows(folder, rows, "remote_code" in unsafe),
        )
    except Exception:  # a damaged file can raise anything
        return NO_ROWS


def embedding_rows(folder: Path) -> int | None:
    """How many rows a model's embedding has, by its config; ``None`` if that doesn't say."""
    config: dict[str, Any] = read_json(folder / "config.json")
    rows = (config.get("text_config") or config).get("vocab_size")
    return rows if isinstance(rows, int) else None


def _missing_rows(folder: Path, rows: int, remote_code: bool) -> MissingRows:
    # The tokenizer as it is used, and not its files: it adds the special tokens that its settings or its class name.
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=remote_code)
    return missing_rows(tokenizer, rows)
