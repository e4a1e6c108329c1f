"""A cell: one combination that people compare, and the space that Optuna searches inside it."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from sweeps.planning.dependencies import trained_references
from sweeps.planning.memory.cell_memory import CellMemory
from sweeps.spec.domain_parser import Domain
from sweeps.spec.settings import ResourcesConfig, SearchConfig
from trainables.trial.config import TrialConfig

RATE = "train.learning_rate"


@dataclass(frozen=True)
class Cell:
    """One stage and method (and model, data, ...): ``trials`` of at most ``steps`` steps each.

    >>> cell.config({"method.rank": 8, "train.learning_rate": 1e-3}).method.rank  # doctest: +SKIP
    8
    """

    name: str
    stage: str
    method: str  # its name within the sweep
    tree: dict[str, Any]  # a TrialConfig's, without the searched leaves
    space: dict[str, Domain]  # by leaf: "method.rank"
    search: SearchConfig
    resources: ResourcesConfig  # what a trial of it takes of a machine
    trials: int  # what the search asks for, or every config of a smaller space
    steps: int  # of a trial that runs its full length
    rungs: tuple[int, ...]  # the steps at which ASHA compares trials; none without a scheduler
    seed: int  # the sampler's
    data_notes: tuple[str, ...] = ()  # how the rows were read, and what is held out
    data_warnings: tuple[str, ...] = ()  # what was left out of the rows, or looks unfinished
    predicted: CellMemory | None = None  # what its trials take, where that can be told
    row_counts: tuple[int, ...] = ()  # rows a full-length trial trains on; several if the space varies them

    @property
    def depends_on(self) -> tuple[str, ...]:
        """The cells whose best trials its own start from, or are rewarded by."""
        return tuple(dict.fromkeys(trained["cell"] for _, _, trained in trained_references(self.tree)))

    def size(self) -> int | None:
        """How many configs the space holds; ``None`` for a continuum."""
        return space_size(self.space)

    def config(self, values: Mapping[str, Any]) -> TrialConfig:
        """The trial with ``values`` (by leaf) in the searched leaves."""
        return build_config(self.tree, values)

    def first(self) -> TrialConfig:
        """A trial of the cell, whatever else is searched: each searched leaf at its first value."""
        return self.config(self._first_values())

    def suggested(self) -> TrialConfig:
        """Where a search begins: each searched leaf at what its method knows to be good, else at its first value."""
        return self.config(self._first_values() | self.prior())

    def _first_values(self) -> dict[str, Any]:
        return {leaf: domain.probes()[0] for leaf, domain in self.space.items()}

    def prior(self) -> dict[str, Any]:
        """The searched leaves that the method knows a good value for, and that value moved into the space; of its
        learning rate the stage's share.

        Empty when there are none, or when they make no config together with the cell's own settings.
        """
        config = self.first()
        known = dict(config.method.prior)  # type: ignore[union-attr]
        if RATE in known:
            known[RATE] *= config.stage.learning_rate_factor
        prior = {leaf: domain.clip(known[leaf]) for leaf, domain in self.space.items() if leaf in known}
        try:
            self.config({**self._first_values(), **prior})
        except ValidationError:
            return {}
        return prior


def space_size(space: Mapping[str, Domain]) -> int | None:
    """How many points a space has; ``None`` for a continuum, 1 for a space of nothing."""
    sizes = [domain.size() for domain in space.values()]
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None


def build_config(tree: Mapping[str, Any], values: Mapping[str, Any]) -> TrialConfig:
    """A tree with ``values`` (by leaf) put in, as a config. As JSON and strict: the text "8" is no number."""
    whole = copy.deepcopy(dict(tree))
    for leaf, value in values.items():
        *sections, key = leaf.split(".")
        at = whole
        for section in sections:
            at = at[section]
        at[key] = value
    return TrialConfig.model_validate_json(json.dumps(whole, default=str), strict=True)
