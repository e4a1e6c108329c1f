"""``model: NAME`` and ``data: FILE``: short for ``{name: NAME}`` and ``{train: FILE}``, in a spec and its entries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeps.spec.source import Source

SECTIONS = ("model", "data")
ENTRIES = ("stages", "methods")


def expanded(source: Source) -> Source:
    """The spec with mappings in place of texts; lines and overrides stay, as those of the whole section."""
    tree = _with_mappings(source.tree, source.folder)
    for part in ENTRIES:
        entries = tree.get(part)
        if isinstance(entries, list):
            tree[part] = [
                _with_mappings(entry, source.folder) if isinstance(entry, dict) else entry
                for entry in entries
            ]
    return replace(source, tree=tree)


def _with_mappings(tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {key: as_mapping(key, value, folder) if key in SECTIONS else value for key, value in tree.items()}


def as_mapping(section: str, value: Any, folder: Path) -> Any:
    """A text, or each text of a comparison, as the mapping that it is short for; anything else as it is.

    ``folder``: which relative paths are relative to.

    >>> as_mapping("data", "rows.jsonl", Path())
    {'train': 'rows.jsonl'}
    >>> as_mapping("model", ["smollm2-135m", "./mine"], Path())
    [{'name': 'smollm2-135m'}, {'path': './mine'}]
    """
    if isinstance(value, list):
        return [as_mapping(section, item, folder) for item in value]
    if isinstance(value, dict) and set(value) == {"compare"}:
        return {"compare": as_mapping(section, value["compare"], folder)}
    if not isinstance(value, str):
        return value
    if section == "data":
        return {"train": value}
    return {"path" if _is_path(value, folder) else "name": value}


def _is_path(text: str, folder: Path) -> bool:
    if text.startswith((".", "/", "~")):
        return True
    try:
        return (folder / text).is_dir()
    except OSError:  # a text that no folder can be called
        return False
