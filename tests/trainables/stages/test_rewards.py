"""Rewards of ppo and grpo: what each kind gives, how they add up, and functions of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.helpers.trials import make_config
from trainables.data.rows import Prompt
from trainables.methods.own_code import OwnMethodError
from trainables.runner.run import TrialContext, run_trial
from trainables.stages import PPO, Stage
from trainables.stages.grpo.stage import GRPO
from trainables.stages.rewards import own_function
from trainables.stages.rewards.own_function import RewardError
from trainables.stages.rewards.terms import FunctionReward
from trainables.trial.config import TrialConfig

ROW = Prompt(({"role": "user", "content": "Fan on, please."},), "on fan attic", None, '{"worth": 2}')
CODE = """\
def brevity(prompts, answers, columns):
    assert prompts[0][0]["content"] == "Fan on, please."
    return [worth / len(answer) for worth, answer in zip(columns["worth"], answers)]

def broken(prompts, answers, columns):
    names = columns["names"]
    return [0.0] * len(answers)

def short(prompts, answers, columns):
    return []

def endless(prompts, answers, columns):
    return [float("inf")] * len(answers)
"""


def stage(**settings: Any) -> GRPO:
    found = TypeAdapter(Stage).validate_json(json.dumps({"kind": "grpo", **settings}), strict=True)
    assert isinstance(found, GRPO)
    return found


def rewarded(found: GRPO | PPO, *answers: str) -> list[float]:
    policy: Any = None  # which only a reward model looks at
    return found.answer_rewards(policy, [ROW] * len(answers), answers, cutoff=80)


def test_rewards_add_up_by_their_weights() -> None:
    found = stage(
        reward="commands",
        reward_weight=2,
        rewards=[
            {"kind": "regex", "pattern": "^on ", "weight": 0.5},
            {"kind": "regex", "pattern": "attic$", "weight": -1},
            {"kind": "json", "keys": ["room"], "weight": 4},
        ],
    )
    assert rewarded(found, "on fan attic", "on the roof", '{"room": 1}', '{"device": 1}', "[1") == [
        2 + 0.5 - 1,
        0.5,
        4,
        0,
        0,
    ]
    assert found.term_names == ("commands", "regex", "regex-2", "json")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "grpo needs a reward"),
        ({"rewards": []}, "grpo needs a reward"),
        ({"reward": "comands"}, "no rule and no folder 'comands'"),
        ({"rewards": [{"kind": "rule", "rule": "comands"}]}, "there is no rule 'comands'"),
        ({"rewards": [{"kind": "regex", "pattern": "("}]}, "no regular expression"),
        ({"rewards": [{"kind": "function", "function": "brevity"}]}, "write module:function"),
    ],
)
def test_what_is_no_reward_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        stage(**settings)


def test_a_rule_needs_its_reference_wherever_it_stands() -> None:
    found = stage(rewards=[{"kind": "rule", "rule": "commands"}])
    assert rewarded(found, "on fan attic") == [1.0]
    assert "needs rows with a reference" in str(found._row_problem(Prompt(ROW.prompt)))


def test_a_setting_for_a_reward_that_is_not_there_does_nothing() -> None:
    regex = [{"kind": "regex", "pattern": "a"}]
    assert "reward_weight" in dict(stage(rewards=regex).without_effect())
    assert "reward_weight" not in dict(stage(reward="commands", rewards=regex).without_effect())


def test_ppo_without_further_rewards_is_what_it_was_before_there_were_any(tiny_model: Path) -> None:
    config = make_config(tiny_model, "commands", stage={"kind": "ppo", "reward": "commands"})
    assert not {"rewards", "reward_weight"} & config.canonical()["stage"].keys()
    more = make_config(
        tiny_model, "commands", stage={"kind": "ppo", "reward": "commands", "rewards": [{"kind": "json"}]}
    )
    assert more.trial_id() != config.trial_id()


@pytest.fixture
def function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the reward of a function in ``my_rewards.py``, as planning fills it in."""
    monkeypatch.setattr(own_function, "_LOADED", {})
    (tmp_path / "my_rewards.py").write_text(CODE)

    def make(name: str) -> dict[str, Any]:
        function = f"my_rewards:{name}"
        return {"kind": "function", "function": function, **own_function.load_beside(function, tmp_path)}

    return make


def test_a_function_gets_prompts_answers_and_columns(function: Any) -> None:
    found = stage(rewards=[function("brevity")])
    assert rewarded(found, "on", "fan on") == [1.0, pytest.approx(1 / 3)]
    assert found.term_names == ("brevity",)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", r"my_rewards:broken, my_rewards.py line 6: KeyError: 'names'"),
        ("short", "returned 0 rewards for 1 answers"),
        ("endless", "returned inf for the answer 'on'; a reward must be finite"),
    ],
)
def test_a_function_that_fails_says_where(function: Any, name: str, message: str) -> None:
    with pytest.raises(RewardError, match=message):
        rewarded(stage(rewards=[function(name)]), "on")


def test_code_that_was_not_imported_is_not_run(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reward = function("brevity")
    monkeypatch.setattr(own_function, "_LOADED", {})
    found = stage(rewards=[reward])
    with pytest.raises(RewardError, match="run only with --trust method_code"):
        rewarded(found, "on")
    (term,) = found.rewards
    assert isinstance(term, FunctionReward)
    assert "--trust method_code" in str(term.needed())
    term.load()
    assert term.needed() is None
    assert rewarded(found, "on") == [1.0]


def test_code_that_has_changed_since_it_was_planned_is_refused(function: Any, tmp_path: Path) -> None:
    (term,) = stage(rewards=[function("brevity")]).rewards
    assert isinstance(term, FunctionReward)
    (tmp_path / "my_rewards.py").write_text(f"{CODE}\n# another reward\n")
    with pytest.raises(OwnMethodError, match="has changed since this was planned"):
        term.load()


def test_an_id_follows_from_the_code_and_not_from_where_it_is(
    function: Any, tmp_path: Path, tiny_model: Path
) -> None:
    def made(reward: dict[str, Any]) -> TrialConfig:
        return make_config(tiny_model, "commands", stage={"kind": "grpo", "rewards": [reward]})

    planned = function("brevity")
    moved = {**planned, "code_path": "/elsewhere/my_rewards.py"}
    assert made(moved).trial_id() == made(planned).trial_id()
    (tmp_path / "my_rewards.py").write_text(f"{CODE}\n# another reward\n")
    assert made(function("brevity")).trial_id() != made(planned).trial_id()


def test_an_error_in_a_function_ends_the_trial_with_its_line(
    function: Any, tmp_path: Path, tiny_model: Path
) -> None:
    config = make_config(
        tiny_model,
        "commands",
        stage={"kind": "grpo", "rewards": [function("broken")], "num_generations": 2, "max_new_tokens": 2},
        eval_rows=2,
        cutoff=80,
    )
    record = run_trial(config, TrialContext(tmp_path))
    assert record.status == "failed"
    assert "my_rewards:broken, my_rewards.py line 6: KeyError: 'names'" in str(record.error)
