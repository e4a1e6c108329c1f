"""What an answer is worth: rules by name, which anybody can check, and what a folder with a reward model must hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.config.trained_model import TrainedModel
from trainables.data.embedded import commands

if TYPE_CHECKING:
    from trainables.config.model import ModelConfig
    from trainables.methods.base import FineTuning


@dataclass(frozen=True)
class Rule:
    """``worth`` of an answer, given the reference; ``suits`` tells what may be a reference, which is ``what``."""

    worth: Callable[[str, str], float]
    suits: Callable[[str], bool]
    what: str


RULES: dict[str, Rule] = {
    "commands": Rule(commands.reward, lambda text: commands.is_command(text.strip()), "a command"),
}

ON_OTHER_BASE = (
    "{folder} holds an adapter, and with {method} the base it belongs to trains; give the folder of a reward "
    "trial of method full or freeze"
)


class RewardModelError(ValueError):
    """The folder holds no reward model that fits the policy."""


def misfit(reward: TrainedModel, model: ModelConfig, method: FineTuning | None) -> str | None:
    """Why a reward model can't reward what ``model`` answers while ``method`` trains it.

    ``None`` where nothing known speaks against it.
    """
    folder = reward.folder
    if folder is None:
        return None
    adapter = _read(folder / "adapter_config.json")
    if adapter is None:
        if _read(folder / "config.json") is None:
            return f"{folder} holds no model: give the folder of a finished reward trial"
        return None
    if adapter.get("task_type") != "SEQ_CLS":
        return f"{folder} holds an adapter that rewards nothing; give the folder of a reward trial"
    if adapter.get("use_dora"):
        return f"{folder} was trained with dora, which can't share a base; give a reward trial without it"
    if method is not None and not method.reference_stays:
        return ON_OTHER_BASE.format(folder=folder, method=method.label)
    stands_on = (_read(folder.parent / "config.json") or {}).get("model", {})
    known, own = _weights(stands_on), _weights(model.model_dump(mode="json"))
    if known[0] and own[0] and None not in (known[1], own[1]) and known != own:
        theirs = f"{stands_on.get('name') or stands_on.get('path')}{_after(known[1])}"
        ours = f"{model.label}{_after(own[1])}"
        return f"{folder} was trained on other weights: {theirs}; give a reward trial of {ours}"
    return None


def _weights(model: dict[str, Any]) -> tuple[str | None, str | None]:
    """What says which weights these are: the base's fingerprint, and the trial that went on from it ("" for none)."""
    start = model.get("start")
    return model.get("fingerprint"), "" if start is None else start.get("trial")


def _after(trial: str | None) -> str:
    return f" after trial {trial}" if trial else ""


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
