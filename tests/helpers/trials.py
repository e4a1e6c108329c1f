"""Small trials on the tiny model, for tests to vary: 48 rows in a file, a few steps, in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from transformers import set_seed

from trainables.data.embedded import commands
from trainables.results import Record, read_curve
from trainables.runner.run import TrialContext, run_trial
from trainables.stages import SFT
from trainables.stages.rewards.rules import Rule
from trainables.tokenization.encode import Encoded
from trainables.training.activity import Activity
from trainables.training.policy import Policy
from trainables.training.trainer_setup import clean_process, training_arguments
from trainables.training.training_callback import NoControl
from trainables.trial.config import TrialConfig
from trainables.trial.loading import attach, load_base
from trainables.trial.tokenizer import load_tokenizer

NEW = 8  # tokens of an answer in the tests of PPO and GRPO
# A rule by which a random model gets some reward: how often the letter e occurs in the answer.
LETTER = Rule(lambda answer, _: answer.count("e") / NEW, lambda _: True, "any text")

METHODS: dict[str, dict[str, Any]] = {
    "full": {"kind": "full"},
    "freeze": {"kind": "freeze", "layers": 2},
    "lora": {"kind": "lora", "rank": 4},
    "qlora-4bit": {"kind": "qlora", "rank": 4},
    "qlora-8bit": {"kind": "qlora", "rank": 4, "bits": 8},
}


def write_rows(path: Path, count: int = 48) -> Path:
    """Writes the first rows of the embedded data set to a file; of 48, 6 are for validation and 4 for testing."""
    path.write_text(_first_rows(count), encoding="utf-8")
    return path


@cache
def _first_rows(count: int) -> str:
    return "".join(json.dumps(row) + "\n" for row in commands.rows()[:count])


DATA_LEAVES = ("cutoff", "eval_rows", "eval_fraction", "max_samples")


def planned_config(**train: Any) -> TrialConfig:
    """A config of files that needn't be there: its id follows from what they hold, and not from where they are."""
    return TrialConfig.model_validate(
        {
            "cell": "sft-lora",
            "method_name": "lora",
            "model": {"path": "/model", "fingerprint": "f" * 64},
            "data": {"train": "/rows.jsonl", "sha256": "0" * 64},
            "stage": {"kind": "sft"},
            "method": {"kind": "lora", "rank": 4},
            "train": {"steps": 2, "learning_rate": 1e-3, **train},
        }
    )


def make_config(
    model: Path, rows: Path | str, method: dict[str, Any] | str | None = "lora", **leaves: Any
) -> TrialConfig:
    """A trial of two steps. ``leaves``: settings of ``train``, ``dtype``, ``stage``, and :data:`DATA_LEAVES`."""
    method = METHODS[method] if isinstance(method, str) else method
    name = method["kind"] if method else "base"
    dtype = leaves.pop("dtype", "bfloat16")
    data = {"train": str(rows), "eval_fraction": 0.25}
    data |= {key: leaves.pop(key) for key in DATA_LEAVES if key in leaves}
    stage = {"kind": "sft", **leaves.pop("stage", {})}
    kind = stage["kind"]
    length = {} if "epochs" in leaves else {"steps": 2}
    return TrialConfig.model_validate(
        {
            "cell": f"{kind}-{name}",
            "method_name": name,
            "role": "search" if method else "base",
            "model": {"path": model, "dtype": dtype},
            "data": data,
            "stage": stage,
            "method": method,
            "train": {"batch_size": 4, "learning_rate": 1e-3, **length, **leaves},
        }
    )


def make_policy(config: TrialConfig) -> Policy:
    """The policy of a trial before its first step."""
    assert config.model.path is not None
    return attach(load_base(config, config.model.path), load_tokenizer(config.model.path), config)


def seeded_policy(config: TrialConfig) -> Policy:
    """The policy that a trial of this config starts with."""
    set_seed(config.train.seed)
    return make_policy(config)


def make_trainer(config: TrialConfig, policy: Policy, rows: list[Any], cutoff: int) -> Any:
    """The trainer of two steps of a trial's stage, which saves nothing."""
    clean_process()
    options = training_arguments(config.train, 2, Path("/nonexistent"), 1, "cpu") | {"save_strategy": "no"}
    return config.stage.trainer(policy, rows, config.train, cutoff, options)


def encoded(policy: Policy, rows: Sequence[Any], cutoff: int) -> list[Encoded]:
    """Conversations encoded for evaluation."""
    return list(SFT().tokens(policy.tokenizer, rows, cutoff, scoring=True))


def run(config: TrialConfig, run_folder: Path, **options: Any) -> Record:
    """Runs a trial in this process, and asserts that it did not fail."""
    record = run_trial(config, TrialContext(run_folder), **options)
    error = run_folder / "trials" / config.trial_id() / "error.txt"
    assert not error.exists(), error.read_text()
    return record


def curve(config: TrialConfig, run_folder: Path, name: str = "train_loss") -> list[tuple[int, float]]:
    """(step, value) pairs of a trial's curve."""
    points = read_curve(run_folder / "trials" / config.trial_id())
    return [(point["step"], point["value"]) for point in points if point["name"] == name]


class ScriptedControl(NoControl):
    """A control that decides by step (``step2="stop"``), and interrupts at the ``interrupt_at``-th question.

    Questions before and after a step is saved count as one.
    """

    def __init__(self, interrupt_at: int | None = None, **decisions: Any) -> None:
        self.interrupt_at, self.asked = interrupt_at, 0
        self.step: int | None = None
        self.asked_at: int | None = None
        self.decisions = {int(step.removeprefix("step")): answer for step, answer in decisions.items()}
        self.reports: list[tuple[int, dict[str, float]]] = []

    def report(self, step: int, values: dict[str, float]) -> Any:
        self.reports.append((step, values))
        return self.decisions.get(step, "continue")

    def follow(self, activity: Activity) -> None:
        self.step = activity.step

    def interrupted(self) -> bool:
        # The first of several workers alone tells its steps.
        self.asked += self.step is None or self.step != self.asked_at
        self.asked_at = self.step
        return self.asked == self.interrupt_at


def rewarded_by_letters(
    kind: str, model: Path, method: Any = "lora", rows: Path | str = "commands", **leaves: Any
) -> TrialConfig:
    """A trial of a stage that learns from rewards: those of the rule ``letter``, which a fixture of that name adds."""
    stage = {"kind": kind, "reward": "letter", "max_new_tokens": NEW, **leaves.pop("stage", {})}
    defaults = {"eval_rows": 6, "eval_fraction": 0.95, "cutoff": 80, "learning_rate": 3e-3}
    return make_config(model, rows, method, stage=stage, **{**defaults, **leaves})
