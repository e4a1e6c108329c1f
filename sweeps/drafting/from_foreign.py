"""Proposes a spec for a configuration of LLaMA-Factory or ms-swift: what it says, and methods to compare it with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from sweeps.drafting.budget import BATCH, Budget, choose_budget, usual_share
from sweeps.drafting.data_target import model_setting, needs_reward, stage_class, target_of
from sweeps.drafting.foreign.carry_over import CarryOver
from sweeps.drafting.foreign.inputs import ForeignInputs, find_inputs
from sweeps.drafting.foreign.swift_rewards import own_names
from sweeps.drafting.foreign_lines import (
    ForeignData,
    carried_line,
    cutoff_lines,
    data_lines,
    model_lines,
    needs_reward_model,
    split_lines,
    stage_lines,
    tail_lines,
    train_lines,
    trial_steps,
)
from sweeps.drafting.from_data import Answers, head, model_choice
from sweeps.drafting.held_out import Share, held_out_share
from sweeps.drafting.method_lines import (
    METHOD_COMMENTS,
    left_out_methods,
    memory_choice,
    method_entries,
)
from sweeps.drafting.methods import CANDIDATES, Memory, MethodChoice, choose_methods
from sweeps.drafting.proposal import (
    Ingredients,
    Proposal,
)
from sweeps.drafting.reward_to_do import function_to_do, reward_to_do
from sweeps.drafting.row_facts import RowFacts, row_facts
from sweeps.drafting.spec_text import Section, Setting
from sweeps.spec import overrides
from sweeps.spec.problems import SpecError
from sweeps.spec.source import Source
from trainables.config.model import ModelConfig
from trainables.data.description import describe
from trainables.data.errors import DataError
from trainables.data.rows import Text
from trainables.models.folder import ModelError
from trainables.system.byte_sizes import gib
from trainables.system.wording import counted

FALLBACK_CUTOFF = 1024


def propose_for_foreign(
    carried: CarryOver, answers: Answers, memory: Memory, sets: Sequence[str] = ()
) -> Proposal:
    """A spec for another tool's configuration. ``sets``: settings of data and model that replace what it says."""
    inputs = _with_answers(find_inputs(carried), answers)
    stage = answers.stage or carried.stage or "sft"
    carried = _fitting_stage(carried, stage)
    row_type = stage_class(stage).row_type
    tree = {
        "data": {**_values(carried, "data"), **inputs.data},
        "model": {**_values(carried, "model"), **inputs.model},
    }
    data = _find_data(carried, tree, sets, stage, row_type)
    batch = max(stage_class(stage).min_worker_rows, int(_values(carried, "train").get("batch_size", BATCH)))
    cutoff = int(tree["data"].get("cutoff", 0)) or None
    share = _share(data)
    facts = data.facts
    if facts is not None and share.training is not None:
        facts = replace(facts, training=share.training)
    budget = _budget(facts, memory, batch, share.value, cutoff)
    carried = _within_trial(carried, batch, facts, budget)
    choice, own = _methods(carried, stage, data.model, batch, _longest(facts, budget), memory)
    split = split_lines(carried, data, budget)
    found = Ingredients(
        name=answers.name,
        head=[*head(answers), f"What {carried.tool} called it, and where, stands behind a setting."],
        model=model_lines(carried, data, inputs, answers.folder),
        data=[
            *data_lines(carried, data, inputs, answers.folder),
            *split,
            *cutoff_lines(carried, facts, budget),
        ],
        stage=stage_lines(carried, stage),
        methods=method_entries(choice, own, carried.method),
        method_remarks=left_out_methods(choice, memory, carried.method),
        train=list(train_lines(carried, choice, facts, budget)),
        budget=budget,
        tracking=[carried_line(each, carried.tool) for each in carried.of("tracking").values()],
        tail=tail_lines(carried, inputs),
    )
    here = data.described is not None
    to_do = [each for each in inputs.missing if not (here and each.startswith("data."))]
    to_do += [data.problem] if data.problem is not None and not to_do else []
    if needs_reward_model(carried, stage):
        to_do.append(reward_to_do(carried))
    if needs_reward(stage) and (functions := own_names(carried.file.values)):
        to_do.append(function_to_do(functions, carried.tool))
    if carried.stage is None and answers.stage is None:
        to_do.append("stages[0].kind: there is no such stage here, and sft stands in its place")
    return Proposal(
        found,
        (
            *_choices(carried, data, memory, choice, stage),
            *([f"held out: {share.note}"] if share.note else []),
        ),
        tuple(to_do),
        tuple(map(str, carried.left_out)),
    )


def _fitting_stage(carried: CarryOver, stage: str) -> CarryOver:
    """What is carried over, without settings that the stage has no use for."""
    cls = stage_class(stage)
    if cls.row_type is Text:
        for key in ("template", "default_system", "tool_format"):
            carried = carried.without("data", key, f"texts of {stage} have no turns")
    if not cls.can_pack:
        carried = carried.without("train", "packing", f"rows of {stage} can't be packed")
    return carried


def _within_trial(carried: CarryOver, batch: int, facts: RowFacts | None, budget: Budget) -> CarryOver:
    """What is carried over, without intervals that are longer than a trial."""
    steps = trial_steps(carried, batch, facts, budget)
    for key in ("save_steps", "eval_steps", "logging_steps"):
        each = carried.of("train").get(key)
        if steps is not None and each is not None and each.kept.value > steps:
            carried = carried.without("train", key, f"a trial has {steps} steps")
    if "eval_steps" not in carried.of("train"):
        for key in ("early_stopping", "keep"):
            carried = carried.without("train", key, "it needs validations on the way, and a trial has none")
    return carried


def _with_answers(inputs: ForeignInputs, answers: Answers) -> ForeignInputs:
    """The inputs, with the model that the user gave in place of that of the file."""
    if "model" not in answers.said:
        return inputs
    missing = tuple(each for each in inputs.missing if not each.startswith("model."))
    return replace(inputs, model=dict(model_setting(answers.model)), model_line=0, missing=missing)


def _values(carried: CarryOver, section: str) -> dict[str, Any]:
    return {key: each.kept.value for key, each in carried.of(section).items() if each.kept.active}


def _find_data(
    carried: CarryOver, tree: dict[str, Any], sets: Sequence[str], stage: str, row_type: type
) -> ForeignData:
    name = str(tree["data"].get("train", "data"))
    written = overrides.apply(
        Source(carried.file.file, "", {key: part for key, part in tree.items() if part}, {}), sets
    )
    try:
        model = ModelConfig.model_validate(written.tree.get("model"))
    except ValidationError:
        model = None
    target = None
    try:
        target = target_of(name, written)
        described = describe(target.data, row_type)
    except (SpecError, DataError, ModelError) as error:
        return ForeignData(model, target, None, None, f"data.train: {error}")
    facts = row_facts(target, described, stage) if target.model is not None else None
    return ForeignData(target.model, target, described, facts)


def _share(data: ForeignData) -> Share:
    """The share of the rows that is held out where the file doesn't say it."""
    if data.target is None or data.described is None:
        return Share(usual_share(0))
    rows = len(data.described.rows.rows)
    return held_out_share(data.target.data, data.described.row_type, usual_share(rows))


def _budget(facts: RowFacts | None, memory: Memory, batch: int, share: float, cutoff: int | None) -> Budget:
    if facts is not None:
        return choose_budget(facts, memory.device, batch, share, cutoff)
    import numpy as np

    unknown = RowFacts(0, 0, np.array([cutoff or FALLBACK_CUTOFF]), True)
    return choose_budget(unknown, memory.device, batch, share, cutoff)


def _longest(facts: RowFacts | None, budget: Budget) -> int:
    return budget.cutoff if facts is None else min(budget.cutoff, facts.longest)


def _methods(
    carried: CarryOver, stage: str, model: ModelConfig | None, batch: int, tokens: int, memory: Memory
) -> tuple[MethodChoice, list[Setting | Section]]:
    """The methods to compare, and the entry of the one that the configuration has."""
    kind, settings = carried.method, _values(carried, "method")
    candidates = dict(CANDIDATES) | ({kind: {"kind": kind, **settings}} if kind is not None else {})
    stage_settings = {
        "kind": stage,
        **_values(carried, "stage"),
        **({"reward": "commands"} if needs_reward(stage) else {}),
    }
    if model is None:
        choice = MethodChoice(tuple(candidates), batch, unknown="the model isn't known")
    else:
        name = str(model.path or str(model.name).removeprefix("ms:"))
        choice = choose_methods(name, stage_settings, batch, tokens, memory, candidates)
    if kind is None:
        return choice, []
    comment = f"{METHOD_COMMENTS[kind]}; as {carried.tool} trains it"
    if (peak := choice.peaks.get(kind)) is not None:
        fits = "" if kind in choice.methods else ", which is more than there is"
        comment = f"as {carried.tool} trains it; predicted peak {gib(peak, '.2f')}{fits}"
    own: list[Setting | Section] = [Setting("kind", kind, comment)]
    own += [carried_line(each, carried.tool) for each in carried.of("method").values()]
    rate = carried.of("rate").get("learning_rate")
    if rate is not None:
        own.append(Section("train", [carried_line(rate, carried.tool)]))
    return choice, own


def _choices(
    carried: CarryOver, data: ForeignData, memory: Memory, choice: MethodChoice, stage: str
) -> Iterator[str]:
    own = f"{carried.method} on stage {stage}" if carried.method else f"stage {stage}"
    of_file = sum(1 for each in carried.carried if each.origin.line)
    yield f"from {carried.tool}'s {carried.file.file.name}: {own}; {of_file} settings carried over, with their lines"
    defaults = [each.origin.key for each in carried.carried if not each.origin.line]
    if defaults:
        yield f"not said there, so {carried.tool}'s defaults count: {', '.join(dict.fromkeys(defaults))}"
    if data.facts is not None and data.described is not None:
        yield f"data: {counted(data.facts.rows, 'row')}"
        yield from data.described.rows.notes
    if data.model is not None:
        yield model_choice(data.model, chosen=True)
    yield memory_choice(choice, memory)
    if carried.method is not None:
        rate = carried.of("rate").get("learning_rate")
        searched = (
            "; its first trial has the file's learning rate, the others search around it"
            if rate is not None
            else ""
        )
        yield f"{carried.method} is as the file has it{searched}; delete the other methods to train it alone"
