"""A cell: one combination that a sweep compares, and the space that Optuna searches inside it."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from sweeps.planning.dependencies import trained_references
from sweeps.planning.memory.cell_memory import CellMemory
from sweeps.planning.quality_rows import QualityRows, SetRows
from sweeps.spec.domain_parser import Domain
from sweeps.spec.settings import ResourcesConfig, SearchConfig
from trainables.config.ending import EndingRules
from trainables.results import Comparison
from trainables.trial.config import TrialConfig

LEARNING_RATE = "train.learning_rate"


@dataclass(frozen=True)
class Cell:
    """One stage and method (and model, data, ...): ``trials`` of at most ``steps`` steps each.

    >>> cell.config({"method.rank": 8, "train.learning_rate": 1e-3}).method.rank  # doctest: +SKIP
    8
    """

    name: str
    stage: str
    method: str  # its name within the sweep
    tree: dict[str, Any]  # of a TrialConfig, without the searched leaves
    space: dict[str, Domain]  # by leaf: "method.rank"
    search: SearchConfig
    resources: ResourcesConfig  # of one trial
    trials: int  # as the search says, or every config of a smaller space
    steps: int  # of a trial that runs its full length
    rungs: tuple[int, ...]  # the steps at which trials are compared; none without a scheduler
    seed: int  # of the sampler
    training_rungs: frozenset[int] = frozenset()  # those of them at which it is by training loss
    data_notes: tuple[str, ...] = ()  # how the rows were read, and what is held out
    data_warnings: tuple[str, ...] = ()  # rows that were left out or look unfinished
    predicted: CellMemory | None = None  # where memory can be predicted
    not_predicted: str | None = None  # why it can't be
    learning_rate_factor: float = 1.0  # of the method's starting point, for the model's width
    # Rows that a full-length trial trains on, in ascending order; several if the space varies them.
    row_counts: tuple[int, ...] = ()
    quality_rows: QualityRows | None = None  # None where nothing is held out
    mixture: Mapping[str, int] = field(default_factory=dict)  # training rows by data set, of several
    # The same for each of the weights that are searched; empty where they are not.
    mixtures: tuple[tuple[tuple[float, ...] | None, Mapping[str, int]], ...] = ()
    evaluation_sets: tuple[SetRows, ...] = ()  # further ones, which steer nothing
    # Settings, by leaf, that the cell of its name found in an earlier run, the best first; its search begins with them.
    starts: tuple[Mapping[str, Any], ...] = ()
    validation_rows: int = 0  # that each of its trials' objective is of

    @property
    def comparisons(self) -> dict[int, Comparison]:
        """What trials are compared by at each rung."""
        return {rung: "training" if rung in self.training_rungs else "validation" for rung in self.rungs}

    @property
    def depends_on(self) -> tuple[str, ...]:
        """The cells whose best trials its own continue from or are rewarded by."""
        return tuple(dict.fromkeys(trained["cell"] for _, _, trained in trained_references(self.tree)))

    @property
    def ending(self) -> EndingRules:
        """How its trials may end early. One that is alone is the cell's result, however its curve looks."""
        return self.search.ending if self.trials > 1 else EndingRules()

    @property
    def holds_out(self) -> bool:
        """Whether its trials have rows to be scored on."""
        return self.first().data.holds_out

    def size(self) -> int | None:
        """The number of configs in the space; ``None`` for a continuum."""
        return space_size(self.space)

    def config(self, values: Mapping[str, Any]) -> TrialConfig:
        """The trial with ``values`` (by leaf) for the searched leaves."""
        return build_config(self.tree, values)

    def first(self) -> TrialConfig:
        """The trial with each searched leaf at the first value of its domain."""
        return self.config(self._first_values())

    def suggested(self) -> TrialConfig:
        """The trial that a search begins with: the method's prior, and first values where it has none."""
        return self.config(self._first_values() | self.prior())

    def _first_values(self) -> dict[str, Any]:
        return {leaf: domain.probes()[0] for leaf, domain in self.space.items()}

    def prior(self) -> dict[str, Any]:
        """The values of the searched leaves that a search begins with: as their domains say it, else the method's good
        values, clipped to the domains.

        The learning rate is scaled for the stage, the optimizer and the model's width. Empty where there are no such
        values, or where they are invalid together with the cell's own settings.
        """
        config = self.first()
        good = dict(config.method.prior)  # type: ignore[union-attr]
        if LEARNING_RATE in good:
            good[LEARNING_RATE] *= config.stage.learning_rate_factor * self.learning_rate_factor
            good[LEARNING_RATE] *= config.train.optimizer_settings.adam_rate_factor or 1.0
        prior = {leaf: domain.clip(good[leaf]) for leaf, domain in self.space.items() if leaf in good}
        prior |= {leaf: domain.start for leaf, domain in self.space.items() if domain.start is not None}
        try:
            self.config({**self._first_values(), **prior})
        except ValidationError:
            return {}
        return prior


def space_size(space: Mapping[str, Domain]) -> int | None:
    """The number of points in a space: ``None`` for a continuum, 1 for an empty space."""
    sizes = [domain.size() for domain in space.values()]
    finite = [size for size in sizes if size is not None]
    return math.prod(finite) if len(finite) == len(sizes) else None


def build_config(tree: Mapping[str, Any], values: Mapping[str, Any]) -> TrialConfig:
    """The config of a tree with ``values`` (by leaf) filled in. Raises ``ValidationError``.

    Validated from JSON and strictly: the text "8" is no number.
    """
    # A deep copy, because the values go into nested mappings that all configs of the cell share.
    filled = copy.deepcopy(dict(tree))
    for leaf, value in values.items():
        *sections, key = leaf.split(".")
        node = filled
        for section in sections:
            node = node[section]
        node[key] = value
    # Through JSON: in strict mode pydantic takes a list for a tuple and a text for a path from JSON alone.
    return TrialConfig.model_validate_json(json.dumps(filled, default=str), strict=True)
