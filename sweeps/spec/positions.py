"""Where each key and value of a spec stands in its text: lines and columns, for editors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sweeps.spec import yaml_safety
from sweeps.spec.key_path import KeyPath


@dataclass(frozen=True)
class Span:
    """A part of a text: from ``line`` and ``column`` up to, not including, the end; all count from 1."""

    line: int
    column: int
    end_line: int
    end_column: int

    def cut(self, text: str) -> str:
        """The part itself.

        >>> Span(1, 7, 1, 11).cut("name: tiny")
        'tiny'
        """
        lines = text.splitlines(keepends=True)[self.line - 1 : self.end_line]
        if not lines:
            return ""
        # The last line first: in a span of one line, cutting its beginning would move its end.
        lines[-1] = lines[-1][: self.end_column - 1]
        lines[0] = lines[0][self.column - 1 :]
        return "".join(lines)


@dataclass(frozen=True)
class Place:
    """The spans of a value and of its key; an entry of a list has no key. ``scalar``: neither mapping nor list."""

    value: Span
    key: Span | None = None
    scalar: bool = True


def places(text: str) -> Mapping[KeyPath, Place]:
    """The place of each value by its path; none for a text that isn't YAML, or that stands for too much.

    >>> places("train: {steps: 8}")[("train", "steps")].value
    Span(line=1, column=16, end_line=1, end_column=17)
    """
    try:
        yaml_safety.check_yaml(text)
        root = YAML(typ="rt", pure=True).compose(text)
    except YAMLError:
        return {}
    return dict(_places(root, ()))


def error_column(error: YAMLError) -> int | None:
    """The column, counted from 1, at which YAML can't be read."""
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    return mark.column + 1 if mark is not None else None


def _places(node: Node | None, path: KeyPath) -> Iterator[tuple[KeyPath, Place]]:
    for step, key, value in _children(node):
        place = Place(_span(value), _span(key) if key is not None else None, isinstance(value, ScalarNode))
        yield (*path, step), place
        yield from _places(value, (*path, step))


def _children(node: Node | None) -> Iterator[tuple[Any, Node | None, Node]]:
    if isinstance(node, MappingNode):
        yield from ((str(key.value), key, value) for key, value in node.value)
    elif isinstance(node, SequenceNode):
        yield from ((index, None, value) for index, value in enumerate(node.value))


def _span(node: Node) -> Span:
    start, end = node.start_mark, node.end_mark
    return Span(start.line + 1, start.column + 1, end.line + 1, end.column + 1)
