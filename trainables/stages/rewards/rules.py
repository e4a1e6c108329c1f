"""Rewards of answers: rules by name, and the checks that a folder holds a reward model that fits the policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.config.trained_model import TrainedModel
from trainables.data.embedded import commands
from trainables.models import adapter_config
from trainables.models.folder import ModelError, read_json

if TYPE_CHECKING:
    from trainables.config.model import ModelConfig
    from trainables.methods.base import FineTuning


@dataclass(frozen=True)
class Rule:
    """``reward(answer, reference)``; ``accepts(text)``: whether a text can be a reference; ``reference_kind``: what
    messages call a reference.
    """

    reward: Callable[[str, str], float]
    accepts: Callable[[str], bool]
    reference_kind: str


RULES: dict[str, Rule] = {
    "commands": Rule(commands.reward, lambda text: commands.is_command(text.strip()), "a command"),
}


def reference_problem(name: str, reference: str | None) -> str | None:
    """Why a rule can't reward answers beside a row's ``reference``; ``None`` where it can."""
    rule = RULES[name]
    if reference is None:
        return f"the rule {name!r} needs rows with a reference, and there are rows without one"
    if not rule.accepts(reference):
        kind = rule.reference_kind
        return f"the rule {name!r} needs {kind} as reference, which {reference[:60]!r} isn't"
    return None


ON_OTHER_BASE = (
    "{folder} holds an adapter, and with {method} the base that it belongs to is trained; give the folder of a "
    "reward trial of method full or freeze"
)


class RewardModelError(ValueError):
    """A folder holds no reward model that fits the policy."""


def reward_model_problem(reward: TrainedModel, model: ModelConfig, method: FineTuning | None) -> str | None:
    """Why a trained reward model can't reward the answers of ``model`` while ``method`` trains it.

    ``None`` where no reason is known, or where the reward trial hasn't run yet.
    """
    folder = reward.folder
    if folder is None:
        return None
    try:
        return _problem_of_folder(folder, model, method)
    except ModelError as error:
        return str(error)


def _problem_of_folder(folder: Path, model: ModelConfig, method: FineTuning | None) -> str | None:
    """The problem; raises ``ModelError`` for a damaged file."""
    # The model lies in its trial's folder, whose config names the stage, and the model that it was trained on.
    trial = read_json(beside) if (beside := folder.parent / "config.json").is_file() else {}
    if (stage := trial.get("stage")) and stage.get("kind") == "classification":
        return (
            f"{folder} is a classifier, which gives labels and no rewards; give the folder of a reward trial"
        )
    if not (folder / adapter_config.FILE_NAME).is_file():
        if not (folder / "config.json").is_file():
            return f"{folder} holds no model: give the folder of a finished reward trial"
        return None
    adapter = adapter_config.read_adapter_config(folder)
    if adapter.get("task_type") != "SEQ_CLS":
        return f"{folder} holds an adapter that is no reward model; give the folder of a reward trial"
    if adapter.get("use_dora"):
        return f"{folder} was trained with dora, which can't share a base; give a reward trial without it"
    if method is not None and not method.reference_stays:
        return ON_OTHER_BASE.format(folder=folder, method=method.label)
    base_model = trial.get("model")
    if not isinstance(base_model, dict):
        return None
    reward_base, policy_base = _weights(base_model), _weights(model.model_dump(mode="json"))
    # Unknown parts prove nothing. Whether the layers fit at all shows when the adapter is loaded.
    comparable = reward_base[0] and policy_base[0] and None not in (reward_base[1], policy_base[1])
    if comparable and reward_base != policy_base:
        theirs = f"{base_model.get('name') or base_model.get('path')}{_after(reward_base[1])}"
        ours = f"{model.label}{_after(policy_base[1])}"
        return f"{folder} was trained on other weights: {theirs}; give a reward trial of {ours}"
    return None


def _weights(model: dict[str, Any]) -> tuple[str | None, str | None]:
    """What identifies a model's weights: the base's fingerprint, and the trial that continued from it ("" for none)."""
    start = model.get("start")
    if start is None:
        return model.get("fingerprint"), ""
    return model.get("fingerprint"), start.get("trial") if isinstance(start, dict) else None


def _after(trial: str | None) -> str:
    return f" after trial {trial}" if trial else ""
