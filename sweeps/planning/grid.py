"""Every combination that a spec compares, named and with its search space: the cells before they are checked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.planning import quantization
from sweeps.planning.dependencies import FROM
from sweeps.planning.draft import Draft
from sweeps.planning.links import link_drafts
from sweeps.runs.earlier_results import EarlierResults
from sweeps.spec import domain_parser
from sweeps.spec.entries import (
    Entry,
    entry_label,
    entry_names,
    placeholder_entry,
    read_entries,
    refuse_too_many_cells,
)
from sweeps.spec.messages.validation_messages import FILLED_BY_PLANNING
from sweeps.spec.naming import join_name
from sweeps.spec.problems import Problem, format_value, unique
from sweeps.spec.schema import ONE_VALUE, SECTION_CLASSES, SECTIONS, error_translator
from sweeps.spec.source import Source
from sweeps.spec.spec import Spec
from sweeps.spec.tree import (
    Axis,
    AxisChoice,
    Branch,
    CellPath,
    Leaf,
    Node,
    leaves,
    merge,
    variant_count,
    variants,
)
from trainables.system.suggestions import Proposal, message_of

SEARCHABLE = ("method", "train", "stage", "model")
# Of the data only these: the rows that trials are judged by must be the same in all of a cell.
SEARCHABLE_DATA = {("data", "weights")}
# These make a cell what it is. They can be compared, which gives each value the whole budget, but not searched.
IDENTITY = {("model", "name"), ("model", "path"), ("model", FROM), ("method", "name"), ("stage", "name")}


@dataclass(frozen=True)
class _Combination:
    stage: Entry
    method: Entry
    parts: Branch  # merged, without axes
    choices: tuple[AxisChoice, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class _Names:
    cell: str
    stage: str
    method: str


def make_drafts(spec: Spec, earlier: EarlierResults) -> tuple[list[Draft], tuple[Problem, ...]]:
    """The drafts of a spec's cells, and all problems with its entries, domains and references.

    Raises ``SpecError`` for more cells than a sweep may have.
    """
    stages, stage_problems = read_entries(spec, "stages")
    methods, method_problems = read_entries(spec, "methods")
    # Where no entry is valid a placeholder has the spec's sections checked all the same; it becomes no cell.
    pairs = list(
        itertools.product(
            stages or [placeholder_entry("stages", "sft")], methods or [placeholder_entry("methods", "lora")]
        )
    )
    # Counted twice: merging is quick for few pairs only, and the axes are known only once they are merged.
    refuse_too_many_cells(spec.source, ("methods",), len(pairs))
    merged = [(stage, method, _merged_parts(spec, stage, method)) for stage, method in pairs]
    refuse_too_many_cells(spec.source, ("methods",), sum(variant_count(parts) for _, _, parts in merged))
    combinations = [combination for each in merged for combination in _combinations(spec.source, *each)]
    drafts = [
        _draft(spec.source, combination, names, placeholder=not (stages and methods))
        for combination, names in zip(combinations, _combination_names(combinations), strict=True)
    ]
    linked = link_drafts(drafts, earlier)
    problems = [*stage_problems, *method_problems, *(p for draft in linked for p in draft.problems)]
    return linked, unique(problems)


def _merged_parts(spec: Spec, stage: Entry, method: Entry) -> Branch:
    """The settings of a stage with a method, the axes still in them. A method's overrides win over a stage's."""
    merged: dict[str, Node] = {"stage": stage.settings, "method": method.settings}
    for section in SECTIONS:
        of_stage = merge(spec.root.get(section), stage.overrides.get(section))
        node = merge(of_stage, method.overrides.get(section))
        if node is not None:
            merged[section] = _without_axes(node) if section == "resources" else node
    return Branch(merged, ())


def _without_axes(node: Node) -> Node:
    """Resources without comparisons: these are reported as problems of the spec's shape, and make no cells."""
    if not isinstance(node, Branch):
        return node
    return node.without(*(key for key, child in node.children.items() if isinstance(child, Axis)))


def _combinations(source: Source, stage: Entry, method: Entry, merged: Branch) -> Iterator[_Combination]:
    for parts, choices in variants(merged):
        assert isinstance(parts, Branch)
        parts, problems = quantization.move_to_method(parts, source)
        yield _Combination(stage, method, parts, choices, tuple(problems))


def _combination_names(combinations: Sequence[_Combination]) -> list[_Names]:
    """The names of each combination's cell, stage and method."""
    stage_labels = [entry_label("stages", combination.stage.settings) for combination in combinations]
    # After quantization has moved: a lora on a 4-bit base is labelled qlora-4bit.
    method_labels = [
        entry_label("methods", combination.parts.children["method"])  # type: ignore[arg-type]
        for combination in combinations
    ]
    stage_names = _names_by_entry(stage_labels, [combination.stage for combination in combinations])
    method_names = _names_by_entry(method_labels, [combination.method for combination in combinations])
    plain = [
        _Names(_cell_name(stage, method, combination, with_quantization=False), stage, method)
        for stage, method, combination in zip(stage_names, method_names, combinations, strict=True)
    ]
    return _disambiguated(plain, combinations)


def _disambiguated(plain: Sequence[_Names], combinations: Sequence[_Combination]) -> list[_Names]:
    """The names again, with the quantization in those of cells that would have the same name without it.

    A method's label usually says how the base is quantized; a method with a name of its own may not.
    """
    cell_names = [names.cell for names in plain]
    return [
        _Names(_cell_name(names.stage, names.method, combination, True), names.stage, names.method)
        if cell_names.count(names.cell) > 1
        else names
        for names, combination in zip(plain, combinations, strict=True)
    ]


def _cell_name(stage: str, method: str, combination: _Combination, with_quantization: bool) -> str:
    tags = (
        choice.tag
        for choice in combination.choices
        # A prefix, because an axis may also stand inside a quantization mapping.
        if with_quantization or choice.path[:2] != quantization.PATH
    )
    return join_name(stage, method, *tags)


def _names_by_entry(labels: Sequence[str], entries: Sequence[Entry]) -> list[str]:
    """A name for each entry: its label, with what tells it from the other entries of the same label.

    One entry occurs in many combinations, and, with and without quantization, under two labels.
    """
    groups: dict[str, dict[tuple[int, int], Entry]] = {}
    for label, entry in zip(labels, entries, strict=True):
        groups.setdefault(label, {})[entry.key] = entry
    names = {
        (label, key): name
        for label, group in groups.items()
        for key, name in zip(group, entry_names(list(group.values()), label), strict=True)
    }
    return [names[label, entry.key] for label, entry in zip(labels, entries, strict=True)]


def _draft(source: Source, combination: _Combination, names: _Names, placeholder: bool) -> Draft:
    space, broken = {}, {}
    for path, leaf in leaves(combination.parts):
        try:
            _check_leaf(source, path, leaf)
            if (domain := domain_parser.parse(leaf.value)) is not None:
                space[path] = domain
        except ValueError as error:
            # A broken leaf is left out of space and config, so that it causes no second problem.
            broken[path] = source.problem(leaf.origin, _message(error, leaf.value))
    return Draft(
        source=source,
        name=names.cell,
        stage=names.stage,
        method=names.method,
        stage_entry=combination.stage,
        method_entry=combination.method,
        parts=combination.parts,
        space=space,
        broken=frozenset(broken),
        problems=(*combination.problems, *broken.values()),
        placeholder=placeholder,
    )


def _message(error: ValueError, value: Any) -> Proposal:
    """What is wrong with a leaf, with the ends of its domain the other way round as the correction if that helps."""
    turned = domain_parser.swapped(value)
    return message_of(error) if turned is None else Proposal(str(error), format_value(turned))


def _check_leaf(source: Source, path: CellPath, leaf: Leaf) -> None:
    """Raises ``ValueError`` for a key that people can't write, a malformed comparison, or a domain in a wrong place."""
    section = path[0]
    if section in ("model", "data") and (filled := FILLED_BY_PLANNING & set(path[1:])):
        raise ValueError(error_translator(source).unknown_key(SECTION_CLASSES[section], filled.pop()))
    if domain_parser.is_domain(leaf.value):
        _check_searchable(path)
    # A well-formed comparison has become an axis, whose options are leaves of their own.
    if isinstance(leaf.value, dict) and "compare" in leaf.value:
        written = format_value(leaf.value)
        raise ValueError(
            f"compare needs a list of different values and nothing beside it, got {written}. Write {{compare: [a, b]}}"
        )


def _check_searchable(path: CellPath) -> None:
    """Raises ``ValueError`` where a search domain makes no sense."""
    section = path[0]
    if len(path) < 2:
        raise ValueError("a whole section can't be searched. Put the domain on one of its settings")
    if section == "search":
        raise ValueError("the settings of the search can't be searched. Give one value")
    if section == "resources":
        raise ValueError(ONE_VALUE)
    if path in IDENTITY or not (section in SEARCHABLE or path in SEARCHABLE_DATA):
        raise ValueError(f"{'.'.join(path)} can't be searched, only compared: write {{compare: [...]}}")
