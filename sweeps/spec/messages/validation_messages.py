"""Translates pydantic's validation errors into messages about a spec: what it says, what is allowed, and where."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from sweeps.spec.domain_parser import Domain, Log, Uniform
from sweeps.spec.foreign_keys import FOREIGN_KEYS, foreign_value
from sweeps.spec.key_path import KeyPath
from sweeps.spec.messages.advice import domain_advice, list_advice, value_advice
from sweeps.spec.messages.allowed_values import config_classes, describe_allowed
from sweeps.spec.messages.list_entries import entry_message, entry_node
from sweeps.spec.problems import Problem, format_value, reads_as_other, refusal, unknown_key_message
from sweeps.spec.source import Source
from sweeps.spec.tree import Branch, CellPath, Leaf, Node, node_at
from trainables.config.base import fields_by_key
from trainables.methods.derived_class import FILLED
from trainables.methods.own_code import is_own_kind
from trainables.methods.own_method import OWN, known_class
from trainables.system.suggestions import Proposal, did_you_mean, message_of

FILLED_BY_PLANNING = {"fingerprint", "sha256", "start", "planned_sets"}  # fields that people can't write
# What to write for a section that is missing, or is no mapping.
EXAMPLES = {
    "model": "{name: smollm2-135m}",
    "data": "{train: my.jsonl}",
    "data.train": "my.jsonl",
    "train": "{steps: 100}",
    "train.learning_rate": "{log: [1e-5, 1e-3]}",
    "search": "{trials: 8}",
    "finalists": "{seeds: 3}",
    "resources": "{cpus: 2}",
    "tracking": "{wandb: off}",
    "report": "{margin: 0.02}",
    "stage.reward": "commands",
}
OFF = ("none", "no", "false", "disabled")
# pydantic's names of types, of which a union's member is a step in the place of an error; and those of mappings.
UNION_MEMBER = re.compile(r".+\[.*\]|str|int|float|bool|constrained-\w+")
MAPPINGS = ("dict[", "function-")
# What an item of a mapping has to be, by the beginning of pydantic's name of the error.
ITEM_TYPES = {
    "float": "a number",
    "finite": "a finite number",
    "int": "a whole number",
    "bool": "true or false",
}


@dataclass(frozen=True)
class ErrorTranslator:
    """Translates pydantic's errors about a config class into problems of one spec.

    ``extra_keys``: keys that a class has in a spec beside its fields. ``elsewhere``: in which part of a spec a key
    belongs, for keys in the wrong part.
    """

    source: Source
    extra_keys: Mapping[type[BaseModel], tuple[str, ...]] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    def problems(
        self,
        error: ValidationError,
        cls: type[BaseModel],
        node: Branch,
        space: Mapping[CellPath, Domain] | None = None,
    ) -> Iterator[tuple[CellPath, Problem]]:
        """Each error as a problem, with its path in ``node``. ``space`` holds the domains of searched leaves."""
        seen = set()
        errors = error.errors(include_url=False)
        sites = [_ErrorSite.locate(cls, node, details["loc"]) for details in errors]
        for site, details in zip(sites, errors, strict=True):
            # A field of several types yields an error for each of them. Of a mapping, what is wrong in it counts.
            if site.path in seen or (site.is_of_no_mapping and any(each.is_within(site) for each in sites)):
                continue
            seen.add(site.path)
            what = self._message(site, dict(details), space or {})
            yield site.path, self.source.problem(site.origin or origin_of(node, site.path), what)

    def unknown_key(self, owner: type[BaseModel], key: str) -> str:
        """The message for a key that ``owner`` does not have."""
        kind = owner.model_fields.get("kind")
        own = kind is not None and is_own_kind(kind.default)
        if kind is not None and FOREIGN_KEYS.get(key, "").endswith("[].kind"):
            return "unknown key; kind says that already. Leave it out"
        others = re.fullmatch(r"(?:methods|stages)\[\]\.\w+ \((.*)\)", self.elsewhere.get(key, ""))
        if kind is not None and others is not None and not own and key not in FILLED_BY_PLANNING:
            kinds = others[1].split(", ")
            have = f"{' and '.join(kinds)} {'have it' if len(kinds) > 1 else 'has it'}"
            return f"{kind.default} has no {key}. {have}: write kind: {kinds[0]}, or leave {key} out"
        if own:  # whose options may be called anything
            fields = [key for key in fields_by_key(owner) if key not in FILLED]
            return unknown_key_message(key, [*fields, *self.extra_keys.get(owner, ())])
        fields = [key for key in fields_by_key(owner) if key not in FILLED_BY_PLANNING]
        return unknown_key_message(key, [*fields, *self.extra_keys.get(owner, ())], self.elsewhere)

    def _message(self, site: _ErrorSite, details: dict[str, Any], space: Mapping[CellPath, Domain]) -> str:
        kind = details["type"]
        if kind == "value_error":  # raised by a validator of ours, in our words
            return message_of(details["ctx"]["error"])
        if site.origin and (what := entry_message(site, kind, details["input"])):
            return what
        if kind == "extra_forbidden":
            return self.unknown_key(site.owner, site.name)
        if site.field is None:  # an item of a mapping
            allowed = next((words for start, words in ITEM_TYPES.items() if kind.startswith(start)), "a text")
            return f"got {format_value(details['input'])}; allowed: {allowed}"
        if kind == "missing":
            example = EXAMPLES.get(".".join(site.path))
            what = f"Write {site.name}: {example}" if example else f"Give {describe_allowed(site.field)}"
            return f"not given. {what}"
        return _not_allowed(site, details["input"], space.get(site.path))


@dataclass(frozen=True)
class _ErrorSite:
    """Where an error is: its path in a cell, the class whose field it is about, and the node there, if any."""

    path: CellPath
    owner: type[BaseModel]
    node: Node | None
    origin: KeyPath = ()  # within an entry of a list, which is no node of the tree
    list_name: str = ""  # of that list
    kinds: tuple[str, ...] = ()  # of an entry that has one of several, which is pydantic's next step
    is_of_no_mapping: bool = False  # whether a mapping is there, and the error is that it isn't another type

    @property
    def name(self) -> str:
        return self.path[-1] if self.path else ""

    @property
    def field(self) -> FieldInfo | None:
        return fields_by_key(self.owner).get(self.name)

    def is_within(self, other: _ErrorSite) -> bool:
        return len(self.path) > len(other.path) and self.path[: len(other.path)] == other.path

    @classmethod
    def locate(cls, owner: type[BaseModel], node: Branch, location: tuple[int | str, ...]) -> _ErrorSite:
        """Follows pydantic's ``location`` through the config classes and the tree at the same time."""
        site = cls((), owner, node)
        for step in location:
            if (entry := site._entry(step)) is not None:
                site = entry
                continue
            if site.origin and isinstance(site.node, Branch) and step == site._union_tag:
                site = replace(site, kinds=())
                continue
            # Items of a list, and the types of a union of plain values, are no nodes of the tree.
            if not isinstance(site.node, Branch) or not isinstance(step, str):
                break
            # For a union of classes pydantic's location names the kind as well: ("method", "lora", "rank").
            if step not in site.node.children and step in (kind_of(site.node), OWN):
                continue
            # For a union of other types it names the type: ("eval", "dict[str,...]", "mine").
            if site.path and step not in site.node.children and UNION_MEMBER.fullmatch(step):
                if step.startswith(MAPPINGS):
                    continue
                return replace(site, is_of_no_mapping=True)
            inner = site._inner_class() if site.path else owner
            origin = (*site.origin, step) if site.origin else ()
            site = cls((*site.path, step), inner, site.node.get(step), origin, site.list_name)
        return site

    def _entry(self, step: int | str) -> _ErrorSite | None:
        """The site of an entry of the list of mappings that is at this site."""
        classes = config_classes(self.field.annotation) if self.field else {}
        listed = self.node.value if isinstance(self.node, Leaf) else None
        if not classes or not isinstance(step, int) or not isinstance(listed, list) or step >= len(listed):
            return None
        origin = (*(self.origin or self.node.origin), step)  # type: ignore[union-attr]
        node = entry_node(listed[step], origin)
        kind = kind_of(node) if isinstance(node, Branch) else None
        owner = classes.get(kind or "") or next(iter(classes.values()))
        return _ErrorSite(
            (*self.path, str(step)),
            owner,
            node,
            origin,
            self.name,
            tuple(classes) if len(classes) > 1 else (),
        )

    @property
    def _union_tag(self) -> str | None:
        """The step by which pydantic names the class of an entry: once, also where a setting is called the same."""
        return kind_of(self.node) if self.kinds and isinstance(self.node, Branch) else None

    def _inner_class(self) -> type[BaseModel]:
        """The config class of the mapping at this site: of a union, the one of its ``kind``."""
        classes = config_classes(self.field.annotation) if self.field else {}
        kind = kind_of(self.node) if isinstance(self.node, Branch) else None
        # A missing or unknown kind takes the first class of the union: it has the field `kind`, which says
        # what is allowed. A field without config classes stays with its owner.
        # A class of one's own is in no union; its kind, module:Class, is that of no other class.
        own = known_class(kind) if kind is not None and self.name == "method" else None
        return own or classes.get(kind or "") or next(iter(classes.values()), self.owner)


def origin_of(node: Node, path: CellPath) -> KeyPath:
    """Where in the spec the value at ``path`` was written, or would be written if it is missing."""
    # The nearest node that exists says where the rest of the path would have to be written.
    for end in range(len(path), -1, -1):
        if (nearest := node_at(node, path[:end])) is not None:
            return (*nearest.origin, *path[end:])
    return path


def kind_of(node: Branch) -> str | None:
    kind = node.get("kind")
    return kind.value if isinstance(kind, Leaf) and isinstance(kind.value, str) else None


def _not_allowed(site: _ErrorSite, value: Any, domain: Domain | None) -> str:
    """The message for a value that a field does not allow; where the leaf is searched, for its domain."""
    info, node = site.field, site.node
    assert info is not None
    allowed = describe_allowed(info)
    # The refused value is only an end of the range; the mistake is a kind of domain that draws fractions.
    if isinstance(domain, Log | Uniform) and allowed.startswith("a whole number"):
        kind = "log" if isinstance(domain, Log) else "uniform"
        ends = f"[{domain.low:g}, {domain.high:g}]"
        log = ", log: true" if kind == "log" else ""
        search = f"{{int: {ends}{log}}}"
        return refusal(f"{kind} gives fractions", allowed, Proposal(f". Write {search}", search))
    if domain is not None:
        # A correction of one of its values would take the place of the whole domain.
        advice = str(_suggestion(info, value) or value_advice(value, allowed))
        return refusal(f"{domain} contains {_quoted(value, allowed)}", allowed, advice)
    # What the user wrote, rather than pydantic's input: that may be one item of a list.
    if isinstance(node, Leaf):
        value = node.value
    elif isinstance(node, Branch):
        value = node.plain()
    return refusal(f"got {_quoted(value, allowed)}", allowed, _advice(site, info, value, allowed))


def _advice(site: _ErrorSite, info: FieldInfo, value: Any, allowed: str) -> str:
    """What to write in place of a refused value, as a sentence to append; empty without an idea."""
    # A mapping in the place of a plain value is probably a domain with a typing error.
    if isinstance(value, dict) and allowed != "a mapping":
        return domain_advice(value)
    searchable = site.path[0] in ("stage", "method", "train")
    if searchable and isinstance(value, list) and "list" not in allowed:
        return list_advice(value, allowed, rate=site.name == "learning_rate")
    if allowed == "a mapping" and (example := EXAMPLES.get(".".join(site.path))):
        return Proposal(f". Write {site.name}: {example}", example)
    return _suggestion(info, value) or value_advice(value, allowed) or _none_advice(info, value)


def _none_advice(info: FieldInfo, value: Any) -> str:
    """Other tools write -1 or 0, and other languages None, for what is off."""
    off = value.lower() in ("none", "nil", "null") if isinstance(value, str) else value in (0, -1)
    if not off or types.NoneType not in get_args(info.annotation):
        return ""
    return Proposal(". For none, leave it out" if info.default is None else ". For none, write null", "null")


def _quoted(value: Any, allowed: str) -> str:
    """``"8"`` in quotes where a number is needed: without them it would look right."""
    is_text = isinstance(value, str) and ("one of" not in allowed or reads_as_other(value))
    return f'the text "{value}"' if is_text else format_value(value)


def _suggestion(info: FieldInfo, value: Any) -> str:
    names = [literal for literal in _literals(info.annotation) if isinstance(literal, str)]
    if "off" in names and (value is False or str(value).lower() in OFF):
        return Proposal(". Write off", "off")
    if value is True and "auto" in names:
        return Proposal(". Write auto", "auto")
    if not isinstance(value, str) or not names:
        return ""
    return foreign_value(value) or did_you_mean(value, names)


def _literals(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for member in get_args(annotation):
            yield from _literals(member)
