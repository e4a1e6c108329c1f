"""Names that are safe as file names and say how things differ: ``sft-lora-rslora``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainables.storage import files

SAFE = re.compile(r"[A-Za-z0-9._-]+")
MAX_LENGTH = 120  # well below the 255 bytes of a file name: prefixes and suffixes are added


def is_safe(name: Any) -> bool:
    """Whether ``name`` can be a file name on any system."""
    return (
        isinstance(name, str)
        and bool(SAFE.fullmatch(name))
        and name.strip(".") != ""
        and len(name) <= MAX_LENGTH
    )


def safe_name(text: str) -> str:
    """``text`` with a dash for everything that a file name can't hold.

    >>> safe_name("Qwen/Qwen3 0.6B")
    'Qwen-Qwen3-0.6B'
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")


def join_name(*parts: str) -> str:
    """Joins the parts that aren't empty with dashes. A name that is too long ends in a hash of the whole."""
    name = "-".join(part for part in parts if part)
    # A dash and 8 hex digits replace the last 9 characters, so the shortened name has exactly MAX_LENGTH.
    return name if len(name) <= MAX_LENGTH else f"{name[: MAX_LENGTH - 9]}-{files.sha256(name)[:8]}"


def distinguishing_tags(trees: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each tree of settings, the shortest tag that tells it from the others: the settings in which they differ.

    >>> distinguishing_tags([{"kind": "lora"}, {"kind": "lora", "rslora": True}, {"kind": "lora", "rank": 4}])
    ['', 'rslora', 'rank4']
    """
    flat = [dict(_leaves(tree)) for tree in trees]
    tags = [""] * len(flat)
    # The label before the tags already names the kind. `fromkeys` drops repeats and keeps the order.
    for key in dict.fromkeys(key for leaves in flat for key in leaves if key != ("kind",)):
        if len({_identity(leaves, key) for leaves in flat}) == 1:
            continue
        # The last part of a path is enough, unless it is the same for both: a/model and b/model.
        for whole in (False, True):
            added = [setting_tag(key[-1], leaves.get(key), whole) for leaves in flat]
            longer = [join_name(*pair) for pair in zip(tags, added, strict=True)]
            # A setting joins the tags only if it tells more of the trees apart than the settings before it.
            if len(set(longer)) > len(set(tags)):
                tags = longer
                break
    # Different values can read the same (a/b and a-b): a hash of all settings tells them apart.
    return [
        join_name(text, files.sha256(repr(leaves))[:6]) if tags.count(text) > 1 else text
        for text, leaves in zip(tags, flat, strict=True)
    ]


def setting_tag(key: str, value: Any, whole: bool = False) -> str:
    """A setting as part of a name; empty for what is switched off. ``whole`` keeps all of a path.

    >>> setting_tag("rank", 8), setting_tag("rslora", True), setting_tag("init", "pissa"), setting_tag("dora", False)
    ('rank8', 'rslora', 'pissa', '')
    """
    if value is None or value is False:
        return ""
    if value is True:
        return safe_name(key)
    if isinstance(value, str):
        return safe_name(value if whole else value.rstrip("/").rpartition("/")[2])
    return safe_name(key + "-".join(_number_texts(value)))


def _number_texts(value: Any) -> Iterator[str]:
    """The values in a number, a list or a domain as texts: ``4``, ``8`` of ``{choice: [4, 8]}``. Of a place on this
    machine, the last part.
    """
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _number_texts(item)
    elif isinstance(value, str) and value.startswith("/"):
        yield value.rstrip("/").rpartition("/")[2]
    else:
        yield f"{value:g}" if isinstance(value, float) else str(value)


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        # A domain counts as one leaf; it is the only mapping whose values are lists.
        if isinstance(value, Mapping) and not any(isinstance(item, list) for item in value.values()):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _identity(leaves: Mapping[tuple[str, ...], Any], key: tuple[str, ...]) -> str:
    # 1 and True are equal in Python, and different in a spec.
    return repr(leaves[key]) if key in leaves else ""
