"""Where the values of a spec are in its text: the nodes of ruamel's composer, by path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

from sweeps.spec import yaml_safety
from sweeps.spec.key_path import KeyPath


@dataclass(frozen=True)
class Place:
    """A node in a text. ``key``: the node of its key; ``None`` for an entry of a list and the whole document."""

    text: str
    node: Any
    key: Any = None

    @property
    def start(self) -> int:
        return int(self.node.start_mark.index)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is written, as after ``search:``; a mark of such a node is that of what follows."""
        return self.node.id == "scalar" and self.node.value == "" and self.start == self.node.end_mark.index

    @property
    def end(self) -> int:
        """The end of the last character that belongs to the value: comments after it don't."""
        node = self.node
        if self.is_empty:
            return self.after_colon
        end = int(node.end_mark.index)
        if node.id == "scalar":
            return len(self.text[:end].rstrip("\n"))  # the end of a block scalar is the next line
        if self.is_flow:
            return end
        last = node.value[-1]
        return Place(self.text, last[1], last[0]).end if node.id == "mapping" else Place(self.text, last).end

    @property
    def after_colon(self) -> int:
        return self.text.index(":", self.key.end_mark.index) + 1 if self.key is not None else self.start

    @property
    def is_flow(self) -> bool:
        return bool(getattr(self.node, "flow_style", False))

    def children(self) -> Iterator[tuple[str | int, Place]]:
        """The places in a mapping or list, by key or index."""
        if self.node.id == "mapping":
            for key, value in self.node.value:
                yield str(key.value), Place(self.text, value, key)
        elif self.node.id == "sequence":
            for index, value in enumerate(self.node.value):
                yield index, Place(self.text, value)

    def child(self, key: str | int) -> Place | None:
        return dict(self.children()).get(key)


def root(text: str) -> Place | None:
    """The place of the whole document; ``None`` where there is nothing but comments. Raises ``YAMLError``."""
    yaml_safety.check_yaml(text)
    node = YAML(typ="rt").compose(text)
    return None if node is None else Place(text, node)


def find(text: str, path: KeyPath) -> Place | None:
    """The place of a value; ``None`` where it isn't written. Raises ``YAMLError``."""
    place = root(text)
    for key in path:
        if place is None:
            return None
        place = place.child(key)
    return place


def line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def line_end(text: str, index: int) -> int:
    """The end of a line, before its line break."""
    end = text.find("\n", index)
    return len(text) if end < 0 else end


def column(text: str, index: int) -> int:
    return index - line_start(text, index)


def with_line(text: str, end: int, line: str) -> str:
    """The text with a line after the one that ``end`` is in."""
    end = line_end(text, end)
    return f"{text[:end]}\n{line}{text[end:]}" if text[:end].strip() else f"{text}{line}\n"
