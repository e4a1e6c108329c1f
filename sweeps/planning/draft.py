"""A cell that is not checked yet: its settings with their places in the spec, and how its problems are reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sweeps.planning.dependencies import FROM
from sweeps.spec.domain_parser import Domain
from sweeps.spec.entries import Entry
from sweeps.spec.problems import Problem
from sweeps.spec.spec import Spec
from sweeps.spec.tree import Branch, CellPath
from sweeps.spec.validation_messages import origin_of
from trainables.config.trained_model import Trained


def problem_at(spec: Spec, draft: Draft, place: CellPath, what: str, error: bool = True) -> Problem:
    """A problem with what stands at ``place`` in a cell, wherever in the spec that was written."""
    return spec.source.problem(origin_of(draft.parts, place), what, error)


@dataclass(frozen=True)
class Draft:
    """One cell as the spec has it: ``parts`` are its stage, method, model, data, train, search and resources."""

    name: str
    stage: str
    method: str
    stage_entry: Entry
    method_entry: Entry
    parts: Branch
    space: dict[CellPath, Domain]
    broken: frozenset[CellPath]  # places whose problem is known already
    problems: tuple[Problem, ...]
    real: bool  # not only there so that the rest of the spec can be checked
    links: Mapping[CellPath, Trained] = field(
        default_factory=dict
    )  # what it takes from other trials, by leaf

    @property
    def depends_on(self) -> tuple[str, ...]:
        """The cells that have to end before this one can begin."""
        return tuple(dict.fromkeys(trained.cell for trained in self.links.values() if trained.cell))

    def tree(self) -> dict[str, Any]:
        """The parts of a trial, without the searched leaves and without what is wrong."""
        tree = self.parts.plain()
        if isinstance(tree.get("model"), dict):
            tree["model"].pop(FROM, None)
        for (part, key), trained in self.links.items():
            tree[part][key] = trained.model_dump(mode="json")
        for place in (*self.space, *self.broken):
            _remove(tree, place)
        for section in ("search", "resources"):  # of the cell, and no part of a trial
            tree.pop(section, None)
        return tree


def _remove(tree: dict[str, Any], place: CellPath) -> None:
    for key in place[:-1]:
        tree = tree[key]
    tree.pop(place[-1], None)
