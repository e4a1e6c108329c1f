"""What a user has to do for a stage that learns from rewards: another tool's reward model can't be read, so one is
trained here first.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from sweeps.drafting.foreign.carry_over import CarryOver
from sweeps.drafting.foreign.foreign_file import ForeignFile, read_foreign
from sweeps.spec.problems import SpecError

MOST_FILES = 200  # beside a configuration that are looked at
SUFFIXES = (".yaml", ".yml", ".json")
ANY_PAIRS = "paretune init PAIRS --stage reward"


def reward_to_do(carried: CarryOver | None = None) -> str:
    """The commands that train a reward model, and where its name goes. Of another tool's configuration: with the
    configuration that trained its reward model there, where that is beside it.
    """
    command = ANY_PAIRS
    if carried is not None:
        found = next(_reward_configurations(carried.file), None)
        command = f"paretune init {shlex.quote(os.path.relpath(found))}" if found is not None else command
        command += "" if found is not None else f", or of {carried.tool}'s configuration of its reward model"
    return (
        f"stages[0].reward: a reward model that was trained here, in place of RUN:CELL. To train one: {command}; then "
        "paretune run on the spec that it writes; then reward: {from: runs/NAME:CELL} with that run's name and cell"
    )


def function_to_do(functions: Sequence[str], tool: str) -> str:
    """How rewards that are functions of another tool, by their names, are given here."""
    name = functions[0].rpartition(":")[2]
    return (
        f"stages[0].rewards: {', '.join(functions)} of {tool}, each written as a function {name}(prompts, answers, "
        "columns) of your own in my_rewards.py beside the spec, which --trust method_code allows to run"
    )


def _reward_configurations(file: ForeignFile) -> Iterator[Path]:
    """The configurations in the same folder whose output is the reward model of this one."""
    model = file.values.get("reward_model")
    if not isinstance(model, str) or not model:
        return
    beside = sorted(path for path in file.file.resolve().parent.iterdir() if path.suffix in SUFFIXES)
    for path in beside[:MOST_FILES]:
        try:
            found = read_foreign(path)
        except SpecError:
            continue
        output = found.values.get("output_dir") if found is not None else None
        if isinstance(output, str) and os.path.normpath(output) == os.path.normpath(model):
            yield path
