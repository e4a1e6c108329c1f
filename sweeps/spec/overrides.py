"""``--set path=value``: changes one value of a spec without editing the file."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from sweeps.spec.key_path import KeyPath, format_path, parse_path
from sweeps.spec.paths_from_here import from_here
from sweeps.spec.problems import Problem, SpecError
from sweeps.spec.shorthand import SECTIONS, as_mapping
from sweeps.spec.source import Source, explain_yaml_error, parse_value
from trainables.system.suggestions import did_you_mean


def apply(source: Source, overrides: Sequence[str]) -> Source:
    """The spec with each ``path=value`` applied. Raises ``SpecError`` that names every override that can't be.

    A path in a value is relative to the working folder; the source keeps it as an absolute one, so that the overrides
    mean the same in every folder.

    >>> apply(source, ["methods[1].rank=8", "train.steps=2"])  # doctest: +SKIP
    """
    # A deep copy, because `_set` changes nested mappings and the source that was read has to stay as it is.
    tree, overridden = copy.deepcopy(source.tree), set(source.overridden)
    problems: list[Problem] = []
    applied: list[str] = []
    here = Path.cwd()
    for override in overrides:
        try:
            path, value = _parse(override)
            if here.resolve() != source.folder and (absolute := from_here(value, path, here)) != value:
                value, override = absolute, f"{format_path(path)}={_as_text(absolute)}"
            _set(tree, path, value)
            overridden.add(path)
            applied.append(override)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(*problems)
    return replace(
        source,
        tree=tree,
        overrides=(*source.overrides, *applied),
        overridden=frozenset(overridden),
    )


def _parse(override: str) -> tuple[KeyPath, Any]:
    text, equals, value = override.partition("=")
    path = parse_path(text.strip())
    if not equals or path is None:
        what = "can't be read. Write path=value, as in --set methods[1].rank=8"
        raise SpecError(Problem(f"--set {override}", "", what))
    try:
        return path, _in_full(path, parse_value(value, path))
    except YAMLError as error:
        what = f"the value {value!r} is {explain_yaml_error(error)[1]}"
        raise SpecError(Problem(f"--set {text}", "", what)) from error


def _in_full(path: KeyPath, value: Any) -> Any:
    """A model's name and a file of data as the mappings that they are short for."""
    section = path[-1] if len(path) in (1, 3) and path[-1] in SECTIONS else None
    return as_mapping(str(section), value, Path.cwd()) if section else value


def _as_text(value: Any) -> str:
    """A value as ``--set`` takes it."""
    with suppress(YAMLError):
        if isinstance(value, str) and parse_value(value) == value:
            return value
    return json.dumps(value, ensure_ascii=False)


def _set(tree: dict[str, Any], path: KeyPath, value: Any) -> None:
    """Sets the value; creates missing mappings on the way to it, but no entries of lists."""
    node: Any = tree
    for depth, key in enumerate(path):
        _check_step(node, path, depth)
        if depth == len(path) - 1:
            node[key] = value
        # An empty section (`search:`) reads as null, and counts as missing.
        elif isinstance(node, dict) and node.get(key) is None:
            _check_creatable(node, path, depth)
            node[key] = {}
        node = node[key]


def _check_step(node: Any, path: KeyPath, depth: int) -> None:
    """Raises ``SpecError`` where the next step of ``path`` can't be taken from ``node``."""
    key, place = path[depth], format_path(path[:depth])
    if isinstance(node, dict) and isinstance(key, str):
        return
    if isinstance(node, list) and isinstance(key, int):
        if key < len(node):
            return
        raise _no_such_place(path, f"{place} has {len(node)} entries, 0 to {len(node) - 1}")
    if isinstance(node, list):
        raise _no_such_place(path, f"{place} is a list, so an index comes next, as in {place}[0]")
    if isinstance(node, dict):
        raise _no_such_place(path, f"{place} is a mapping, not a list; it has {', '.join(node)}")
    raise _no_such_place(path, f"{place} is a value, {node!r}; --set {place}=... changes it")


def _check_creatable(node: dict[str, Any], path: KeyPath, depth: int) -> None:
    """Raises ``SpecError`` where an index follows a missing key: that would need a list, which is not created."""
    if isinstance(path[depth + 1], int):
        place = format_path(path[:depth]) or "the spec"
        near = did_you_mean(path[depth], node)
        raise _no_such_place(path, f"{place} has no list {path[depth]}; it has {', '.join(node)}{near}")


def _no_such_place(path: KeyPath, what: str) -> SpecError:
    text = format_path(path)
    return SpecError(Problem(f"--set {text}", text, f"no such place in the spec: {what}"))
