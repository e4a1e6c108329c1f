"""The stages and methods that a spec lists. A comparison inside an entry makes an entry of each option."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.spec import domain_parser
from sweeps.spec.foreign_keys import FOREIGN_KEYS, foreign_value
from sweeps.spec.key_path import KeyPath, format_path
from sweeps.spec.naming import distinguishing_tags, join_name, safe_name
from sweeps.spec.problems import Problem, SpecError, format_value, refusal
from sweeps.spec.schema import ENTRY_CLASSES, SECTIONS, entry_class
from sweeps.spec.source import Source
from sweeps.spec.spec import Spec
from sweeps.spec.tree import Branch, Leaf, variant_count, variants
from trainables.config import limits
from trainables.methods.derived_class import FILLED
from trainables.methods.own_code import OwnCode, OwnMethodError, is_own_kind, split_kind
from trainables.methods.own_method import OwnMethod, load_class
from trainables.system.suggestions import did_you_mean, nearest

BASE = "base"  # the untrained model's name among the methods


@dataclass(frozen=True)
class Entry:
    """One stage or method: its settings, and the sections that it overrides for its cells."""

    key: tuple[int, int]  # its index in the spec's list, and which variant of that list entry it is
    settings: Branch
    overrides: Branch

    @property
    def index(self) -> int:
        """The index in the spec's list; the variants of one list entry share it."""
        return self.key[0]

    @property
    def kind(self) -> str:
        return str(self.settings.plain()["kind"])

    @property
    def name(self) -> str | None:
        return self.settings.plain().get("name")

    def plain(self) -> dict[str, Any]:
        return {**self.settings.plain(), **self.overrides.plain()}


def written_kinds(spec: Spec) -> list[str]:
    """The kinds of a spec's methods, each once, in its order."""
    return list(dict.fromkeys(kind for branch in spec.methods for kind in kinds_of(branch)))


def kinds_of(branch: Branch) -> list[str]:
    """The kinds of one list entry, of which it may compare several."""
    kinds = (
        settings.plain().get("kind")
        for settings, _ in variants(branch.only("kind"))
        if isinstance(settings, Branch)
    )
    return [kind for kind in kinds if isinstance(kind, str)]


def read_entries(spec: Spec, part: str) -> tuple[list[Entry], list[Problem]]:
    """The valid entries of ``stages`` or ``methods``, and the problems with the others."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    branches: tuple[Branch, ...] = getattr(spec, part)
    # Counted before any variant is built: a few comparisons in one entry multiply to millions.
    count = sum(variant_count(branch.without(*SECTIONS)) for branch in branches)
    refuse_too_many_cells(spec.source, (part,), count)
    for branch in branches:
        for variant, (settings, _) in enumerate(variants(branch.without(*SECTIONS))):
            assert isinstance(settings, Branch)
            # The overrides keep their comparisons until they are merged with the spec's own sections.
            entry = Entry((int(branch.origin[-1]), variant), settings, branch.only(*SECTIONS))
            # Without a valid kind nothing else about an entry can be judged.
            problem = _kind_problem(spec.source, part, settings) or _conflict(
                spec.source, part, entry, entries
            )
            if problem is None:
                entries.append(entry)
            else:
                problems.append(problem)
    return entries, problems


def refuse_too_many_cells(source: Source, path: KeyPath, cells: int) -> None:
    """Raises ``SpecError`` for more cells than a sweep may have, before any is built."""
    if cells > limits.CELLS:
        what = f"{cells:,} cells; a sweep has at most {limits.CELLS:,}. Compare less, or search with {{choice: [...]}}"
        raise SpecError(source.problem(path, what))


def placeholder_entry(part: str, kind: str) -> Entry:
    """An entry for a spec that has no valid one, so that the rest of the spec can be checked all the same."""
    return Entry((0, 0), Branch({"kind": Leaf(kind, (part,))}, (part,)), Branch({}, (part,)))


def entry_names(group: Sequence[Entry], label: str) -> list[str]:
    """The names of entries with the same label: the label, and the settings that tell each from the others.

    >>> entry_names([lora, rank_stabilized], "lora")  # doctest: +SKIP
    ['lora', 'lora-rslora']
    """
    return [join_name(label, tag) for tag in distinguishing_tags([entry.plain() for entry in group])]


def entry_label(part: str, settings: Branch) -> str:
    """The entry's name, else its config's label (``qlora-4bit``), else, where a search varies the label, its kind."""
    plain = settings.plain()
    cls = entry_class(part, plain["kind"]) or OwnMethod
    options = {key: _possible_values(settings, key) for key in plain}
    first = {key: values[0] for key, values in options.items()}
    # The config for every value of each setting, the others at their first. Unchecked: values may still be
    # wrong.
    configs = [cls.model_construct(**{**first, key: value}) for key in options for value in options[key]]
    fallback = plain.get("name") or plain["kind"]
    labels = {str(getattr(config, "label", fallback)) for config in configs}
    return safe_name(labels.pop() if len(labels) == 1 else str(fallback))


def _possible_values(settings: Branch, key: str) -> Sequence[Any]:
    value = settings.children[key].plain()
    try:
        domain = domain_parser.parse(value)
    except domain_parser.DomainError:
        domain = None
    return domain.probes() if domain else (value,)


def _kind_problem(source: Source, part: str, settings: Branch) -> Problem | None:
    kind, known = settings.get("kind"), list(ENTRY_CLASSES[part])
    if kind is None:
        return source.problem(settings.origin, _missing_kind(part, settings, known))
    value = kind.plain()
    if isinstance(value, str) and value in known:
        return None
    if part == "methods" and is_own_kind(value):
        return _own_method_problem(source, settings, str(value))
    if domain_parser.is_domain(value):
        what = "a kind can't be searched, only compared: write {compare: [...]}"
        return source.problem(kind.origin, what)
    meant = foreign_value(value) or did_you_mean(value, known)
    if isinstance(value, list):
        meant = f". For a cell of each, write {{compare: {format_value(value)}}}"
    own = ", or module:Class, a class of yours" if part == "methods" else ""
    what = refusal(f"got {format_value(value)}", f"one of {', '.join(known)}{own}", meant)
    return source.problem(kind.origin, what)


def _own_method_problem(source: Source, settings: Branch, kind: str) -> Problem | None:
    """Imports the class of one's own that a kind names, beside the spec or installed; why that can't be used."""
    for key in FILLED:
        if key in settings.children:
            return source.problem(
                settings.children[key].origin, f"unknown key; planning sets {key}. Leave it out"
            )
    try:
        load_class(kind, OwnCode.beside(split_kind(kind)[0], source.folder))
    except OwnMethodError as error:
        return source.problem(settings.children["kind"].origin, str(error))
    return None


def _missing_kind(part: str, settings: Branch, known: Sequence[str]) -> str:
    """The message for an entry without a kind: what another tool's key would be here, or all kinds."""
    for key, node in settings.children.items():
        if FOREIGN_KEYS.get(key, "").startswith(f"{part}[].kind"):
            value = node.plain()
            kind = value if value in known else nearest(value, known) or known[0]
            return f"kind is not given. Write kind: {kind} in place of {key}: {format_value(value)}"
    return f"kind is not given. Write kind: {known[0]}, or one of {', '.join(known[1:])}"


def _conflict(source: Source, part: str, entry: Entry, others: Sequence[Entry]) -> Problem | None:
    """Why an entry can't stand beside the ``others`` before it: a reserved name, a duplicate, a name used twice."""
    if entry.name == BASE and part == "methods":
        what = "base is reserved for the untrained model. Choose another name"
        return source.problem((*entry.settings.origin, "name"), what)
    for other in others:
        first = format_path(other.settings.origin)
        # Compared as texts: 1 and true are equal in Python.
        if repr(other.plain()) == repr(entry.plain()):
            what = f"the same as {first}. Remove one of them, or make them differ"
            return source.problem(entry.settings.origin, what)
        # Variants of one list entry share its name; their tags tell them apart.
        if entry.name is not None and entry.name == other.name and entry.index != other.index:
            what = f"{first} is named {entry.name} too. Rename one of them"
            return source.problem((*entry.settings.origin, "name"), what)
    return None
