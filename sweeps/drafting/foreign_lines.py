"""The settings of a spec that is proposed for another tool's configuration, each with where it was there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sweeps.drafting.budget import Budget
from sweeps.drafting.data_target import DataTarget, needs_reward, stage_class
from sweeps.drafting.foreign.carry_over import Carried, CarryOver
from sweeps.drafting.foreign.inputs import ForeignInputs
from sweeps.drafting.foreign.swift_rewards import own_names, reward_names, reward_terms
from sweeps.drafting.from_data import cutoff_line
from sweeps.drafting.held_out import SPLITS, chosen_split
from sweeps.drafting.methods import MethodChoice
from sweeps.drafting.proposal import STAGE_COMMENTS, written_data, written_path
from sweeps.drafting.row_facts import RowFacts
from sweeps.drafting.spec_text import Setting
from trainables.config.model import ModelConfig
from trainables.data.description import DataDescription
from trainables.data.errors import DataError
from trainables.system.wording import counted

STEPS_WITHOUT_ROWS = 100  # of packed rows whose number isn't known
REWARD = {"from": "RUN:CELL"}
NEEDED = "held out, which a comparison needs"


@dataclass(frozen=True)
class ForeignData:
    """The target, and what its rows are; ``None`` where they aren't here. The model may be known without the data."""

    model: ModelConfig | None
    target: DataTarget | None
    described: DataDescription | None
    facts: RowFacts | None
    problem: str | None = None


def carried_line(each: Carried, tool: str) -> Setting:
    """A setting with what the tool called it, and where."""
    return Setting(each.kept.key, each.kept.value, each.comment(tool), each.kept.active)


def model_lines(carried: CarryOver, data: ForeignData, inputs: ForeignInputs, folder: Path) -> list[Setting]:
    """The model that the file or the user names, and how it is loaded."""
    place = f"line {inputs.model_line}" if inputs.model_line else "as given"
    model = inputs.model
    if (found := data.model) is not None:
        model = {"path": str(found.path)} if found.path is not None else {"name": str(found.name)}
    lines = [
        Setting(key, written_path(value, folder) if key == "path" else value, place)
        for key, value in model.items()
    ]
    if not lines:
        lines = [Setting("name", "FILL-IN", "FILL IN: the file names no model")]
    return [*lines, *(carried_line(each, carried.tool) for each in carried.of("model").values())]


def data_lines(
    carried: CarryOver, data: ForeignData, inputs: ForeignInputs, folder: Path
) -> Iterator[Setting]:
    """The data sets, and how they are read."""
    given = dict(inputs.data)
    if data.target is not None:
        # With what the user gave in place of what the file says.
        config = data.target.data
        given |= {"train": config.train, **({"eval": config.eval} if config.eval else {})}
        given |= {"columns": dict(data.target.guessed)} if data.target.guessed else {}
    rows = f", {counted(data.facts.rows, 'row')}" if data.facts is not None else ""
    place = f"line {inputs.data_line}" if inputs.data_line else "as given"
    written = written_data(given, folder)
    yield Setting("train", written.pop("train", "FILL-IN"), f"{place}{rows}")
    for key, value in written.items():
        yield Setting(key, value, "guessed" if key == "columns" else place)
    skipped = {"cutoff", *SPLITS, *written}
    template = data.facts.template if data.facts is not None else None
    for key, each in carried.of("data").items():
        if key not in skipped:
            yield carried_line(each, carried.tool)
    if template is not None and "template" not in carried.of("data"):
        yield Setting("template", template, "the model has no chat template of its own")


def split_lines(carried: CarryOver, data: ForeignData, budget: Budget) -> list[Setting]:
    """Which rows are held out: as the file says, or a share, since a comparison needs rows that no trial has seen."""
    given = [carried_line(each, carried.tool) for key, each in carried.of("data").items() if key in SPLITS]
    if given or (data.target is not None and data.target.data.eval_names):
        return given
    if data.target is None or data.described is None:
        return [Setting("eval_fraction", budget.eval_fraction, NEEDED)]
    try:
        return chosen_split(data.target.data, data.described, budget).settings
    except DataError:
        return [Setting("eval_fraction", budget.eval_fraction, NEEDED)]


def cutoff_lines(carried: CarryOver, facts: RowFacts | None, budget: Budget) -> list[Setting]:
    """The maximum length of a row: the file's, or one that the rows fit in."""
    each = carried.of("data").get("cutoff")
    if each is not None:
        longest = f"; the longest row has {facts.longest:,} tokens" if facts is not None else ""
        return [Setting("cutoff", each.kept.value, f"{each.comment(carried.tool)}{longest}")]
    return [cutoff_line(facts, budget)] if facts is not None else []


def needs_reward_model(carried: CarryOver, stage: str) -> bool:
    """Whether a reward model has to be named: the configuration has one, or no reward at all."""
    values = carried.file.values
    return needs_reward(stage) and bool(values.get("reward_model") or not reward_names(values))


def stage_lines(carried: CarryOver, stage: str) -> list[Setting]:
    """The stage with its settings."""
    lines = [Setting("kind", stage, STAGE_COMMENTS[stage])]
    if needs_reward_model(carried, stage):
        lines.append(Setting("reward", REWARD, "FILL IN: a reward cell of a run"))
    values = carried.file.values
    if needs_reward(stage) and own_names(values):
        terms = [term for _, term in reward_terms(values)]
        lines.append(
            Setting("rewards", terms, "FILL IN: functions of your own in my_rewards.py", active=False)
        )
    known = stage_class(stage).model_fields
    return [
        *lines,
        *(carried_line(each, carried.tool) for key, each in carried.of("stage").items() if key in known),
    ]


def train_lines(
    carried: CarryOver, choice: MethodChoice, facts: RowFacts | None, budget: Budget
) -> Iterator[Setting]:
    """How trials train: as the file says, with smaller batches and more passes where its own don't fit."""
    train = dict(carried.of("train"))
    epochs, steps = train.pop("epochs", None), train.pop("steps", None)
    passes, packed = _passes(carried), _is_packed(carried)
    if steps is not None:
        yield carried_line(steps, carried.tool)
    elif epochs is not None and packed:
        count = _packed_steps(epochs.kept.value, choice.batch_size * passes, facts, budget)
        yield Setting(
            "steps", count, f"{epochs.comment(carried.tool)}: {epochs.kept.value:g} epochs of packed rows"
        )
    elif epochs is not None:
        yield carried_line(epochs, carried.tool)
    else:
        yield Setting("steps", budget.steps, "updates of the weights")
    smaller = choice.gradient_accumulation
    batch = train.pop("batch_size", None)
    note = f"{batch.comment(carried.tool)}" if batch is not None else "rows at a time"
    less = f"; {smaller} times as many don't fit" if smaller > 1 else ""
    yield Setting("batch_size", choice.batch_size, f"{note}{less}")
    accumulation = train.pop("gradient_accumulation", None)
    if passes * smaller > 1:
        comment = accumulation.comment(carried.tool) if accumulation is not None else "passes per step"
        yield Setting("gradient_accumulation", passes * smaller, comment)
    if "gradient_checkpointing" not in train and choice.checkpointing:
        yield Setting("gradient_checkpointing", True, "less memory; without it too little fits")
    for each in train.values():
        yield carried_line(each, carried.tool)


def trial_steps(carried: CarryOver, batch: int, facts: RowFacts | None, budget: Budget) -> int | None:
    """The steps of a trial with batches of ``batch`` rows, by the file's epochs or steps; ``None`` where they depend on
    rows that aren't known.
    """
    train = {key: each.kept.value for key, each in carried.of("train").items()}
    if "steps" in train:
        return int(train["steps"])
    rows = batch * _passes(carried)
    if facts is None or "epochs" not in train:
        return None
    if _is_packed(carried):
        return _packed_steps(train["epochs"], rows, facts, budget)
    # As ``TrainConfig.total_steps`` counts them.
    return max(1, -(-round(train["epochs"] * facts.training) // rows))


def _passes(carried: CarryOver) -> int:
    each = carried.of("train").get("gradient_accumulation")
    return int(each.kept.value) if each is not None else 1


def _is_packed(carried: CarryOver) -> bool:
    each = carried.of("train").get("packing")
    return each is not None and each.kept.value is True


def _packed_steps(epochs: float, rows: int, facts: RowFacts | None, budget: Budget) -> int:
    """The steps of some epochs over rows that are packed to the cutoff; ``rows``: packed rows of a step."""
    if facts is None:
        return STEPS_WITHOUT_ROWS
    tokens = float(facts.lengths.clip(max=budget.cutoff).sum()) * facts.rows / max(1, len(facts.lengths))
    packs = math.ceil(tokens * facts.training / max(1, facts.rows) / budget.cutoff)
    return max(1, math.ceil(epochs * packs / rows))


def tail_lines(carried: CarryOver, inputs: ForeignInputs) -> list[str]:
    """What was not carried over, one a line."""
    lines = [str(each) for each in carried.left_out] + list(inputs.notes)
    if not lines:
        return [f"Everything in {carried.file.file.name} was carried over."]
    return [f"Not carried over from {carried.file.file.name}:", *(f"  {line}" for line in lines)]
