"""A proposed spec: its parts with a comment each, what was chosen and why, and what is left to be filled in."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeps.drafting.budget import Budget
from sweeps.drafting.claims import claim_remarks
from sweeps.drafting.spec_text import Entries, Part, Remark, Section, Setting, spec_text, spec_tree
from sweeps.spec.naming import MAX_LENGTH, safe_name
from trainables.storage import files

HASH_LENGTH = 6  # in a name for a run, of a text that has no letters for it
FEWEST_TO_STOP = 5  # trials of a method, of which some may be stopped early
MOST_UPWARDS = 2  # folders that a relative path may go up before it is written as an absolute one

STAGE_COMMENTS = {
    "sft": "the model learns the answers",
    "pretrain": "the model learns to go on with the texts",
    "dpo": "the model learns to prefer the chosen answers to the rejected ones",
    "kto": "the model learns from answers that are labelled good or bad",
    "orpo": "the model learns the chosen answers, and to prefer them, in one",
    "simpo": "the model learns to prefer the chosen answers, without a reference",
    "classification": "a head learns which label a text has",
    "reward": "the model learns to give answers a reward",
    "ppo": "the model learns from rewards for answers of its own",
    "grpo": "the model compares answers of its own by their rewards",
}


@dataclass(frozen=True)
class Ingredients:
    """What a proposal is put together from; each section as the settings to write.

    ``training_rows``: of the data, where the steps are proposed and not given. ``minutes``: what the budget is
    predicted to take, in words.
    """

    name: str
    head: Sequence[str]
    model: Sequence[Setting]
    data: Sequence[Setting]
    stage: Sequence[Setting]
    methods: Sequence[Sequence[Setting | Section]]
    method_remarks: Sequence[str]
    train: Sequence[Setting]
    budget: Budget
    tracking: Sequence[Setting] = ()
    tail: Sequence[str] = ()
    training_rows: int | None = None
    minutes: str = "unknown"

    def with_budget(self, budget: Budget, minutes: str) -> Ingredients:
        """The same with another budget; its steps count where they were proposed."""
        steps = steps_line(budget, self.training_rows, self.rows_per_step) if self.training_rows else None
        train = [steps if line.key == "steps" and steps is not None else line for line in self.train]
        return replace(self, budget=budget, minutes=minutes, train=train)

    @property
    def rows_per_step(self) -> int:
        given = {line.key: line.value for line in self.train if line.active}
        return int(given["batch_size"]) * int(given.get("gradient_accumulation", 1))


OPTIONAL = (("model", "attention"), ("model", "kernels"), ("train", "precision"), ("train", "optimizer"))


@dataclass(frozen=True)
class Proposal:
    """``choices``: what was chosen and why, in sentences. ``to_do``: what has to be filled in before it can be planned.

    ``left_out``: settings of another tool's file that have no counterpart, one a line.
    """

    ingredients: Ingredients
    choices: tuple[str, ...]
    to_do: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return spec_text(compose(self.ingredients))

    @property
    def tree(self) -> dict[str, Any]:
        return spec_tree(compose(self.ingredients))

    def with_comments(self, refused: Mapping[str, str]) -> Proposal:
        """The same with those settings as comments that a plan refuses by their path, if they can be left out."""
        ingredients, choices = self.ingredients, list(self.choices)
        for section, key in OPTIONAL:
            if (reason := refused.get(f"{section}.{key}")) is None:
                continue
            lines: Sequence[Setting] = getattr(ingredients, section)
            changed = [
                replace(line, active=False, comment=reason) if line.key == key else line for line in lines
            ]
            if changed != list(lines):
                ingredients = replace(ingredients, **{section: changed})  # type: ignore[arg-type]
                choices.append(
                    f"{section}.{key} is written as a comment, as the plan refuses it here: {reason}"
                )
        return replace(self, ingredients=ingredients, choices=tuple(choices))

    def with_budget(self, budget: Budget, minutes: str) -> Proposal:
        """The same with another budget; ``minutes``: what it is predicted to take, in words."""
        return replace(self, ingredients=self.ingredients.with_budget(budget, minutes))


def compose(found: Ingredients) -> tuple[Part, ...]:
    """The parts of the spec, in the order in which they are read."""
    claims = claim_remarks(found.methods)
    return (
        Remark(found.head),
        Setting("name", found.name, f"the run's folder is runs/{found.name}"),
        Section("model", found.model),
        Section("data", found.data),
        Entries("stages", [found.stage]),
        Entries("methods", found.methods, "they are compared; each gets the same budget"),
        *([Remark([f"  {line}" for line in found.method_remarks])] if found.method_remarks else []),
        Section("train", found.train, "each method searches its own range of learning rates"),
        Section("search", _search_lines(found.budget), f"predicted minutes of the sweep: {found.minutes}"),
        Section("finalists", [Setting("seeds", found.budget.seeds, _seeds_comment(found.budget.seeds))]),
        *([Section("tracking", found.tracking)] if found.tracking else []),
        *([Remark(claims)] if claims else []),
        Remark(
            [
                "resources: nothing is given, so the plan takes what this machine has, and says what; as in",
                "resources: {concurrent: 2}, at most two trials at a time",
            ]
        ),
        *([Remark(found.tail)] if found.tail else []),
    )


def _search_lines(budget: Budget) -> list[Setting]:
    lines = [Setting("trials", budget.trials, "trials of each method, with different settings")]
    if budget.trials < FEWEST_TO_STOP:
        lines.append(
            Setting("scheduler", "none", "so few are not stopped early; asha stops those that are behind")
        )
    return lines


def steps_line(budget: Budget, training_rows: int, rows_per_step: int) -> Setting:
    """The steps of a trial, and how often they see each row."""
    seen = budget.steps * rows_per_step / max(1, training_rows)
    return Setting("steps", budget.steps, f"updates of the weights: every row about {seen:.2g} times")


def _seeds_comment(seeds: int) -> str:
    if seeds == 1:
        return "each method's best settings are not trained again"
    return f"each method's best settings are trained again with {seeds} other seeds, to show what depends on the seed"


def written_path(path: str, folder: Path) -> str:
    """An absolute path as a spec in ``folder`` names it: relative where that is short.

    >>> written_path("/home/ada/data/rows.csv", Path("/home/ada"))
    'data/rows.csv'
    """
    relative = os.path.relpath(path, folder)
    return path if relative.startswith("../" * (MOST_UPWARDS + 1)) else relative


def written_data(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Settings of data with the paths among them as a spec in ``folder`` names them."""

    def written(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [written(item) for item in value]
        return written_path(value, folder) if isinstance(value, str) and value.startswith("/") else value

    return {key: written(value) for key, value in settings.items()}


def run_name(text: str) -> str:
    """A name for a run that is a file name, made of a text. Letters lose their accents; where other letters are lost, a
    hash of the text tells names apart.

    >>> run_name("My café.v2"), run_name("中文"), run_name("中文 data")
    ('My-cafe.v2', 'sweep-ae5501', 'data-58d5be')
    """
    plain = "".join(each for each in unicodedata.normalize("NFKD", text) if not unicodedata.combining(each))
    name = safe_name(plain)[: MAX_LENGTH - HASH_LENGTH - 1].strip("-.")
    is_whole = all(each.isascii() for each in plain if each.isalnum())
    return (
        (name or "sweep")
        if is_whole
        else f"{name or 'sweep'}-{files.sha256(unicodedata.normalize('NFC', text))[:HASH_LENGTH]}"
    )
