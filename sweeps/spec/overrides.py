"""``--set path=value``: changes a leaf of a spec without editing the file."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ruamel.yaml.error import YAMLError

from sweeps.spec.key_path import KeyPath, format_path, parse_path
from sweeps.spec.problems import Problem, SpecError
from sweeps.spec.source import Source, explain_yaml_error, parse_value
from trainables.system.suggestions import did_you_mean


def apply(source: Source, overrides: Sequence[str]) -> Source:
    """The spec with each ``path=value`` put in its place. Raises ``SpecError`` with all that can't be.

    >>> apply(source, ["methods[1].rank=8", "train.steps=2"])  # doctest: +SKIP
    """
    tree, overridden = copy.deepcopy(source.tree), set(source.overridden)
    problems: list[Problem] = []
    for override in overrides:
        try:
            keys, value = _read(override)
            _put(tree, keys, value)
            overridden.add(keys)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(*problems)
    return replace(
        source,
        tree=tree,
        overrides=(*source.overrides, *overrides),
        overridden=frozenset(overridden),
    )


def _read(override: str) -> tuple[KeyPath, Any]:
    path, equals, text = override.partition("=")
    keys = parse_path(path.strip())
    if not equals or keys is None:
        what = "can't be read. Write path=value, as in --set methods[1].rank=8"
        raise SpecError(Problem(f"--set {override}", "", what))
    try:
        return keys, parse_value(text)
    except YAMLError as error:
        raise SpecError(
            Problem(f"--set {path}", "", f"the value {text!r} is {explain_yaml_error(error)[1]}")
        ) from error


def _put(tree: dict[str, Any], keys: KeyPath, value: Any) -> None:
    """Sets the leaf; mappings on the way to it are made, entries of lists are not."""
    at: Any = tree
    for depth, key in enumerate(keys):
        _check(at, keys, depth)
        if depth == len(keys) - 1:
            at[key] = value
        elif isinstance(at, dict) and at.get(key) is None:
            # Only a name can follow: an index would need a list that isn't there.
            _check_makeable(keys, depth, at)
            at[key] = {}
        at = at[key]


def _check(at: Any, keys: KeyPath, depth: int) -> None:
    key, here = keys[depth], format_path(keys[:depth])
    if isinstance(at, dict) and isinstance(key, str):
        return
    if isinstance(at, list) and isinstance(key, int):
        if key < len(at):
            return
        raise _wrong(keys, f"{here} has {len(at)} entries, 0 to {len(at) - 1}")
    if isinstance(at, list):
        raise _wrong(keys, f"{here} is a list, so an index comes next, as in {here}[0]")
    if isinstance(at, dict):
        raise _wrong(keys, f"{here} is a mapping, not a list; it has {', '.join(at)}")
    raise _wrong(keys, f"{here} is a value, {at!r}; --set {here}=... changes it")


def _check_makeable(keys: KeyPath, depth: int, at: dict[str, Any]) -> None:
    if isinstance(keys[depth + 1], int):
        here = format_path(keys[:depth]) or "the spec"
        near = did_you_mean(keys[depth], at)
        raise _wrong(keys, f"{here} has no list {keys[depth]}; it has {', '.join(at)}{near}")


def _wrong(keys: KeyPath, what: str) -> SpecError:
    return SpecError(
        Problem(f"--set {format_path(keys)}", format_path(keys), f"no such place in the spec: {what}")
    )
