"""From what people have on disk to rows: read, checked, hashed, and cut into training, validation and test.

The cut is by the hash of a row's prompt, so rows with the same prompt never part, and adding rows moves none.
The validation half steers a search; the test half gives the quality, once.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from trainables import commands, files
from trainables.config import DataConfig
from trainables.data.errors import DataError
from trainables.rows import Conversation


@dataclass(frozen=True)
class Data:
    """A data set, cut. ``exact``: each prompt has one right answer. ``sha256`` is the hash of every row."""

    name: str
    train: tuple[Conversation, ...]
    validation: tuple[Conversation, ...]
    test: tuple[Conversation, ...]
    exact: bool
    sha256: str


@lru_cache(maxsize=8)
def load(config: DataConfig) -> Data:
    """Reads and cuts the data that ``config`` names.

    Raises :class:`DataError` for a file that is missing, empty, unreadable or too small to hold rows out.
    """
    name, raw, exact = _source(config.train)
    rows = [_conversation(row, f"{name} row {number}") for number, row in enumerate(raw, start=1)]
    if not rows:
        raise DataError(f"{name} holds no rows; give a file with at least three")
    train, validation, test = cut(rows, config.eval_fraction, config.eval_rows)
    for part, size in (("training", len(train)), ("validation", len(validation)), ("test", len(test))):
        if not size:
            raise DataError(
                f"{name} has {len(rows)} rows and eval_fraction {config.eval_fraction} leaves none for the "
                f"{part} part; give more rows or another eval_fraction"
            )
    digest = files.sha256({"rows": [[list(row.prompt), row.answer] for row in rows], "exact": exact})
    return Data(name, train, validation, test, exact, digest)


def cut(
    rows: Iterable[Conversation], eval_fraction: float, eval_rows: int | None
) -> tuple[tuple[Conversation, ...], ...]:
    """(train, validation, test): a prompt whose hash falls below ``eval_fraction`` is held out.

    Held-out rows are taken in the order of their hash, so ``eval_rows`` keeps the same ones whatever the
    file's order; training rows keep the file's order.
    """
    train, halves = [], ([], [])  # type: ignore[var-annotated]
    for row in rows:
        key = row.key()
        if int(key[:12], 16) >= eval_fraction * 16**12:
            train.append(row)
        else:
            halves[int(key[12:16], 16) % 2].append((key, row))
    held_out = [
        tuple(row for _, row in sorted(half, key=lambda pair: (pair[0], pair[1].answer))[:eval_rows])
        for half in halves
    ]
    return tuple(train), held_out[0], held_out[1]


def _source(train: str) -> tuple[str, Iterable[dict[str, Any]], bool]:
    if train == commands.NAME:
        return train, commands.rows(), commands.EXACT
    path = Path(train)
    if not path.exists():
        raise DataError(f"no file {path}; give a path, or {commands.NAME!r} for the embedded data set")
    reader = READERS.get(path.suffix.lower())
    if path.is_dir() or reader is None:
        raise DataError(f"{path}: can't read this kind of file; known: {', '.join(READERS)}")
    return path.name, reader(path), False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # spreadsheets put a byte order mark first
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: {error}; save it as UTF-8") from error


def _read_json(path: Path) -> list[dict[str, Any]]:
    text = _text(path)
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list of rows, got {type(rows).__name__}")
    return rows


def _read_jsonl(path: Path) -> list[dict[str, Any]]:
    rows = []
    # Not splitlines(): a text may hold other line separators as they are.
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise DataError(f"{path}:{number}: not valid JSON: {error}") from error
    return rows


def _read_csv(path: Path) -> list[dict[str, Any]]:
    try:
        return list(csv.DictReader(io.StringIO(_text(path), newline="")))
    except csv.Error as error:
        raise DataError(f"{path}: not valid CSV: {error}") from error


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path).to_pylist()
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from error


READERS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}

EXPECTED = "prompt and completion (system if wanted), Alpaca's instruction, input and output, or messages"


def _conversation(row: Any, where: str) -> Conversation:
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object with {EXPECTED}, got {type(row).__name__}")
    if "messages" in row:
        return _from_messages(row["messages"], where)
    if "prompt" in row and "completion" in row:
        request, answer = row["prompt"], row["completion"]
    elif "instruction" in row and "output" in row:
        # The user's turn is instruction, newline, input; empty parts are left out.
        parts = [text for text in (row["instruction"], row.get("input")) if text]
        request = "\n".join(parts) if all(isinstance(text, str) for text in parts) else None
        answer = row["output"]
    else:
        raise DataError(f"{where}: found the columns {', '.join(map(str, row))}; expected {EXPECTED}")
    if not isinstance(request, str) or not isinstance(answer, str) or not request or not answer:
        raise DataError(f"{where}: the request and its answer must be texts that are not empty")
    system = row.get("system")
    if not isinstance(system, str | None):
        raise DataError(f"{where}: the system text must be a text")
    messages = [{"role": "system", "content": system}] if system else []
    return Conversation((*messages, {"role": "user", "content": request}), answer)


def _from_messages(messages: Any, where: str) -> Conversation:
    wrong = f"{where}: messages must be a list of role and content that ends with the assistant's answer"
    if not isinstance(messages, list) or not all(
        isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str)
        for m in messages
    ):
        raise DataError(wrong)
    if len(messages) < 2 or messages[-1]["role"] != "assistant" or not messages[-1]["content"]:
        raise DataError(wrong)
    prompt = tuple({"role": m["role"], "content": m["content"]} for m in messages[:-1])
    return Conversation(prompt, messages[-1]["content"])
