"""Changes that a form makes to the text of a spec. Only the value that changed changes; comments, order, quotes stay.

The place of a value is that of ruamel's node, and only its characters are replaced. Every result is read again: a text
that does not say what it should is not returned.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from sweeps.spec import shorthand
from sweeps.spec.key_path import KeyPath, format_path
from sweeps.spec.problems import SpecError
from sweeps.spec.source import explain_yaml_error, parse, parse_value
from sweeps.ui.drafts import yaml_nodes
from sweeps.ui.drafts.yaml_nodes import Place, column, line_end, line_start, with_line
from sweeps.ui.drafts.yaml_values import written

ANY_FILE = Path("spec.yaml")


class NotEditable(ValueError):  # noqa: N818
    """A change that the form can't make to a text; the message says why."""


def set_value(text: str, path: KeyPath, value: Any, numbers: bool = False) -> str:
    """The text with a value set; sections and mappings that it needs are added. Raises :class:`NotEditable`.

    >>> set_value("train: {steps: 40}  # short\\n", ("train", "batch_size"), 8)
    'train: {steps: 40, batch_size: 8}  # short\\n'
    """
    flow = written(value, numbers)
    meant = parse_value(flow)
    return _checked(text, lambda tree: _set(tree, path, meant), lambda: _set_text(text, path, flow))


def set_written(text: str, path: KeyPath, flow: str) -> str:
    """The same for a value that was typed as YAML, which stays as it was typed. Raises :class:`NotEditable`."""
    flow = flow.strip()
    try:
        meant = parse_value(flow, path)
    except YAMLError as error:
        raise NotEditable(explain_yaml_error(error)[1]) from error
    if "\n" in flow or not flow:
        raise NotEditable("a value of the form is on one line; change longer ones in the text")
    return _checked(text, lambda tree: _set(tree, path, meant), lambda: _set_text(text, path, flow))


def add_entry(text: str, path: KeyPath, value: Any, numbers: bool = False) -> str:
    """The text with an entry added at the end of a list. Raises :class:`NotEditable`."""
    flow = written(value, numbers)
    meant = parse_value(flow)
    return _checked(text, lambda tree: _append(tree, path, meant), lambda: _append_text(text, path, flow))


def remove(text: str, path: KeyPath) -> str:
    """The text without a value and its key, or without an entry of a list. Raises :class:`NotEditable`.

    >>> remove("train:\\n  steps: 40  # short\\n  seed: 1\\n", ("train", "seed"))
    'train:\\n  steps: 40  # short\\n'
    """
    return _checked(text, lambda tree: _drop(tree, path), lambda: _remove_text(text, path))


def plain_tree(text: str) -> dict[str, Any]:
    """The values of a text; nothing where there are only comments. Raises ``SpecError``, ``YAMLError``."""
    return parse(ANY_FILE, text).tree if yaml_nodes.root(text) is not None else {}


def _checked(text: str, change: Callable[[dict[str, Any]], None], edit: Callable[[], str]) -> str:
    """The edited text, if it reads as the changed values do."""
    try:
        expected = copy.deepcopy(plain_tree(text))
    except YAMLError as error:
        line, what = explain_yaml_error(error)
        raise NotEditable(f"line {line}: {what}") from error
    except SpecError as error:
        raise NotEditable(str(error)) from error
    change(expected)
    changed = edit()
    try:
        same = plain_tree(changed) == expected
    except (SpecError, YAMLError):  # an alias to what was replaced
        same = False
    if not same:
        raise NotEditable("the form can't change this value without changing others; change it in the text")
    return changed


# What the values are after a change.


def _set(tree: dict[str, Any], path: KeyPath, value: Any) -> None:
    node: Any = tree
    for depth, key in enumerate(path[:-1]):
        child = _child(node, key, path[: depth + 1])
        if child is None or child == "":
            child = node[key] = {}
        if isinstance(child, str) and key in shorthand.SECTIONS:
            child = node[key] = shorthand.as_mapping(str(key), child, Path())
        node = child
    _child(node, path[-1], path)
    node[path[-1]] = value


def _append(tree: dict[str, Any], path: KeyPath, value: Any) -> None:
    entries = _value_at(tree, path)
    if entries is None:
        _set(tree, path, [value])
    elif isinstance(entries, list):
        entries.append(value)
    else:
        raise NotEditable(f"{format_path(path)} is no list; change it in the text")


def _drop(tree: dict[str, Any], path: KeyPath) -> None:
    parent = _value_at(tree, path[:-1])
    try:
        del parent[path[-1]]
    except (KeyError, IndexError, TypeError):
        raise NotEditable(f"{format_path(path)} is not written in the text") from None


def _value_at(tree: dict[str, Any], path: KeyPath) -> Any:
    node: Any = tree
    for depth, key in enumerate(path):
        if node is None:
            return None
        node = _child(node, key, path[: depth + 1])
    return node


def _child(node: Any, key: str | int, path: KeyPath) -> Any:
    """A value in a mapping or a list; ``None`` if a mapping lacks it."""
    if isinstance(node, dict) and isinstance(key, str):
        return node.get(key)
    if isinstance(node, list) and isinstance(key, int) and 0 <= key < len(node):
        return node[key]
    raise NotEditable(f"{format_path(path)} has no place in the text; change it there")


# What the text is after a change.


def _set_text(text: str, path: KeyPath, flow: str) -> str:
    place, depth = yaml_nodes.root(text), 0
    while place is not None and depth < len(path) and (child := place.child(path[depth])) is not None:
        place, depth = child, depth + 1
    rest = path[depth:]
    for key in reversed(rest[1:]):
        flow = f"{{{written(str(key))}: {flow}}}"
    if not rest:
        assert place is not None
        return _replaced(text, place, flow)
    key = str(rest[0])
    if place is None:
        return with_line(text, len(text.rstrip("\n")), f"{key}: {flow}")
    if place.node.id == "mapping":
        return _with_key(text, place, key, flow, at_root=depth == 0)
    if place.node.id == "scalar" and not place.is_empty and path[depth - 1] in shorthand.SECTIONS:
        first = next(iter(shorthand.as_mapping(str(path[depth - 1]), place.node.value, Path())))
        return _replaced(text, place, f"{{{first}: {text[place.start : place.end]}, {key}: {flow}}}")
    return _replaced(text, place, f"{{{written(key)}: {flow}}}")


def _replaced(text: str, place: Place, flow: str) -> str:
    if place.is_empty or (place.key is not None and not place.is_flow and place.node.id != "scalar"):
        # Nothing after the colon, or a block on the lines below: the value moves behind its key.
        return f"{text[: place.after_colon]} {flow}{text[place.end :]}"
    return text[: place.start] + flow + text[place.end :]


def _with_key(text: str, mapping: Place, key: str, flow: str, at_root: bool) -> str:
    entry = f"{written(key)}: {flow}"
    children = list(mapping.children())
    if mapping.is_flow:
        if not children:
            return text[: mapping.start] + f"{{{entry}}}" + text[mapping.end :]
        end = children[-1][1].end
        return f"{text[:end]}, {entry}{text[end:]}"
    if at_root and (index := _place_in_order(key, [str(name) for name, _ in children])) == 0:
        start = line_start(text, children[0][1].key.start_mark.index)
        return f"{text[:start]}{entry}\n{text[start:]}"
    last = children[index - 1][1] if at_root else children[-1][1]
    indent = " " * column(text, children[0][1].key.start_mark.index)
    return with_line(text, last.end, indent + entry)


def _place_in_order(key: str, names: list[str]) -> int:
    """Before which of the parts that there are a new part of the spec is written: specs have one usual order."""
    from sweeps.spec.schema import PARTS  # takes a second: the UI is ready before

    earlier = PARTS[: PARTS.index(key)] if key in PARTS else names
    return max((index + 1 for index, name in enumerate(names) if name in earlier), default=0)


def _append_text(text: str, path: KeyPath, flow: str) -> str:
    place = yaml_nodes.find(text, path)
    if place is None or place.is_empty or not place.node.value:
        return _set_text(text, path, f"[{flow}]")
    last = list(place.children())[-1][1]
    if place.is_flow:
        return f"{text[: last.end]}, {flow}{text[last.end :]}"
    indent = " " * column(text, place.start)
    return with_line(text, last.end, f"{indent}- {flow}")


def _remove_text(text: str, path: KeyPath) -> str:
    parent = yaml_nodes.find(text, path[:-1])
    children = list(parent.children()) if parent is not None else []
    keys = [key for key, _ in children]
    if parent is None or path[-1] not in keys:
        raise NotEditable(
            f"{format_path(path)} comes from an anchor (<<: *NAME); change it in the text there"
        )
    index = keys.index(path[-1])
    if len(children) == 1:
        return _emptied(text, path, parent)
    starts = [_start(parent, child) for _, child in children]
    end = children[index][1].end
    if parent.is_flow:
        if index + 1 < len(children):
            return text[: starts[index]] + text[starts[index + 1] :]
        return text[: children[index - 1][1].end] + text[end:]
    if text[line_start(text, starts[index]) : starts[index]].strip():
        # The first key of an entry stands behind its dash: the next one takes its place.
        return text[: starts[index]] + text[starts[index + 1] :]
    start = line_start(text, starts[index])
    return text[:start] + text[min(line_end(text, end) + 1, len(text)) :]


def _start(parent: Place, child: Place) -> int:
    """Where a child begins: its key, or the dash before it."""
    if child.key is not None:
        return int(child.key.start_mark.index)
    return child.start if parent.is_flow else child.text.rindex("-", 0, child.start)


def _emptied(text: str, path: KeyPath, parent: Place) -> str:
    """The text without the only child of a mapping or list, which is left empty."""
    if len(path) == 1:
        start = line_start(text, parent.start)
        return text[:start] + text[min(line_end(text, parent.end) + 1, len(text)) :]
    return _replaced(text, parent, "{}" if parent.node.id == "mapping" else "[]")
