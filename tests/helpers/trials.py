"""A small trial on the tiny model, for the tests to vary: 48 rows in a file, a few steps, in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainables.data.embedded import commands
from trainables.results import Record, read_curve
from trainables.runner.run import Place, run_trial
from trainables.stages import SFT
from trainables.stages.ppo.reward_rules import Rule
from trainables.tokenization.encode import Encoded
from trainables.training.policy import Policy
from trainables.training.training_callback import Alone
from trainables.trial.config import TrialConfig
from trainables.trial.loading import attach, load_base, load_tokenizer

NEW = 8  # tokens of an answer in the tests of PPO
# A rule that a random model gets something by: how many e an answer has.
LETTER = Rule(lambda answer, _: answer.count("e") / NEW, lambda _: True, "any text")

METHODS: dict[str, dict[str, Any]] = {
    "full": {"kind": "full"},
    "freeze": {"kind": "freeze", "layers": 2},
    "lora": {"kind": "lora", "rank": 4},
    "qlora-4bit": {"kind": "qlora", "rank": 4},
    "qlora-8bit": {"kind": "qlora", "rank": 4, "bits": 8},
}


def write_rows(path: Path, count: int = 48) -> Path:
    """The first rows of the embedded data set as a file of their own; of 48, 6 validate and 4 test."""
    rows = commands.rows()[:count]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_config(
    model: Path, rows: Path | str, method: dict[str, Any] | str | None = "lora", **leaves: Any
) -> TrialConfig:
    """A trial of two steps; ``leaves`` are those of ``train``, and ``dtype``, ``cutoff``, ``eval_rows``."""
    method = METHODS[method] if isinstance(method, str) else method
    name = method["kind"] if method else "base"
    dtype = leaves.pop("dtype", "bfloat16")
    data = {"train": str(rows), "eval_fraction": 0.25}
    data |= {key: leaves.pop(key) for key in ("cutoff", "eval_rows", "eval_fraction") if key in leaves}
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
    """The policy of a config before its first step."""
    assert config.model.path is not None
    return attach(load_base(config, config.model.path), load_tokenizer(config.model.path), config)


def encoded(policy: Policy, rows: Sequence[Any], cutoff: int) -> list[Encoded]:
    """Conversations as they are scored."""
    return list(SFT().tokens(policy.tokenizer, rows, cutoff, scoring=True))


def run(config: TrialConfig, run_folder: Path, **options: Any) -> Record:
    """Runs a trial that is expected to end well."""
    record = run_trial(config, Place(run_folder), **options)
    error = run_folder / "trials" / config.trial_id() / "error.txt"
    assert not error.exists(), error.read_text()
    return record


def curve(config: TrialConfig, run_folder: Path, name: str = "train_loss") -> list[tuple[int, float]]:
    points = read_curve(run_folder / "trials" / config.trial_id())
    return [(point["step"], point["value"]) for point in points if point["name"] == name]


class At(Alone):
    """Answers the report of a step as told (``step2="stop"``); interrupts when asked for that time."""

    def __init__(self, interrupt_at: int | None = None, **decisions: Any) -> None:
        self.interrupt_at, self.asked = interrupt_at, 0
        self.decisions = {int(step.removeprefix("step")): answer for step, answer in decisions.items()}
        self.reports: list[tuple[int, dict[str, float]]] = []

    def report(self, step: int, values: dict[str, float]) -> Any:
        self.reports.append((step, values))
        return self.decisions.get(step, "continue")

    def interrupted(self) -> bool:
        self.asked += 1
        return self.asked == self.interrupt_at
