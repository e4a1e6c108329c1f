"""A spec's values as a tree that remembers where each was written, so that merging loses no line number."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sweeps.spec import domain_parser
from sweeps.spec.key_path import KeyPath
from sweeps.spec.naming import distinguishing_tags, join_name, setting_tag

CellPath = tuple[str, ...]  # within a cell: ("train", "learning_rate")

# An entry that gives one of these means it instead of the others, which it doesn't inherit.
ALTERNATIVES = ({"steps", "epochs"}, {"name", "path"})
# A list of these is compared; everywhere else a list is a value.
LISTED = ("model", "data")


@dataclass(frozen=True)
class Leaf:
    """A plain value or a search domain, as written."""

    value: Any
    origin: KeyPath

    def plain(self) -> Any:
        return self.value


@dataclass(frozen=True)
class Branch:
    """A mapping."""

    children: Mapping[str, Node]
    origin: KeyPath

    def plain(self) -> dict[str, Any]:
        return {key: child.plain() for key, child in self.children.items()}

    def get(self, key: str) -> Node | None:
        return self.children.get(key)

    def only(self, *keys: str) -> Branch:
        return Branch({key: child for key, child in self.children.items() if key in keys}, self.origin)

    def without(self, *keys: str) -> Branch:
        return Branch({key: child for key, child in self.children.items() if key not in keys}, self.origin)

    def adding(self, **children: Node) -> Branch:
        return Branch({**self.children, **children}, self.origin)


@dataclass(frozen=True)
class Axis:
    """``{compare: [...]}``: each option makes cells of its own."""

    options: tuple[Node, ...]
    origin: KeyPath

    def plain(self) -> Any:
        return {"compare": [option.plain() for option in self.options]}


Node = Leaf | Branch | Axis


def build_node(tree: Any, origin: KeyPath, listed: bool = False) -> Node:
    """The tree of a spec's value. ``listed``: a list here is short for ``{compare: [...]}``."""
    if isinstance(tree, dict) and set(tree) == {"compare"} and _comparable(tree["compare"]):
        return _axis(tree["compare"], (*origin, "compare"), origin)
    if listed and _comparable(tree):
        return _axis(tree, origin, origin)
    # A malformed comparison stays a leaf, and is reported as one.
    if isinstance(tree, dict) and "compare" not in tree and not domain_parser.is_domain(tree):
        return Branch({key: build_node(tree[key], (*origin, key), key in LISTED) for key in tree}, origin)
    return Leaf(tree, origin)


def _comparable(options: Any) -> bool:
    return (
        isinstance(options, list)
        and bool(options)
        and not any(o in options[:i] for i, o in enumerate(options))
    )


def _axis(options: list[Any], keys: KeyPath, origin: KeyPath) -> Axis:
    return Axis(tuple(build_node(option, (*keys, index)) for index, option in enumerate(options)), origin)


def merge(base: Node | None, over: Node | None) -> Node | None:
    """``over`` laid over ``base``: mappings are joined key by key, anything else is replaced."""
    if base is None or over is None:
        return over or base
    if isinstance(base, Axis) and isinstance(over, Branch) and not _names_something(over):
        return Axis(tuple(merge(option, over) or option for option in base.options), base.origin)
    if isinstance(over, Axis) and isinstance(base, Branch):
        return Axis(tuple(merge(base, option) or option for option in over.options), over.origin)
    if not (isinstance(base, Branch) and isinstance(over, Branch)):
        return over
    replaced = {key for group in ALTERNATIVES if group & over.children.keys() for key in group}
    kept = base.without(*replaced).children
    joined = {
        key: merge(kept.get(key), over.get(key))
        for key in (*kept, *(k for k in over.children if k not in kept))
    }
    return Branch({key: child for key, child in joined.items() if child is not None}, base.origin)


def _names_something(over: Branch) -> bool:
    """Whether a model or data mapping says which one it is, and not only how it is used."""
    return bool({"name", "path", "train"} & over.children.keys())


@dataclass(frozen=True)
class AxisChoice:
    """One option of one axis: where, and its part of a cell's name (empty for what is switched off)."""

    path: CellPath
    tag: str


def variants(node: Node, path: CellPath = ()) -> Iterator[tuple[Node, tuple[AxisChoice, ...]]]:
    """The node without axes, once for every combination of their options."""
    if isinstance(node, Leaf):
        yield node, ()
    elif isinstance(node, Axis):
        mixed = len({type(option) for option in node.options}) > 1
        tags = distinguishing_tags([_named(option, path, mixed) for option in node.options])
        for option, tag in zip(node.options, tags, strict=True):
            for variant, picks in variants(option, path):
                yield variant, (AxisChoice(path, tag), *picks)
    else:
        ways = [list(variants(child, (*path, key))) for key, child in node.children.items()]
        for combination in itertools.product(*ways):
            children = dict(zip(node.children, (variant for variant, _ in combination), strict=True))
            yield Branch(children, node.origin), tuple(pick for _, picks in combination for pick in picks)


def variant_count(node: Node) -> int:
    """How many variants there are, without making any."""
    if isinstance(node, Leaf):
        return 1
    if isinstance(node, Axis):
        return sum(variant_count(option) for option in node.options)
    return math.prod(variant_count(child) for child in node.children.values())


def _named(option: Node, path: CellPath, mixed: bool) -> dict[str, Any]:
    """What tells an option from others; beside plain values (``mixed``), a mapping is one, too."""
    plain = option.plain()
    if not isinstance(option, Branch):
        return {path[-1]: plain}
    return (
        {path[-1]: join_name(*(setting_tag(key, value) for key, value in plain.items()))} if mixed else plain
    )


def leaves(node: Node, path: CellPath = ()) -> Iterator[tuple[CellPath, Leaf]]:
    """Every leaf of a node without axes, with its path."""
    if isinstance(node, Leaf):
        yield path, node
    elif isinstance(node, Branch):
        for key, child in node.children.items():
            yield from leaves(child, (*path, key))


def node_at(node: Node, path: CellPath) -> Node | None:
    """What stands at ``path``, if anything does."""
    for key in path:
        if not isinstance(node, Branch) or (child := node.get(key)) is None:
            return None
        node = child
    return node
