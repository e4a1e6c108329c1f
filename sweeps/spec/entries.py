"""The stages and methods that a spec lists, with the comparisons inside an entry spelled out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.spec import domain_parser
from sweeps.spec.key_path import KeyPath, format_path
from sweeps.spec.naming import distinguishing_tags, join_name, safe_name
from sweeps.spec.problems import Problem, SpecError, format_value
from sweeps.spec.schema import ENTRY_CLASSES, SECTIONS
from sweeps.spec.spec import Spec
from sweeps.spec.tree import Branch, Leaf, variant_count, variants
from trainables.config import limits
from trainables.system.suggestions import did_you_mean

BASE = "base"  # the untrained model's name among the methods


@dataclass(frozen=True)
class Entry:
    """One stage or method: what is its own, and what it overrides for its cells."""

    index: int
    own: Branch
    overrides: Branch

    @property
    def kind(self) -> str:
        return str(self.own.plain()["kind"])

    @property
    def name(self) -> str | None:
        return self.own.plain().get("name")

    def plain(self) -> dict[str, Any]:
        return {**self.own.plain(), **self.overrides.plain()}


def read_entries(spec: Spec, part: str) -> tuple[list[Entry], list[Problem]]:
    """The entries of ``stages`` or ``methods`` that make sense, and what is wrong with the others."""
    found: list[Entry] = []
    problems: list[Problem] = []
    refuse_too_many_cells(
        spec, (part,), sum(variant_count(branch.without(*SECTIONS)) for branch in getattr(spec, part))
    )
    for branch in getattr(spec, part):
        for own, _ in variants(branch.without(*SECTIONS)):
            assert isinstance(own, Branch)
            if (problem := _wrong_kind(spec, part, own)) is not None:
                problems.append(problem)
                continue
            entry = Entry(branch.origin[-1], own, branch.only(*SECTIONS))
            if (problem := _clash(spec, part, entry, found)) is not None:
                problems.append(problem)
                continue
            found.append(entry)
    return found, problems


def refuse_too_many_cells(spec: Spec, where: KeyPath, cells: int) -> None:
    """Raises ``SpecError`` for more cells than a sweep may have, while they are only counted."""
    if cells > limits.CELLS:
        what = f"{cells:,} cells; a sweep has at most {limits.CELLS:,}. Compare less, or search with {{choice: [...]}}"
        raise SpecError(spec.source.problem(where, what))


def placeholder_entry(part: str, kind: str) -> Entry:
    """An entry for when a spec has none that makes sense: with it, the rest of the spec can be checked."""
    return Entry(0, Branch({"kind": Leaf(kind, (part,))}, (part,)), Branch({}, (part,)))


def entry_names(group: Sequence[Entry], label: str) -> list[str]:
    """What to call entries that share a label: it, and what tells each from the others.

    >>> names([lora, rank_stabilised], "lora")  # doctest: +SKIP
    ['lora', 'lora-rslora']
    """
    return [join_name(label, tag) for tag in distinguishing_tags([entry.plain() for entry in group])]


def entry_label(part: str, own: Branch) -> str:
    """The entry's name, else what its class calls itself (``qlora-4bit``); its kind if bits are searched."""
    plain = own.plain()
    cls = ENTRY_CLASSES[part][plain["kind"]]
    options = {key: _probes(own, key) for key in plain}
    first = {key: probes[0] for key, probes in options.items()}
    built = [cls.model_construct(**{**first, key: value}) for key in options for value in options[key]]
    fallback = plain.get("name") or plain["kind"]
    labels = {str(getattr(config, "label", fallback)) for config in built}
    return safe_name(labels.pop() if len(labels) == 1 else str(fallback))


def _probes(own: Branch, key: str) -> Sequence[Any]:
    value = own.children[key].plain()
    try:
        domain = domain_parser.parse(value)
    except domain_parser.DomainError:
        domain = None
    return domain.probes() if domain else (value,)


def _wrong_kind(spec: Spec, part: str, own: Branch) -> Problem | None:
    kind, known = own.get("kind"), list(ENTRY_CLASSES[part])
    if kind is None:
        return spec.source.problem(own.origin, f"a kind is needed: {', '.join(known)}")
    value = kind.plain()
    if isinstance(value, str) and value in known:
        return None
    if domain_parser.is_domain(value):
        return spec.source.problem(kind.origin, "a kind is compared, not searched: write {compare: [...]}")
    what = f"got {format_value(value)}; allowed: one of {', '.join(known)}{did_you_mean(value, known)}"
    return spec.source.problem(kind.origin, what)


def _clash(spec: Spec, part: str, entry: Entry, found: Sequence[Entry]) -> Problem | None:
    if entry.name == BASE and part == "methods":
        what = "base is the name of the untrained model's row. Choose another"
        return spec.source.problem((*entry.own.origin, "name"), what)
    for other in found:
        first = format_path(other.own.origin)
        if repr(other.plain()) == repr(entry.plain()):
            return spec.source.problem(
                entry.own.origin, f"the same as {first}. Remove one, or let them differ"
            )
        if entry.name is not None and entry.name == other.name and entry.index != other.index:
            what = f"{first} has the name {entry.name}, too. Rename one"
            return spec.source.problem((*entry.own.origin, "name"), what)
    return None
