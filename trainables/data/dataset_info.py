"""Reads ``dataset_info.json``, LLaMA-Factory's registry of data sets: a name, its files, and how they are written.

It is read each time, so edits count at once. Keys that would run somebody's code (``script_url``) are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.data.errors import DataError
from trainables.system.suggestions import did_you_mean

FILE = "dataset_info.json"
KEYS = (
    "file_name",
    "hf_hub_url",
    "ms_hub_url",
    "formatting",
    "ranking",
    "subset",
    "split",
    "folder",
    "num_samples",
    "columns",
    "tags",
)
REFUSED = {
    "script_url": "would run code from the internet; download the data and give file_name",
    "om_hub_url": "is openMind's hub, which isn't supported; download the data and give file_name",
    "cloud_file_name": "is a cloud path, which isn't supported; download the data and give file_name",
}
PARTS = (
    "prompt",
    "query",
    "response",
    "history",
    "messages",
    "system",
    "tools",
    "chosen",
    "rejected",
    "kto_tag",
    "text",
)
MEDIA = ("images", "videos", "audios")


@dataclass(frozen=True)
class Entry:
    """One data set of a registry. ``columns``: LLaMA-Factory's name of a part -> the column that is listed for it."""

    name: str
    where: str  # file of the registry and name, for messages
    file_name: str | None = None
    hf_hub_url: str | None = None
    ms_hub_url: str | None = None
    formatting: str | None = None
    subset: str | None = None
    split: str | None = None
    folder: str | None = None
    num_samples: int | None = None
    ranking: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def read_registry(folder: Path) -> dict[str, Any]:
    """The registry of a folder, unchecked; empty without one. Raises :class:`DataError` if it is no JSON object."""
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        # Some editors put a byte order mark before JSON, which json.loads refuses.
        registry = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: can't be read: {error}; it must be a JSON object of data sets") from error
    if not isinstance(registry, dict):
        raise DataError(f"{path}: expected an object of data sets, got {type(registry).__name__}")
    return registry


def find_entry(folder: Path, name: str) -> Entry | None:
    """The checked entry of a data set; ``None`` if the folder's registry has none. Raises :class:`DataError`."""
    registry = read_registry(folder)
    if name not in registry:
        return None
    where = f"{folder / FILE} {name}"
    values = registry[name]
    if not isinstance(values, dict):
        raise DataError(f"{where}: expected an object, got {type(values).__name__}")
    _check_keys(values, where)
    # A registry may write null for a part that has no column.
    columns = {part: column for part, column in (values.get("columns") or {}).items() if column is not None}
    entry = Entry(
        name=name,
        where=where,
        file_name=_text(values, "file_name", where),
        hf_hub_url=_text(values, "hf_hub_url", where),
        ms_hub_url=_text(values, "ms_hub_url", where),
        formatting=_formatting(values, where),
        subset=_text(values, "subset", where),
        split=_text(values, "split", where),
        folder=_text(values, "folder", where),
        num_samples=values.get("num_samples"),
        ranking=bool(values.get("ranking", False)),
        columns=columns,
        tags=dict(values.get("tags") or {}),
    )
    if not (entry.file_name or entry.hf_hub_url or entry.ms_hub_url):
        raise DataError(f"{where}: does not say where the rows are; add file_name, hf_hub_url or ms_hub_url")
    return entry


def _check_keys(values: Mapping[str, Any], where: str) -> None:
    for key in values:
        if key in REFUSED:
            raise DataError(f"{where}: {key} {REFUSED[key]}")
        if key not in KEYS:
            raise DataError(f"{where}: unknown key {key}; known: {', '.join(KEYS)}{did_you_mean(key, KEYS)}")
    for part, known in (("columns", PARTS), ("tags", TAGS)):
        inner = values.get(part) or {}
        if not isinstance(inner, dict):
            raise DataError(f"{where}: {part} must be an object, got {type(inner).__name__}")
        for key, value in inner.items():
            if key in MEDIA:
                raise DataError(f"{where}: {part}.{key}: only texts can be trained on; leave it out")
            if key not in known:
                raise DataError(
                    f"{where}: unknown {part}.{key}; known: {', '.join(known)}{did_you_mean(key, known)}"
                )
            if not isinstance(value, str | None):
                raise DataError(f"{where}: {part}.{key} must be a text, got {value!r}")
    count = values.get("num_samples")
    # In Python true is an int, but it is no number of rows.
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise DataError(f"{where}: num_samples must be a whole number of at least 1, got {count!r}")


def _formatting(values: Mapping[str, Any], where: str) -> str | None:
    value = values.get("formatting")
    known = ("alpaca", "sharegpt", "openai")
    if value is not None and value not in known:
        raise DataError(f"{where}: formatting {value!r} is unknown; known: {', '.join(known)}")
    return value


def _text(values: Mapping[str, Any], key: str, where: str) -> str | None:
    value = values.get(key)
    if not isinstance(value, str | None):
        raise DataError(f"{where}: {key} must be a text, got {value!r}")
    return value or None


TAGS = (
    "role_tag",
    "content_tag",
    "user_tag",
    "assistant_tag",
    "observation_tag",
    "function_tag",
    "system_tag",
)
