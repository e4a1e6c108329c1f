"""Names that are safe as file names and say what tells one thing from the next: ``sft-lora-rslora``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainables.storage import files

SAFE = re.compile(r"[A-Za-z0-9._-]+")
MAX_LENGTH = 120  # well below a file name's 255 bytes, with room for what is put around it


def is_safe(name: Any) -> bool:
    """Whether ``name`` can be a file's name anywhere."""
    return (
        isinstance(name, str)
        and bool(SAFE.fullmatch(name))
        and name.strip(".") != ""
        and len(name) <= MAX_LENGTH
    )


def safe_name(text: str) -> str:
    """``text`` with everything that a file name can't hold as a dash.

    >>> safe("Qwen/Qwen3 0.6B")
    'Qwen-Qwen3-0.6B'
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")


def join_name(*parts: str) -> str:
    """The parts that aren't empty, with dashes between; cut short and told apart by a hash when too long."""
    name = "-".join(part for part in parts if part)
    return name if len(name) <= MAX_LENGTH else f"{name[: MAX_LENGTH - 9]}-{files.sha256(name)[:8]}"


def distinguishing_tags(trees: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each tree, as much of what only it has as it takes to tell it from the others.

    >>> tell_apart([{"kind": "lora"}, {"kind": "lora", "rslora": True}, {"kind": "lora", "rank": 4}])
    ['', 'rslora', 'rank4']
    """
    flat = [dict(_leaves(tree)) for tree in trees]
    tags = [""] * len(flat)
    for key in dict.fromkeys(key for leaves in flat for key in leaves if key != ("kind",)):
        if len({_identity(leaves, key) for leaves in flat}) == 1:
            continue
        # The last part of a path is enough, unless it is the same (a/model and b/model).
        for whole in (False, True):
            added = [setting_tag(key[-1], leaves.get(key), whole) for leaves in flat]
            longer = [join_name(*pair) for pair in zip(tags, added, strict=True)]
            if len(set(longer)) > len(set(tags)):
                tags = longer
                break
    # Two that read the same after all (a/b and a-b) get a hash of what they are.
    return [
        join_name(text, files.sha256(repr(leaves))[:6]) if tags.count(text) > 1 else text
        for text, leaves in zip(tags, flat, strict=True)
    ]


def setting_tag(leaf: str, value: Any, whole: bool = False) -> str:
    """How a leaf's value reads in a name; nothing for what is switched off. ``whole``: all of a path.

    >>> tag("rank", 8), tag("rslora", True), tag("init", "pissa"), tag("dora", False)
    ('rank8', 'rslora', 'pissa', '')
    """
    if value is None or value is False:
        return ""
    if value is True:
        return safe_name(leaf)
    if isinstance(value, str):
        return safe_name(value if whole else value.rstrip("/").rpartition("/")[2])
    return safe_name(leaf + "-".join(_numbers(value)))


def _numbers(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    else:
        yield f"{value:g}" if isinstance(value, float) else str(value)


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        # A domain is one leaf: its values are lists.
        if isinstance(value, Mapping) and not any(isinstance(item, list) for item in value.values()):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _identity(leaves: Mapping[tuple[str, ...], Any], key: tuple[str, ...]) -> str:
    # 1 and True are equal in Python, and different in a spec.
    return repr(leaves[key]) if key in leaves else ""
