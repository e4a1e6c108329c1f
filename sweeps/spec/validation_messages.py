"""Says in our own words what pydantic found wrong: what was given, what is allowed, and where it stands."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from sweeps.spec.domain_parser import DOMAIN_SYNTAX, Domain, Log, Uniform
from sweeps.spec.key_path import KeyPath
from sweeps.spec.problems import Problem, format_value, unknown_key_message
from sweeps.spec.source import Source
from sweeps.spec.tree import Branch, CellPath, Leaf, Node, node_at
from trainables.system.suggestions import did_you_mean

# Filled while planning, never written by people.
FILLED_BY_PLANNING = {"fingerprint", "sha256", "start"}
PLAIN = {bool: "true or false", int: "a whole number", float: "a number", dict: "a mapping"}


@dataclass(frozen=True)
class ErrorTranslator:
    """Turns pydantic's errors about one class into problems of one spec.

    ``extra``: keys that a class has in the spec beside its fields; ``moved``: where else a key stands.
    """

    source: Source
    extra: Mapping[type[BaseModel], tuple[str, ...]] = field(default_factory=dict)
    moved: Mapping[str, str] = field(default_factory=dict)

    def problems(
        self,
        error: ValidationError,
        cls: type[BaseModel],
        node: Branch,
        space: Mapping[CellPath, Domain] | None = None,
    ) -> Iterator[tuple[CellPath, Problem]]:
        """Each error as a problem, with its place in ``node``; ``space`` holds the node's domains."""
        seen = set()
        for details in error.errors(include_url=False):
            site = _Site.of(cls, node, details["loc"])
            # A leaf of several types fails once for each of them.
            if site.place in seen:
                continue
            seen.add(site.place)
            what = self._words(site, dict(details), space or {})
            yield site.place, self.source.problem(origin_of(node, site.place), what)

    def unknown(self, owner: type[BaseModel], key: str) -> str:
        """The message for a key that ``owner`` doesn't have."""
        known = [
            *(name for name in owner.model_fields if name not in FILLED_BY_PLANNING),
            *self.extra.get(owner, ()),
        ]
        return unknown_key_message(key, known, self.moved)

    def _words(self, site: _Site, details: dict[str, Any], space: Mapping[CellPath, Domain]) -> str:
        kind = details["type"]
        if kind == "value_error":
            return str(details["ctx"]["error"])
        if kind == "extra_forbidden":
            return self.unknown(site.owner, site.name)
        assert site.field is not None
        if kind == "missing":
            return f"not given. Give {allowed(site.field)}"
        return _not_allowed(site.field, details["input"], site.node, space.get(site.place))


@dataclass(frozen=True)
class _Site:
    """Where an error stands: its place in a cell, the class and field it is about, and what was written."""

    place: CellPath
    owner: type[BaseModel]
    node: Node | None

    @property
    def name(self) -> str:
        return self.place[-1] if self.place else ""

    @property
    def field(self) -> FieldInfo | None:
        return self.owner.model_fields.get(self.name)

    @classmethod
    def of(cls, owner: type[BaseModel], node: Branch, location: tuple[int | str, ...]) -> _Site:
        site = cls((), owner, node)
        for step in location:
            if not isinstance(site.node, Branch) or not isinstance(step, str):
                break
            # A union's location names the arm it took, too: ("method", "lora", "rank").
            if step not in site.node.children and step == kind_of(site.node):
                continue
            inner = site._inside() if site.place else owner
            site = cls((*site.place, step), inner, site.node.get(step))
        return site

    def _inside(self) -> type[BaseModel]:
        classes = config_classes(self.field.annotation) if self.field else {}
        kind = kind_of(self.node) if isinstance(self.node, Branch) else None
        return classes.get(kind or "") or next(iter(classes.values()), self.owner)


def origin_of(node: Node, place: CellPath) -> KeyPath:
    """Where ``place`` was written, or would be, were it there."""
    for end in range(len(place), -1, -1):
        if (found := node_at(node, place[:end])) is not None:
            return (*found.origin, *place[end:])
    return place


def kind_of(node: Branch) -> str | None:
    kind = node.get("kind")
    return kind.value if isinstance(kind, Leaf) and isinstance(kind.value, str) else None


def config_classes(annotation: Any) -> dict[str, type[BaseModel]]:
    """The config classes in a type, by their ``kind``: the arms of a union, or the one class.

    >>> from trainables.methods import Method
    >>> list(classes_of(Method))
    ['full', 'freeze', 'lora', 'qlora']
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        kind = annotation.model_fields.get("kind")
        return {str(kind.default) if kind else annotation.__name__: annotation}
    return {kind: cls for arm in get_args(annotation) for kind, cls in config_classes(arm).items()}


def allowed(about: FieldInfo) -> str:
    """What a field takes, in words: ``a whole number, at least 1``."""
    return ", ".join([_type(about.annotation), *_bounds(about.metadata)])


def _type(annotation: Any) -> str:
    arms = get_args(annotation)
    if get_origin(annotation) is Literal:
        return f"one of {', '.join(map(format_value, arms))}" if len(arms) > 1 else format_value(arms[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_type(arm) for arm in arms if arm is not type(None))
    if get_origin(annotation) is Annotated:
        return ", ".join([_type(arms[0]), *_bounds(arms[1:])])
    if get_origin(annotation) in (tuple, list):
        return "a list of texts" if arms[0] is str else f"a list, each {_type(arms[0])}"
    if config_classes(annotation):
        return "a mapping"
    return PLAIN.get(annotation, "a text")


def _bounds(metadata: Any) -> Iterator[str]:
    names = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    for constraint in metadata:
        for bound, words in names.items():
            if (limit := getattr(constraint, bound, None)) is not None:
                yield f"{words} {limit}"


def _not_allowed(about: FieldInfo, given: Any, node: Node | None, domain: Domain | None) -> str:
    takes = allowed(about)
    if isinstance(domain, Log | Uniform) and takes.startswith("a whole number"):
        kind = "log" if isinstance(domain, Log) else "uniform"
        ends = f"[{domain.low:g}, {domain.high:g}]"
        log = ", log: true" if kind == "log" else ""
        return f"{kind} gives fractions; allowed: {takes}. Write {{int: {ends}{log}}}"
    if domain is not None:
        return f"{domain} holds {format_value(given)}; allowed: {takes}{_near(about, given)}"
    if isinstance(node, Leaf):
        given = node.value
    elif isinstance(node, Branch):
        given = node.plain()
    hint = (
        f". To search it, write {DOMAIN_SYNTAX}" if isinstance(given, dict) and takes != "a mapping" else ""
    )
    return f"got {_quoted(given, takes)}; allowed: {takes}{hint}{_near(about, given)}"


def _quoted(given: Any, takes: str) -> str:
    """``"8"`` in quotes where a number is needed: unquoted it would look right."""
    return f'the text "{given}"' if isinstance(given, str) and "one of" not in takes else format_value(given)


def _near(about: FieldInfo, given: Any) -> str:
    names = [value for value in _literals(about.annotation) if isinstance(value, str)]
    return did_you_mean(given, names) if isinstance(given, str) else ""


def _literals(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for arm in get_args(annotation):
            yield from _literals(arm)
