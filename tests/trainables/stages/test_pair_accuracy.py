"""How preference stages are compared: by pairs of one prompt, and by the reward that a policy stands for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.helpers.trials import ScriptedControl, make_config, make_policy, run
from trainables.auc import auc
from trainables.data import loading
from trainables.data.rows import Labelled, Preference
from trainables.inference.model_pool import ModelPool
from trainables.inference.result import Result
from trainables.scoring.likelihood import log_likelihoods
from trainables.stages import DPO, KTO
from trainables.stages.kto import _right_by_prompt
from trainables.trial.config import TrialConfig


def config_of(model: Path, kind: str, method: str = "lora", **leaves: Any) -> TrialConfig:
    settings = {"eval_rows": 12, "max_samples": 128, "steps": 3, "learning_rate": 5e-3, **leaves}
    return make_config(model, "commands", method, stage={"kind": kind}, **settings)


def sums(config: TrialConfig, folder: Path | None, stage: Any, rows: Any) -> np.ndarray:
    """The summed log-probability of each scored answer, to the untrained model or to the trial's in ``folder``."""
    if folder is None:
        policy = make_policy(config.model_copy(update={"method": None}))
        return _sums(policy, stage, rows)
    with ModelPool().load(Result("trained", config, folder)).active() as policy:
        return _sums(policy, stage, rows)


def _sums(policy: Any, stage: Any, rows: Any) -> np.ndarray:
    tokens = stage.tokens(policy.tokenizer, rows, 1024, scoring=True)
    return np.array([each.logprob for each in log_likelihoods(policy, tokens, 16)])


def pairs_of(config: TrialConfig) -> Any:
    return loading.load(config.data, Preference).test


@pytest.mark.parametrize("method", ["full", "lora"])
def test_dpos_implicit_reward_is_what_training_added_to_the_answers(
    tiny_model: Path, tmp_path: Path, method: str
) -> None:
    config = config_of(tiny_model, "dpo", method)
    record = run(config, tmp_path, memory_gauge=None)
    trial = tmp_path / "trials" / config.trial_id()
    before = sums(config, None, DPO(), pairs_of(config))
    assert json.loads((trial / "logprobs-before.json").read_text()) == pytest.approx(
        before.tolist(), abs=1e-3
    )
    gained = sums(config, trial / "model", DPO(), pairs_of(config)) - before
    right = np.mean((gained[0::2] > gained[1::2]) + 0.5 * (gained[0::2] == gained[1::2]))
    assert record.metrics["implicit_reward_accuracy"] == right


def test_ktos_pairs_are_those_of_the_same_prompts_and_its_reward_is_implicit_too(
    tiny_model: Path, tmp_path: Path
) -> None:
    config = config_of(tiny_model, "kto")
    record = run(config, tmp_path, memory_gauge=None)
    trial = tmp_path / "trials" / config.trial_id()
    pairs, rows = pairs_of(config), loading.load(config.data, Labelled).test
    assert [pair.prompt for pair in pairs] == [row.prompt for row in rows]
    scored = pq.read_table(trial / "predictions.parquet").to_pylist()
    assert record.metrics["pair_accuracy"] == np.mean([row["pair_accuracy"] for row in scored])
    with ModelPool().load(Result("trained", config, trial / "model")).active() as policy:
        assert record.metrics["pair_accuracy"] == DPO().margins(policy, pairs, 1024).accuracy
    by_row = sums(config, trial / "model", KTO(), rows) - sums(config, None, KTO(), rows)
    by_pair = sums(config, trial / "model", DPO(), pairs) - sums(config, None, DPO(), pairs)
    labels = np.array([row.label for row in rows])
    assert record.metrics["implicit_reward_auc"] == auc(by_row[labels], by_row[~labels])
    assert record.metrics["implicit_reward_accuracy"] == np.mean(by_pair[0::2] > by_pair[1::2])


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_resumed_trial_still_knows_what_was_before_training(
    tiny_model: Path, tmp_path: Path, method: str
) -> None:
    config = config_of(tiny_model, "dpo", method, save_steps=1)
    undisturbed = run(config, tmp_path / "undisturbed", memory_gauge=None)
    run(config, tmp_path / "resumed", memory_gauge=None, control=ScriptedControl(interrupt_at=2))
    shutil.copytree(tmp_path / "resumed", tmp_path / "earlier")
    resumed = run(config, tmp_path / "resumed", memory_gauge=None)
    assert resumed.metrics == undisturbed.metrics
    # A trial that an earlier version began has no such file: of a method without a reference it is unknown.
    (tmp_path / "earlier" / "trials" / config.trial_id() / "logprobs-before.json").unlink()
    earlier = run(config, tmp_path / "earlier", memory_gauge=None)
    if method == "full":
        del undisturbed.metrics["implicit_reward_accuracy"]
    assert earlier.metrics == undisturbed.metrics


@pytest.mark.parametrize("kind", ["dpo", "kto"])
def test_the_untrained_model_has_no_implicit_reward(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    config = config_of(tiny_model, kind).model_copy(update={"method": None, "role": "base"})
    metrics = run(config, tmp_path, memory_gauge=None).metrics
    assert "pair_accuracy" in metrics
    assert not [name for name in metrics if name.startswith("implicit")]


def test_answers_of_one_label_rank_nothing() -> None:
    good, bad = labelled("one", "a", True), labelled("one", "b", False)
    stage = KTO()
    assert stage.set_problem([good, bad]) is None
    for rows, missing in (([good, good], "add bad answers"), ([bad], "add good answers")):
        assert missing in str(stage.set_problem(rows))


def labelled(prompt: str, answer: str, label: bool) -> Labelled:
    return Labelled(({"role": "user", "content": prompt},), answer, label)


def test_answers_are_compared_with_those_to_the_same_prompt_alone() -> None:
    rows = [
        labelled("one", "a", True),  # above 1 of 2, a tie with the other
        labelled("one", "b", False),
        labelled("one", "c", False),
        labelled("two", "d", True),  # below
        labelled("two", "e", False),
        labelled("three", "f", True),  # alone
        labelled("four", "g", False),
    ]
    worths = np.array([-1.0, -2.0, -1.0, -9.0, -3.0, -1.0, -1.0])
    assert _right_by_prompt(rows, worths, (), np.array([])) == [0.75, None, None, 0.0, None, None, None]
