"""Adds the embedding rows that a model lacks for its tokenizer's tokens, once, in a copy in the cache."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from trainables.models.conversion import convert_model
from trainables.models.folder import ADDED_ROWS, fingerprint, read_json
from trainables.storage import cache
from trainables.storage.files import sha256


def with_all_embeddings(folder: Path) -> Path:
    """The model's folder, or, where rows are missing, a cached copy whose embedding has a row for each token."""
    missing = count_missing_rows(folder)
    if not missing:
        return folder
    key = sha256([fingerprint(folder), missing])
    return cache.entry("grown", key, lambda into: _grow(folder, into, missing))


def _grow(folder: Path, into: Path, missing: int) -> None:
    convert_model(folder, into)
    (into / ADDED_ROWS).write_text(json.dumps({"rows": missing}), encoding="utf-8")


def count_missing_rows(folder: Path) -> int:
    """How many rows the embedding lacks; 0 without a ``tokenizer.json``, which lists the tokens.

    Special tokens that the chat template doesn't use don't count: Gemma 3's smallest model has one for images, and no
    row for it.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        return 0
    status = file.stat()
    # Size and time are part of the cache's key only: a large tokenizer.json takes long to parse.
    needed = _required_rows(file, status.st_size, status.st_mtime_ns, _chat_template(folder))
    return max(0, needed - _embedding_rows(read_json(folder / "config.json")))


def _embedding_rows(config: dict[str, Any]) -> int:
    rows = (config.get("text_config") or config).get("vocab_size")
    return rows if isinstance(rows, int) else 2**63  # not stated: assume that no row is missing


@lru_cache(maxsize=16)
def _required_rows(file: Path, size: int, changed: int, template: str) -> int:
    """One more than the largest token id that data may contain; some tokenizers skip ids."""
    described = read_json(file)
    vocabulary = (described.get("model") or {}).get("vocab") or {}
    added = [
        token["id"]
        for token in described.get("added_tokens") or []
        if not token.get("special") or token["content"] in template
    ]
    # A mapping from tokens to ids or, in unigram models, a list in the order of ids.
    ids = vocabulary.values() if isinstance(vocabulary, dict) else [len(vocabulary) - 1]
    return 1 + max([*added, *ids], default=-1)


def _chat_template(folder: Path) -> str:
    texts = [file.read_text(encoding="utf-8") for file in folder.glob("chat_template.jinja")]
    settings = folder / "tokenizer_config.json"
    return "".join([*texts, str(read_json(settings).get("chat_template")) if settings.exists() else ""])
