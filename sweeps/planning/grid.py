"""Every combination that a spec compares, named and with its search space: cells before they are checked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.planning import quantization
from sweeps.planning.dependencies import FROM
from sweeps.planning.draft import Draft
from sweeps.planning.links import link_drafts
from sweeps.runs.earlier_results import Earlier
from sweeps.spec import domain_parser
from sweeps.spec.entries import (
    Entry,
    entry_label,
    entry_names,
    placeholder_entry,
    read_entries,
    refuse_too_many_cells,
)
from sweeps.spec.naming import join_name
from sweeps.spec.problems import Problem, format_value, unique
from sweeps.spec.schema import ONE_VALUE, SECTION_CLASSES, SECTIONS, error_translator
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
from sweeps.spec.validation_messages import FILLED_BY_PLANNING

SEARCHABLE = ("method", "train", "stage", "model")
# What a cell is: these are compared, so that each gets the whole budget.
IDENTITY = {("model", "name"), ("model", "path"), ("model", FROM), ("method", "name"), ("stage", "name")}


@dataclass(frozen=True)
class _Combination:
    stage: Entry
    method: Entry
    parts: Branch
    picks: tuple[AxisChoice, ...]
    problems: tuple[Problem, ...]


def make_drafts(spec: Spec, earlier: Earlier) -> tuple[list[Draft], tuple[Problem, ...]]:
    """The cells of a spec, and all that is wrong with its entries and domains."""
    stages, wrong_stages = read_entries(spec, "stages")
    methods, wrong_methods = read_entries(spec, "methods")
    stages_or_any, methods_or_any = (
        stages or [placeholder_entry("stages", "sft")],
        methods or [placeholder_entry("methods", "lora")],
    )
    refuse_too_many_cells(spec, ("methods",), len(stages_or_any) * len(methods_or_any))
    merged = [(*pair, _merged(spec, *pair)) for pair in itertools.product(stages_or_any, methods_or_any)]
    refuse_too_many_cells(spec, ("methods",), sum(variant_count(parts) for _, _, parts in merged))
    combinations = [found for each in merged for found in _combinations(spec, *each)]
    found = [
        _draft(spec, combination, *name, real=bool(stages and methods))
        for combination, name in zip(combinations, _named(combinations), strict=True)
    ]
    linked = link_drafts(spec, found, earlier)
    problems = [*wrong_stages, *wrong_methods, *(problem for draft in linked for problem in draft.problems)]
    return linked, unique(problems)


def _merged(spec: Spec, stage: Entry, method: Entry) -> Branch:
    """What a stage and a method have together, with all that is compared still in it."""
    merged: dict[str, Node] = {"stage": stage.own, "method": method.own}
    for section in SECTIONS:
        node = merge(
            merge(spec.root.get(section), stage.overrides.get(section)), method.overrides.get(section)
        )
        if node is not None:
            merged[section] = _without_axes(node) if section == "resources" else node
    return Branch(merged, ())


def _combinations(spec: Spec, stage: Entry, method: Entry, merged: Branch) -> Iterator[_Combination]:
    for parts, picks in variants(merged):
        assert isinstance(parts, Branch)
        settled, problems = quantization.move_to_method(parts, spec.source)
        yield _Combination(stage, method, settled, picks, tuple(problems))


def _without_axes(node: Node) -> Node:
    """What trials take, but for what somebody would have compared, which is reported elsewhere: it makes no cells."""
    if not isinstance(node, Branch):
        return node
    return node.without(*(key for key, child in node.children.items() if isinstance(child, Axis)))


def _named(combinations: Sequence[_Combination]) -> list[tuple[str, str, str]]:
    """(cell, stage, method) for each combination."""
    labels = [entry_label("methods", combination.parts.children["method"]) for combination in combinations]  # type: ignore[arg-type]
    stage_names = _entry_names([(entry_label("stages", c.stage.own), c.stage) for c in combinations])
    method_names = _entry_names([(text, c.method) for text, c in zip(labels, combinations, strict=True)])
    named = []
    for text, combination in zip(labels, combinations, strict=True):
        stage = stage_names[entry_label("stages", combination.stage.own), id(combination.stage)]
        method = method_names[text, id(combination.method)]
        named.append((_cell_name(stage, method, combination, said=False), stage, method))
    # How the base is quantized is in the method's name already, unless that is too short for it.
    taken = [name for name, _, _ in named]
    return [
        (_cell_name(stage, method, combination, said=True) if taken.count(name) > 1 else name, stage, method)
        for (name, stage, method), combination in zip(named, combinations, strict=True)
    ]


def _cell_name(stage: str, method: str, combination: _Combination, said: bool) -> str:
    tags = (pick.tag for pick in combination.picks if said or pick.path[:2] != quantization.PLACE)
    return join_name(stage, method, *tags)


def _entry_names(labelled: Sequence[tuple[str, Entry]]) -> dict[tuple[str, int], str]:
    groups: dict[str, dict[int, Entry]] = {}
    for text, entry in labelled:
        groups.setdefault(text, {})[id(entry)] = entry
    return {
        (text, key): name
        for text, group in groups.items()
        for key, name in zip(group, entry_names(list(group.values()), text), strict=True)
    }


def _draft(spec: Spec, combination: _Combination, name: str, stage: str, method: str, real: bool) -> Draft:
    space, broken = {}, {}
    for place, leaf in leaves(combination.parts):
        try:
            _check_place(spec, place, leaf)
            if (domain := domain_parser.parse(_whole(leaf))) is not None:
                space[place] = domain
        except ValueError as error:
            broken[place] = spec.source.problem(leaf.origin, str(error))
    return Draft(
        name=name,
        stage=stage,
        method=method,
        stage_entry=combination.stage,
        method_entry=combination.method,
        parts=combination.parts,
        space=space,
        broken=frozenset(broken),
        problems=(*combination.problems, *broken.values()),
        real=real,
    )


def _whole(leaf: Leaf) -> Any:
    if isinstance(leaf.value, dict) and "compare" in leaf.value:
        given = format_value(leaf.value)
        raise ValueError(f"compare needs a list of different values and nothing beside it, got {given}")
    return leaf.value


def _check_place(spec: Spec, place: CellPath, leaf: Leaf) -> None:
    section = place[0]
    if section in ("model", "data") and (filled := FILLED_BY_PLANNING & set(place[1:])):
        raise ValueError(error_translator(spec.source).unknown(SECTION_CLASSES[section], filled.pop()))
    if not domain_parser.is_domain(leaf.value):
        return
    if len(place) < 2:
        raise ValueError("a whole section can't be searched. Put the domain on one of its settings")
    if section == "search":
        raise ValueError("how to search can't be searched. Give one value")
    if section == "resources":
        raise ValueError(ONE_VALUE)
    if section not in SEARCHABLE or place in IDENTITY:
        raise ValueError(f"{'.'.join(place)} is compared, not searched: write {{compare: [...]}}")
