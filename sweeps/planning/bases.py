"""The untrained models that a plan scores: what its cells' trials start from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from sweeps.planning.cell import Cell, build_config
from sweeps.spec.entries import BASE
from sweeps.spec.naming import distinguishing_tags, join_name
from trainables.trial.config import TrialConfig

FILLED = ("fingerprint", "sha256", "planned_sets")
OF_TRAINING = ("mix", "weights")  # of the data: in which shares and order its rows are trained on


def base_configs(cells: Sequence[Cell]) -> Iterator[TrialConfig]:
    """The untrained model once for each stage, model and data, with the training settings of the first such cell."""
    for stage in dict.fromkeys(cell.stage for cell in cells):
        bases: dict[str, TrialConfig] = {}
        for cell in cells:
            if cell.stage == stage and cell.holds_out:
                base = base_config(cell)
                bases.setdefault(_scoring_identity(base), base)
        tags = distinguishing_tags([_distinguishing_settings(base) for base in bases.values()])
        for base, tag in zip(bases.values(), tags, strict=True):
            yield base.model_copy(update={"cell": join_name(stage, BASE, tag)})


def base_config(cell: Cell) -> TrialConfig:
    """The config that scores what a cell's trials start from, untrained, with the cell's first training settings."""
    # A base has no method, so a value for one of its leaves would have no place in the tree.
    first = {
        leaf: domain.probes()[0] for leaf, domain in cell.space.items() if not leaf.startswith("method.")
    }
    name = join_name(cell.stage, BASE)
    tree = {**cell.tree, "cell": name, "method": None, "method_name": BASE, "role": "base"}
    config = build_config(tree, first)
    if config.data.eval_cutoff is None:
        return config
    # Nothing is trained at the other one, so that cells of several cutoffs have one base.
    scored = {"cutoff": config.data.eval_cutoff, "eval_cutoff": None}
    return config.model_copy(update={"data": config.data.model_copy(update=scored)})


def _scoring_identity(base: TrialConfig) -> str:
    """Bases with the same stage, model and data get the same scores."""
    return json.dumps([base.stage.model_dump(mode="json"), _settings(base.model), _settings(base.data)])


def _distinguishing_settings(base: TrialConfig) -> dict[str, Any]:
    """The settings by which the bases of one stage may differ; trained models by the cells or trials they are from."""
    model = {key: value for key, value in _settings(base.model).items() if key != "start" and value}
    model["unsafe"] = "-".join(base.model.unsafe)
    trained_models = {key: trained.identity for _, key, trained in base.trained()}
    return {"model": model, "data": _without_lists(_settings(base.data)), **trained_models}


def _without_lists(value: Any) -> Any:
    """A setting's values as tuples: mappings of lists would be domains, whose parts are no settings of their own."""
    if isinstance(value, dict):
        return {key: _without_lists(item) for key, item in value.items()}
    return tuple(map(_without_lists, value)) if isinstance(value, list) else value


def _settings(config: Any) -> dict[str, Any]:
    """A config as people write it, without the hashes that planning fills in, and without what only training sees."""
    return dict(config.model_dump(mode="json", exclude={*FILLED, *OF_TRAINING}))
