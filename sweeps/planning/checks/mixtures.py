"""The training rows of a cell whose search chooses in which shares its data sets are mixed (``data.weights``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sweeps.planning.draft import Draft
from sweeps.planning.inputs import InputFinder, MissingInput
from sweeps.spec.problems import Problem
from sweeps.spec.tree import CellPath
from trainables.data.loading import Data
from trainables.trial.config import TrialConfig

WEIGHTS: CellPath = ("data", "weights")

Weights = tuple[float, ...] | None


@dataclass(frozen=True)
class CellRows:
    """The rows of a cell's trials: ``data``, and where the weights are searched, those of each of them."""

    data: Data
    by_weights: Mapping[Weights, Data] = field(default_factory=dict)

    def of(self, config: TrialConfig) -> Data:
        """The rows of one trial of the cell."""
        return self.by_weights.get(config.data.weights, self.data)

    @property
    def training_rows(self) -> list[int]:
        """How many rows trials train on: one number, or the least and the most."""
        counts = {len(data.train) for data in (self.by_weights.values() or [self.data])}
        return sorted({min(counts), max(counts)})

    @property
    def mixtures(self) -> tuple[tuple[Weights, Mapping[str, int]], ...]:
        """Training rows by data set for each of the weights that are searched; empty where they are not."""
        return tuple((weights, data.mixture) for weights, data in self.by_weights.items())


def mixed_rows(
    draft: Draft, configs: Sequence[TrialConfig], data: Data, finder: InputFinder
) -> tuple[CellRows, list[Problem]]:
    """The rows for each of the weights that a cell's search may choose, and those that can't be mixed so, or that the
    stage can't learn from: of a classifier, a mixture may lack a label, or have one that the head has no output for.

    Which rows are held out does not depend on the weights, and neither does by what answers are judged.
    """
    if WEIGHTS not in draft.space:
        return CellRows(data), []
    by_weights: dict[Weights, Data] = {}
    problems: list[Problem] = []
    for config in configs:
        if config.data.weights in by_weights:
            continue
        found = finder.data(config.data, config.stage.row_type)
        if isinstance(found, MissingInput):
            problems.append(draft.problem(("data", *found.setting), found.what))
        else:
            mixed = replace(found, quality=data.quality, sets=data.sets)
            by_weights[config.data.weights] = mixed
            known = set(config.stage.problems(config, data))  # of the rows that a rule has looked at
            problems += [
                draft.problem(("stage", key), f"with data.weights {_written(config.data.weights)}, {what}")
                for key, what in config.stage.problems(config, mixed)
                if (key, what) not in known
            ]
    return CellRows(data, by_weights), problems


def mixture_notes(rows: CellRows) -> Iterator[str]:
    """The rows that are really drawn by each of the weights that are searched."""
    for weights, mixture in rows.mixtures:
        yield f"with data.weights {_written(weights)}, {mixture_text(mixture)}"


def _written(weights: Weights) -> str:
    return f"[{', '.join(f'{weight:g}' for weight in weights or ())}]"


def mixture_text(mixture: Mapping[str, int]) -> str:
    """``training rows are 30 of a (75%), 10 of b (25%)``."""
    total = sum(mixture.values())
    parts = (f"{rows} of {name} ({rows / total:.0%})" for name, rows in mixture.items())
    return f"training rows are {', '.join(parts)}"
