"""Reads ``dataset_info.json``, LLaMA-Factory's registry of data sets: a name, its files, and how they are written.

It is read each time, so edits count at once. Keys that would run somebody's code (``script_url``) are refused. What
entries of earlier years have is read too: ``file_sha1`` (not compared, since line ends change it; the rows have a hash
of their own), empty texts for what is not there, and numbers and booleans as texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.data import formats
from trainables.data.errors import DataError
from trainables.data.formats.base import GivenColumns
from trainables.system.suggestions import did_you_mean, hinted

FILE = "dataset_info.json"
KEYS = (
    "file_name",
    "hf_hub_url",
    "ms_hub_url",
    "formatting",
    "ranking",
    "subset",
    "split",
    "revision",
    "folder",
    "num_samples",
    "columns",
    "tags",
    "file_sha1",
)
REFUSED = {
    "script_url": "would run code from the internet; download the data and give file_name",
    "om_hub_url": "is openMind's hub, which isn't supported; download the data and give file_name",
    "cloud_file_name": "is a cloud path, which isn't supported; download the data and give file_name",
}
MEDIA = ("images", "videos", "audios")


@dataclass(frozen=True)
class Entry:
    """One data set of a registry. ``columns``: part -> the column that is listed for it, ``None`` for no column."""

    name: str
    where: str  # file of the registry and name, for messages
    file_name: str | None = None
    hf_hub_url: str | None = None
    ms_hub_url: str | None = None
    formatting: str | None = None
    subset: str | None = None
    split: str | None = None
    revision: str | None = None
    folder: str | None = None
    num_samples: int | None = None
    ranking: bool = False
    columns: GivenColumns = field(default_factory=dict)
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
    entry = Entry(
        name=name,
        where=where,
        file_name=_text(values, "file_name", where),
        hf_hub_url=_text(values, "hf_hub_url", where),
        ms_hub_url=_text(values, "ms_hub_url", where),
        formatting=_formatting(values, where),
        subset=_text(values, "subset", where),
        split=_text(values, "split", where),
        revision=_text(values, "revision", where),
        folder=_text(values, "folder", where),
        num_samples=_number(values, "num_samples", where),
        ranking=_boolean(values, "ranking", where),
        columns=_columns(values, where),
        tags=_tags(values, where),
    )
    if not (entry.file_name or entry.hf_hub_url or entry.ms_hub_url):
        raise DataError(f"{where}: does not say where the rows are; add file_name, hf_hub_url or ms_hub_url")
    return entry


def _check_keys(values: Mapping[str, Any], where: str) -> None:
    for key in values:
        if key in REFUSED:
            raise DataError(f"{where}: {key} {REFUSED[key]}")
        if key not in KEYS:
            what = hinted(f"unknown key {key}", did_you_mean(key, KEYS), f"known: {', '.join(KEYS)}")
            raise DataError(f"{where}: {what}")


def _columns(values: Mapping[str, Any], where: str) -> dict[str, str | None]:
    given = _texts(values, "columns", where)
    for part in given:
        if part in MEDIA:
            raise DataError(f"{where}: columns.{part}: only texts can be trained on; leave it out")
    try:
        return formats.columns_by_part(given)
    except formats.InvalidColumns as error:
        raise DataError(f"{where}: columns.{error.part}: {error}") from None


def _tags(values: Mapping[str, Any], where: str) -> dict[str, str]:
    given = _texts(values, "tags", where)
    for tag in given:
        if tag not in formats.TAGS:
            known = f"known: {', '.join(formats.TAGS)}{did_you_mean(tag, formats.TAGS)}"
            raise DataError(f"{where}: unknown tags.{tag}; {known}")
    # Null or empty: the usual word of the format.
    return {tag: word for tag, word in given.items() if word}


def _texts(values: Mapping[str, Any], key: str, where: str) -> dict[str, str | None]:
    inner = values.get(key) or {}
    if not isinstance(inner, dict):
        raise DataError(f"{where}: {key} must be an object, got {type(inner).__name__}")
    for name, value in inner.items():
        if not isinstance(value, str | None):
            raise DataError(f"{where}: {key}.{name} must be a text, got {value!r}")
    return inner


def _number(values: Mapping[str, Any], key: str, where: str) -> int | None:
    value = values.get(key)
    if isinstance(value, str):
        value = int(value) if value.strip().isdecimal() else value or None
    # In Python true is an int, but it is no number of rows.
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise DataError(f"{where}: {key} must be a whole number of at least 1, got {value!r}")
    return value


def _boolean(values: Mapping[str, Any], key: str, where: str) -> bool:
    value = values.get(key)
    known = {None: False, "": False, "true": True, "false": False, True: True, False: False}
    word = value.strip().lower() if isinstance(value, str) else value
    if not isinstance(word, str | bool | None) or word not in known:
        raise DataError(f"{where}: {key} must be true or false, got {value!r}")
    return known[word]


def _formatting(values: Mapping[str, Any], where: str) -> str | None:
    value = _text(values, "formatting", where)
    known = ("alpaca", "sharegpt", "openai")
    if value is not None and value not in known:
        meant = did_you_mean(value, known)
        raise DataError(f"{where}: formatting {value!r} is unknown; known: {', '.join(known)}{meant}")
    return value


def _text(values: Mapping[str, Any], key: str, where: str) -> str | None:
    value = values.get(key)
    if not isinstance(value, str | None):
        raise DataError(f"{where}: {key} must be a text, got {value!r}")
    return value or None
