"""Whether what cells take from one another fits: templates, held-out rows, reward adapters and their bases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sweeps.planning.cell import Cell
from sweeps.planning.checks.cell import CheckedDraft
from sweeps.planning.dependencies import MODEL_FROM, STAGE_REWARD, dependency_chain
from sweeps.planning.draft import problem_at
from sweeps.spec.problems import Problem
from sweeps.spec.spec import Spec
from trainables.data.arrow_rows import keys
from trainables.data.loading import load
from trainables.trial.config import TrialConfig


def problems(spec: Spec, checked: Sequence[CheckedDraft]) -> Iterator[Problem]:
    """What doesn't fit between cells, once each of them is well by itself."""
    cells = {one.cell.name: one.cell for one in checked if one.cell is not None}
    for one in checked:
        if one.cell is None or not set(one.cell.depends_on) <= cells.keys():
            continue
        config = one.cell.first()
        for part, _, trained in config.trained():
            source = cells.get(str(trained.cell))
            if source is None:
                continue
            if part == "stage":
                what = _unrewarding(source.first(), config)
                yield from [problem_at(spec, one.draft, STAGE_REWARD, what)] if what else []
            else:
                for what in _unlike(one.cell, config, source, cells):
                    yield problem_at(spec, one.draft, MODEL_FROM, what, error=False)


def _unrewarding(source: TrialConfig, own: TrialConfig) -> str | None:
    """Why a reward cell's model can't reward a cell's answers."""
    assert source.method is not None
    assert own.method is not None
    if not source.method.saves_adapter:
        return None
    if getattr(source.method, "dora", False):
        return f"{source.cell} trains with dora, which can't share the policy's base; leave dora out there"
    if not own.method.reference_stays:
        return (
            f"{source.cell} gives an adapter, and with {own.method_name} the base it belongs to trains; take a "
            "reward cell of full or freeze"
        )
    theirs, ours = (config.model.start.identity if config.model.start else None for config in (source, own))
    if theirs != ours:
        return (
            f"{source.cell} gives an adapter on {theirs or 'the base model'}, and {own.cell} stands on "
            f"{ours or 'the base model'}; give both stages the same model"
        )
    return None


def _unlike(cell: Cell, config: TrialConfig, source: Cell, cells: Mapping[str, Cell]) -> Iterator[str]:
    """What makes a cell's results hard to read, given what it goes on from."""
    before = source.first()
    if before.stage.row_type.__name__ != "Text" and before.data.template != config.data.template:
        yield (
            f"{source.name} is trained with the template {before.data.template or 'of the model'}, {cell.name} with "
            f"{config.data.template or 'that of the model'}; give both the same data.template"
        )
    held = load(config.data, config.stage.row_type)
    scored = np.concatenate([_prompts(held.validation), _prompts(held.test)])
    for name in dependency_chain(source.name, lambda each: _trained_on(cells[each])):
        earlier = cells[name].first()
        known = _prompts(load(earlier.data, earlier.stage.row_type).train)
        seen = int(np.isin(scored, known).sum())
        if seen:
            yield (
                f"{seen} of {len(scored)} rows that {cell.name} is scored on have a prompt that {name} trains on; "
                "hold out the same prompts in both (the same data, eval and eval_fraction)"
            )


def _trained_on(cell: Cell) -> list[str]:
    """The cells whose weights it goes on from: a reward model's training isn't in what it leaves."""
    return [
        str(trained.cell) for part, _, trained in cell.first().trained() if part == "model" and trained.cell
    ]


def _prompts(rows: Any) -> np.ndarray:
    return np.asarray(keys(rows.table)[rows.indices])
