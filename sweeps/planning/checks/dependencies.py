"""Whether cells fit those they depend on: same templates, rows held out in both, reward adapters on the same base."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sweeps.planning.cell import Cell
from sweeps.planning.checks.cell import CheckedDraft
from sweeps.planning.dependencies import MODEL_FROM, STAGE_REWARD, dependency_chain
from sweeps.planning.inputs import merge_problem
from sweeps.spec.problems import Problem
from trainables.data.loading import load
from trainables.templates.message_changes import OMIT
from trainables.trial.config import TrialConfig

# Settings of the data that change what the template writes of a conversation, besides the template itself.
SAME_IN_BOTH = ("template_arguments", "default_system", "tool_format")


def problems(checked: Sequence[CheckedDraft]) -> Iterator[Problem]:
    """What does not fit between cells that are valid by themselves."""
    cells = {each.cell.name: each.cell for each in checked if each.cell is not None}
    configs = {each.cell.name: each.configs for each in checked if each.cell is not None}
    for each in checked:
        # A dependency that became no cell has problems of its own, to be corrected first.
        if each.cell is None or not set(each.cell.depends_on) <= cells.keys():
            continue
        config = each.cell.first()
        for part, _, trained in config.trained():
            source = cells.get(str(trained.cell))
            if source is None:
                continue
            if part == "stage":
                what = _reward_problem(source.first(), config)
                yield from [each.draft.problem(STAGE_REWARD, what)] if what else []
            else:
                obstacles = (merge_problem(source_config) for source_config in configs[source.name])
                if (obstacle := next(filter(None, obstacles), None)) is not None:
                    what = f"no stage can continue from {source.name}: {obstacle}; take another method there"
                    yield each.draft.problem(MODEL_FROM, what)
                for what in _comparability_problems(each.cell, config, source, cells):
                    yield each.draft.problem(MODEL_FROM, what, error=False)


def _reward_problem(reward: TrialConfig, policy: TrialConfig) -> str | None:
    """Why a reward cell's model can't reward a policy's answers."""
    assert reward.method is not None
    assert policy.method is not None
    # A whole reward model is loaded beside the policy. An adapter shares the policy's base model in memory, so that
    # must be the one it was trained on, and stay as it is.
    if not reward.method.saves_adapter:
        return None
    if getattr(reward.method, "dora", False):
        return (
            f"{reward.cell} trains with dora, which can't share the policy's base model; leave dora out there"
        )
    if not policy.method.reference_stays:
        return (
            f"{reward.cell} gives an adapter, and {policy.method_name} trains the base model that it belongs to; "
            "take a reward cell of full or freeze"
        )
    bases = [config.model.start.identity if config.model.start else None for config in (reward, policy)]
    if bases[0] != bases[1]:
        of_reward, of_policy = (base or "the base model" for base in bases)
        return (
            f"{reward.cell} gives an adapter on {of_reward}, and {policy.cell} starts from {of_policy}; "
            "give both stages the same model"
        )
    return None


def _comparability_problems(
    cell: Cell, config: TrialConfig, source: Cell, cells: Mapping[str, Cell]
) -> Iterator[str]:
    """What makes a cell's results hard to interpret, given the cell that it continues from."""
    previous = source.first()
    yield from _template_problems(cell.name, config, source.name, previous)
    held_out: Any = load(config.data, config.stage.row_type)
    grouped = config.data.group is not None
    scored = pa.concat_arrays([part.openings(grouped) for part in (held_out.validation, held_out.test)])
    for name in dependency_chain(source.name, lambda each: _continues_from(cells[each])):
        earlier = cells[name].first()
        rows: Any = load(earlier.data, earlier.stage.row_type).train
        # As the split compares them: whatever the system prompt, case and white space.
        seen = pc.sum(pc.is_in(scored, value_set=rows.openings(earlier.data.group is not None))).as_py()
        if seen:
            yield (
                f"{seen} of {len(scored)} rows that {cell.name} is scored on open with a user turn that {name} trains "
                "on; hold out the same prompts in both (the same data, eval and eval_fraction)"
            )


def _template_problems(
    name: str, config: TrialConfig, source_name: str, source: TrialConfig
) -> Iterator[str]:
    """What makes conversations of the cell other texts than those that it continues from was trained on."""
    # Plain text is trained without a template, so two stages can't disagree about it.
    if source.stage.row_type.__name__ == "Text":
        return
    if source.data.template != config.data.template:
        yield (
            f"{source_name} is trained with the template {source.data.template or 'of the model'}, {name} "
            f"with {config.data.template or 'that of the model'}; give both the same data.template"
        )
    for key in SAME_IN_BOTH:
        before, now = (_shown(getattr(each.data, key)) for each in (source, config))
        if before != now:
            yield f"{source_name} is trained with data.{key} {before}, {name} with {now}; give both the same"


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if value and value != OMIT else "none"


def _continues_from(cell: Cell) -> list[str]:
    """The cells whose weights a cell continues from. A reward model's training does not enter the weights."""
    return [
        str(trained.cell) for part, _, trained in cell.first().trained() if part == "model" and trained.cell
    ]
