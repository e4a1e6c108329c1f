"""Proposes a spec for data: the stage that its rows are for, the methods that fit, and a first budget."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sweeps.drafting.budget import Budget, choose_batch, choose_budget, usual_share
from sweeps.drafting.data_target import DataTarget, needs_reward, stage_class
from sweeps.drafting.held_out import (
    SPLITS,
    changed,
    chosen_split,
    halves_in_words,
    held_out_choice,
    held_out_share,
    is_given,
)
from sweeps.drafting.method_lines import (
    left_out_methods,
    memory_choice,
    method_entries,
)
from sweeps.drafting.methods import Memory, MethodChoice, choose_methods
from sweeps.drafting.proposal import (
    STAGE_COMMENTS,
    Ingredients,
    Proposal,
    steps_line,
    written_data,
    written_path,
)
from sweeps.drafting.reward_to_do import reward_to_do
from sweeps.drafting.row_facts import RowFacts, row_facts
from sweeps.drafting.spec_text import Setting
from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.data.converted_rows import load_uncut
from trainables.data.description import KINDS, DataDescription, describe
from trainables.data.errors import DataError
from trainables.data.files.data_files import find_data_files
from trainables.data.files.doubtful_files import HELD_OUT
from trainables.models import locate
from trainables.models.folder import ModelError
from trainables.system.wording import counted

READ_COLUMNS = re.compile(r"from its columns: ([^;)]+)")  # in a note on how a file is read
INTERNAL = frozenset({"train", "eval", "split_by", "sha256", "folder", "cutoff", "template"})


@dataclass(frozen=True)
class Answers:
    """What the user said, or what counts where nothing was said; ``said`` names what was."""

    model: str
    stage: str | None
    name: str
    folder: Path  # of the spec
    command: str  # as it was typed, for the first line
    said: frozenset[str] = frozenset()


def propose_for_data(target: DataTarget, answers: Answers, memory: Memory) -> Proposal:
    """A spec for the data of a target with a model. Raises ``DataError`` for data that no stage learns from."""
    target, held_out_note = _with_held_out_files(target)
    assert target.model is not None
    row_type = stage_class(answers.stage).row_type if answers.stage is not None else None
    described = describe(target.data, row_type)
    stage = answers.stage or described.stage
    if stage is None:
        raise DataError(
            f"{described.rows.name} has {KINDS[described.row_type]}, and no stage learns from these alone: add a "
            "column with answers, or use --stage ppo or grpo, which needs a reward model"
        )
    facts = row_facts(target, described, stage)
    batch = choose_batch(facts, memory.device, stage_class(stage).min_worker_rows)
    share = held_out_share(target.data, described.row_type, usual_share(facts.rows))
    budget = choose_budget(facts, memory.device, batch, share.value)
    split = chosen_split(target.data, described, budget)
    stage_settings = {"kind": stage, **({"reward": "commands"} if needs_reward(stage) else {})}
    choice = choose_methods(
        _model_name(target), stage_settings, batch, min(budget.cutoff, facts.longest), memory
    )
    training_rows = len(split.data.train)
    found = Ingredients(
        name=answers.name,
        head=head(answers),
        model=[model_line(target, answers)],
        data=[
            *_data_lines(target, described, facts, answers.folder),
            *split.settings,
            cutoff_line(facts, budget),
        ],
        stage=_stage_lines(stage),
        methods=method_entries(choice),
        method_remarks=left_out_methods(choice, memory),
        train=_train_lines(budget, choice, training_rows),
        budget=budget,
        training_rows=training_rows,
    )
    choices = (
        f"data: {counted(facts.rows, 'row')} of {KINDS[described.row_type]}, so the stage is {stage}",
        *described.rows.notes,
        *([note] if (note := target.guess_note()) is not None else []),
        *([held_out_note] if held_out_note is not None else []),
        model_choice(target.model, "model" in answers.said),
        memory_choice(choice, memory),
        _length_choice(facts, budget),
        f"held out: {share.note or held_out_choice(target.data, split.settings)}; {split.halves}",
    )
    to_do = (reward_to_do(),) if needs_reward(stage) else ()
    return Proposal(found, choices, to_do)


def with_proposed_share(target: DataTarget, row_type: type) -> DataTarget:
    """The target with as many rows held out as a proposed spec would, unless it is said which are."""
    if is_given(target.data):
        return target
    target, held_out_files = _with_held_out_files(target)
    if held_out_files is not None:
        return replace(target, share_note=f"{held_out_files}; paretune init does the same")
    rows = len(load_uncut(target.data, row_type).rows)
    share = held_out_share(target.data, row_type, usual_share(rows)).value
    note = (
        f"paretune init holds out as much (eval_fraction: {share:g}); a spec that says nothing of it holds out "
        f"{DataConfig.model_fields['eval_fraction'].default:g}"
    )
    return replace(target, data=changed(target.data, eval_fraction=share), share_note=note)


def head(answers: Answers) -> list[str]:
    """The first lines of a spec: where it is from, and what to do with it."""
    return [
        f"Written by {answers.command}. Every key and default: paretune's sweeps/README.md, under The spec.",
        "A value may be a search, {choice: [...]}, {log: [low, high]}; {compare: [...]} makes methods of it.",
    ]


def model_line(target: DataTarget, answers: Answers) -> Setting:
    """The model's name or path, and whether it was chosen."""
    assert target.model is not None
    comment = "the model that is trained"
    if target.model.path is not None:
        return Setting("path", written_path(str(target.model.path), answers.folder), comment)
    return Setting("name", target.model.name, comment)


def model_choice(model: ModelConfig, chosen: bool) -> str:
    """Which model it is, whether it was chosen, and whether it is on this machine, in a sentence."""
    default = "" if chosen else " (small, for a first try; --model for another)"
    try:
        locate.model_folder(model)
        place = "on this machine"
    except ModelError:
        place = f"not on this machine yet: paretune run downloads it, or paretune fetch {model.name}"
    return f"model: {model.label}{default}, {place}"


def _model_name(target: DataTarget) -> str:
    """The model as its memory is predicted by: a hub's prefix says nothing about its shape."""
    assert target.model is not None
    return str(target.model.path or str(target.model.name).removeprefix("ms:"))


def _with_held_out_files(target: DataTarget) -> tuple[DataTarget, str | None]:
    """The target with those files of its folder held out that are so by name."""
    path = Path(target.data.names[0])
    if target.data.eval_names or len(target.data.names) > 1 or not path.is_dir():
        return target, None
    files = find_data_files(path)
    held_out = [file for file in files if HELD_OUT.search(file.name.lower())]
    if not 0 < len(held_out) < len(files):
        return target, None
    train = [str(file) for file in files if file not in held_out]
    update = {"train": _one_or_more(train), "eval": _one_or_more(list(map(str, held_out)))}
    names = ", ".join(file.name for file in held_out)
    return replace(target, data=changed(target.data, **update)), f"held out, by the files' names: {names}"


def _one_or_more(names: list[str]) -> str | tuple[str, ...]:
    return names[0] if len(names) == 1 else tuple(names)


def _data_lines(
    target: DataTarget, described: DataDescription, facts: RowFacts, folder: Path
) -> Iterator[Setting]:
    data = target.data
    written = written_data(data.model_dump(mode="json", exclude_unset=True), folder)
    (note, *others) = described.rows.notes or ("",)
    columns = READ_COLUMNS.search(note)
    form = f": {columns[1].strip()}" if columns and not others else ""
    yield Setting("train", written["train"], f"{counted(facts.rows, 'row')}{form}")
    if data.eval_names:
        halves = f": {halves_in_words(described.split)}" if described.split is not None else ""
        yield Setting("eval", written["eval"], f"held out{halves}")
    if data.folder is not None and data.train not in ("commands",):
        yield Setting(
            "folder", written_path(str(data.folder), folder), "has the dataset_info.json that names the data"
        )
    if target.guessed:
        yield Setting("columns", dict(target.guessed), "guessed; paretune data shows what is read")
    for key, value in written.items():
        if (
            key not in INTERNAL
            and key not in SPLITS
            and value is not None
            and not (key == "columns" and target.guessed)
        ):
            yield Setting(key, value, "as given")
    if facts.template is not None:
        yield Setting("template", facts.template, "the model has no chat template of its own")
    elif data.template is not None:
        yield Setting("template", data.template, "as given")


def cutoff_line(facts: RowFacts, budget: Budget) -> Setting:
    """The maximum length of a row, and the longest that there is."""
    longest = f"the longest row has {'about ' if facts.estimated else ''}{facts.longest:,} tokens"
    cut = int((facts.lengths > budget.cutoff).sum())
    rest = f", and {cut / len(facts.lengths):.0%} of the rows are cut" if cut else ""
    return Setting("cutoff", budget.cutoff, f"tokens per row; {longest}{rest}")


def _length_choice(facts: RowFacts, budget: Budget) -> str:
    estimated = ", estimated from the length of the texts" if facts.estimated else ""
    longest = f"the longest row has {facts.longest:,}{estimated}"
    if budget.cutoff == facts.positions and facts.longest > budget.cutoff:
        return f"cutoff: {budget.cutoff} tokens, as the model was trained on no more; {longest}"
    return f"cutoff: {budget.cutoff} tokens, as {longest}"


def _stage_lines(stage: str) -> list[Setting]:
    lines = [Setting("kind", stage, STAGE_COMMENTS[stage])]
    if needs_reward(stage):
        lines.append(Setting("reward", {"from": "RUN:CELL"}, "FILL IN: a reward cell of an earlier run"))
    return lines


def _train_lines(budget: Budget, choice: MethodChoice, training_rows: int) -> list[Setting]:
    lines = [
        steps_line(budget, training_rows, choice.batch_size * choice.gradient_accumulation),
        Setting("batch_size", choice.batch_size, "rows at a time"),
    ]
    if choice.gradient_accumulation > 1:
        passes = "passes per step, as more rows don't fit at once"
        lines.append(Setting("gradient_accumulation", choice.gradient_accumulation, passes))
    if choice.checkpointing:
        lines.append(
            Setting(
                "gradient_checkpointing",
                True,
                "less memory for a third more time; without it too little fits",
            )
        )
    return lines
