"""A spec's values as a tree in which every node knows where it was written: merging loses no line number."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sweeps.spec import domain_parser
from sweeps.spec.key_path import KeyPath
from sweeps.spec.naming import distinguishing_tags, join_name, setting_tag

CellPath = tuple[str, ...]  # of a setting within a cell: ("train", "learning_rate")

# An entry that gives one of a group's keys overrides the whole group: `epochs` replaces the spec's `steps`.
ALTERNATIVES = ({"steps", "epochs"}, {"name", "path"})
# A list of these is a comparison; every other list is a value.
COMPARED_LISTS = ("model", "data")


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
    """A comparison, ``{compare: [...]}``: each option makes cells of its own."""

    options: tuple[Node, ...]
    origin: KeyPath

    def plain(self) -> Any:
        return {"compare": [option.plain() for option in self.options]}


Node = Leaf | Branch | Axis


def build_node(value: Any, origin: KeyPath, list_compares: bool = False) -> Node:
    """The tree of a value. With ``list_compares`` a list is short for ``{compare: [...]}``."""
    if isinstance(value, dict) and set(value) == {"compare"} and _is_comparison(value["compare"]):
        return _axis(value["compare"], (*origin, "compare"), origin)
    if list_compares and _is_comparison(value):
        return _axis(value, origin, origin)
    # A malformed comparison stays a leaf: only with its place in a cell can it be reported.
    if isinstance(value, dict) and "compare" not in value and not domain_parser.is_domain(value):
        children = {key: build_node(value[key], (*origin, key), key in COMPARED_LISTS) for key in value}
        return Branch(children, origin)
    return Leaf(value, origin)


def _is_comparison(options: Any) -> bool:
    """Whether ``options`` is a list of at least one value, none of them twice."""
    return (
        isinstance(options, list)
        and bool(options)
        and not any(option in options[:index] for index, option in enumerate(options))
    )


def _axis(options: list[Any], path: KeyPath, origin: KeyPath) -> Axis:
    nodes = (build_node(option, (*path, index)) for index, option in enumerate(options))
    return Axis(tuple(nodes), origin)


def merge(base: Node | None, override: Node | None) -> Node | None:
    """Lays ``override`` over ``base``: mappings are merged key by key, anything else is replaced."""
    if base is None or override is None:
        # A node is always truthy, so `or` picks the one that isn't None.
        return override or base
    # A mapping that only changes settings changes those of every compared option; one that names another
    # model or data set replaces the whole comparison.
    if isinstance(base, Axis) and isinstance(override, Branch) and not _names_source(override):
        return Axis(tuple(merge(option, override) or option for option in base.options), base.origin)
    # Conversely every option of a comparison inherits the settings of the one mapping below it.
    if isinstance(override, Axis) and isinstance(base, Branch):
        return Axis(tuple(merge(base, option) or option for option in override.options), override.origin)
    if not (isinstance(base, Branch) and isinstance(override, Branch)):
        return override
    replaced = {key for group in ALTERNATIVES if group & override.children.keys() for key in group}
    kept = base.without(*replaced).children
    # The base's keys come first, in their order: names of cells depend on it.
    keys = (*kept, *(key for key in override.children if key not in kept))
    merged = {key: merge(kept.get(key), override.get(key)) for key in keys}
    return Branch({key: child for key, child in merged.items() if child is not None}, base.origin)


def _names_source(override: Branch) -> bool:
    """Whether a model or data mapping says which model or data it is, and not only how it is used."""
    return bool({"name", "path", "train"} & override.children.keys())


@dataclass(frozen=True)
class AxisChoice:
    """The option that a variant takes of one axis: the axis's path and the option's part of a cell's name."""

    path: CellPath
    tag: str  # empty for what is switched off


def variants(node: Node, path: CellPath = ()) -> Iterator[tuple[Node, tuple[AxisChoice, ...]]]:
    """Every combination of the options of all axes in ``node``: the node without axes, and the options taken."""
    if isinstance(node, Leaf):
        yield node, ()
    elif isinstance(node, Axis):
        mixed = len({type(option) for option in node.options}) > 1
        tags = distinguishing_tags([_option_settings(option, path, mixed) for option in node.options])
        for option, tag in zip(node.options, tags, strict=True):
            # An option may hold axes itself.
            for variant, choices in variants(option, path):
                yield variant, (AxisChoice(path, tag), *choices)
    else:
        # One list of (variant, choices) per child, in the order of `children`; in the product the last child
        # varies fastest. The order of a sweep's cells follows from it.
        by_child = [list(variants(child, (*path, key))) for key, child in node.children.items()]
        for combination in itertools.product(*by_child):
            children = dict(zip(node.children, (variant for variant, _ in combination), strict=True))
            choices = tuple(choice for _, chosen in combination for choice in chosen)
            yield Branch(children, node.origin), choices


def variant_count(node: Node) -> int:
    """How many variants there are, without building any."""
    if isinstance(node, Leaf):
        return 1
    if isinstance(node, Axis):
        return sum(variant_count(option) for option in node.options)
    return math.prod(variant_count(child) for child in node.children.values())


def _option_settings(option: Node, path: CellPath, mixed: bool) -> dict[str, Any]:
    """The settings by which an option is told from the others.

    Where some options are mappings and others plain values (``mixed``), a mapping counts as one value, too: its
    settings have no counterpart in ``none``.
    """
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
    """The node at ``path``, or ``None`` if there is none."""
    for key in path:
        if not isinstance(node, Branch) or (child := node.get(key)) is None:
            return None
        node = child
    return node
