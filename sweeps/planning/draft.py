"""A cell before it is checked: its merged settings, each with its place in the spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sweeps.planning.dependencies import FROM
from sweeps.spec.domain_parser import Domain
from sweeps.spec.entries import Entry
from sweeps.spec.key_path import KeyPath
from sweeps.spec.messages.validation_messages import origin_of
from sweeps.spec.problems import Problem
from sweeps.spec.source import Source
from sweeps.spec.tree import Branch, CellPath
from trainables.config.trained_model import TrainedModel


@dataclass(frozen=True)
class Draft:
    """One combination of what a spec compares: a stage, a method, a model, data and settings."""

    source: Source  # of the spec, to say where a problem is
    name: str
    stage: str  # the names of stage and method within the sweep
    method: str
    stage_entry: Entry
    method_entry: Entry
    parts: Branch  # stage, method, model, data, train, search and resources
    space: dict[CellPath, Domain]
    broken: frozenset[CellPath]  # settings whose problem has been reported: they are left out
    problems: tuple[Problem, ...]
    placeholder: bool  # without a valid stage or method: it is checked, but becomes no cell
    links: Mapping[CellPath, TrainedModel] = field(default_factory=dict)  # the results it takes, by setting

    @property
    def depends_on(self) -> tuple[str, ...]:
        """The cells that must end before this one can begin."""
        return tuple(dict.fromkeys(trained.cell for trained in self.links.values() if trained.cell))

    def origin(self, path: CellPath) -> KeyPath:
        """Where in the spec the setting at ``path`` was written."""
        return origin_of(self.parts, path)

    def problem(self, path: CellPath, what: str, error: bool = True) -> Problem:
        """A problem with the setting at ``path``, reported where the spec has it."""
        return self.source.problem(self.origin(path), what, error)

    def tree(self) -> dict[str, Any]:
        """The parts of a trial's config, without the searched and the broken settings."""
        tree = self.parts.plain()
        if isinstance(tree.get("model"), dict):
            tree["model"].pop(FROM, None)
        # A link replaces the reference as written; a broken reference has none, and is removed below.
        for (part, key), trained in self.links.items():
            tree[part][key] = trained.model_dump(mode="json")
        for path in (*self.space, *self.broken):
            _remove(tree, path)
        for section in ("search", "resources"):  # settings of the cell, not of a trial
            tree.pop(section, None)
        return tree


def _remove(tree: dict[str, Any], path: CellPath) -> None:
    for key in path[:-1]:
        tree = tree[key]
    tree.pop(path[-1], None)
