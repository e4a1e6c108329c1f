"""A tokenizer with more tokens than its model has embeddings for: rows are added for them, once, in the cache."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from trainables.models.conversion import convert
from trainables.models.folder import ADDED_ROWS, fingerprint, read_json
from trainables.storage import cache
from trainables.storage.files import sha256


def grown(folder: Path) -> Path:
    """The model's folder, or one beside it in the cache whose embedding has a row for each of its tokens."""
    missing = lacking(folder)
    if not missing:
        return folder
    key = sha256([fingerprint(folder), missing])
    return cache.entry("grown", key, lambda into: _grow(folder, into, missing))


def _grow(folder: Path, into: Path, missing: int) -> None:
    convert(folder, into)
    (into / ADDED_ROWS).write_text(json.dumps({"rows": missing}), encoding="utf-8")


def lacking(folder: Path) -> int:
    """How many rows it takes beyond those there are; 0 where the tokenizer's file doesn't tell (``tokenizer.json``).

    Special tokens that the chat template doesn't write are none of ours: Gemma 3's smallest model has one for images,
    and no row for it.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        return 0
    status = file.stat()
    needed = _needed(file, status.st_size, status.st_mtime_ns, _template(folder))
    return max(0, needed - _rows(read_json(folder / "config.json")))


def _rows(config: dict[str, Any]) -> int:
    found = (config.get("text_config") or config).get("vocab_size")
    return found if isinstance(found, int) else 2**63  # it doesn't say: nothing is lacking that we know of


@lru_cache(maxsize=16)
def _needed(file: Path, size: int, changed: int, template: str) -> int:
    """One more than the greatest id that a row of data may have; some tokenizers leave ids out."""
    described = read_json(file)
    vocabulary = (described.get("model") or {}).get("vocab") or {}
    added = [
        token["id"]
        for token in described.get("added_tokens") or []
        if not token.get("special") or token["content"] in template
    ]
    # A mapping from tokens to ids, or, for unigram models, a list by id.
    ids = vocabulary.values() if isinstance(vocabulary, dict) else [len(vocabulary) - 1]
    return 1 + max([*added, *ids], default=-1)


def _template(folder: Path) -> str:
    texts = [file.read_text(encoding="utf-8") for file in folder.glob("chat_template.jinja")]
    settings = folder / "tokenizer_config.json"
    return "".join([*texts, str(read_json(settings).get("chat_template")) if settings.exists() else ""])
