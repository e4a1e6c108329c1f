"""Adapters of somebody else: what their configs ask for is refused before PEFT builds layers by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.trials import make_config
from trainables.config.model import ModelConfig
from trainables.config.trained_model import TrainedModel
from trainables.inference.result import trial_result
from trainables.methods.adapter_targets import take_targets
from trainables.models import adapter_patterns
from trainables.models.adapter_config import read_adapter_config
from trainables.models.folder import ModelError
from trainables.stages.forward_pass import RewardModelFootprint
from trainables.stages.rewards.rules import reward_model_problem
from trainables.trial import starting_weights

USUAL: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "SEQ_CLS",
    "base_model_name_or_path": "smollm2-135m",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["q_proj"],
    "rank_pattern": {},
}
ABSURD = [
    ("r", 10**12, "r is 1000000000000, and at most 2147483648 is possible"),
    ("r", 100_000, "r is 100000, and a whole number from 1 to 65536 is needed"),
    ("r", 64, "r is 64, and the adapter's weights have 4"),
    ("r", "4", "r is 4, and a whole number from 1 to 65536 is needed"),
    ("r", True, "r is True, and a whole number from 1 to 65536 is needed"),
    ("rank_pattern", {"q_proj": 60_000}, "rank_pattern.q_proj is 60000, and the adapter's weights have 4"),
    ("rank_pattern", [4], "rank_pattern is [4], and a whole number"),
    ("lora_alpha", "much", "lora_alpha is much, and a number is needed"),
    ("lora_alpha", float("nan"), "lora_alpha is nan, and at most"),
    ("target_modules", [["q_proj"]], "target_modules is [['q_proj']], and a list of names is needed"),
    ("target_modules", {"q_proj": 1}, "target_modules is {'q_proj': 1}, and a list of names is needed"),
    ("target_modules", "(a+)+" * 20_000, "target_modules has 100000 characters, and at most 65536"),
    ("target_modules", ["q"] * 70_000, "target_modules has 70000 entries, and at most 65536 are possible"),
    ("modules_to_save", "lm_head", "modules_to_save is lm_head, and a list of names is needed"),
    ("layer_replication", [[0, 10**9]], "layer_replication makes 1000000000 layers, and at most 1000"),
    ("layer_replication", [7], "layer_replication is [7], and pairs of layers are needed"),
    ("loftq_config", {"loftq_iter": 10**18}, "loftq_config.loftq_iter is 1000000000000000000, and at most"),
]


def adapter(folder: Path, **changed: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**USUAL, **changed}))
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    weights = {f"{name}A.weight": torch.zeros(4, 64), f"{name}B.weight": torch.zeros(64, 4)}
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


def test_a_usual_config_is_read_as_it_is(tmp_path: Path) -> None:
    assert read_adapter_config(adapter(tmp_path)) == USUAL
    pattern = adapter(tmp_path, target_modules=r".*\.q_proj", layer_replication=[[0, 4], [2, 6]])
    assert read_adapter_config(pattern)["target_modules"] == r".*\.q_proj"


@pytest.mark.parametrize(("key", "value", "why"), ABSURD)
def test_a_value_that_no_adapter_has_is_refused_with_file_key_and_limit(
    tmp_path: Path, key: str, value: Any, why: str
) -> None:
    with pytest.raises(ModelError) as refused:
        read_adapter_config(adapter(tmp_path, **{key: value}))
    assert f"{tmp_path}/adapter_config.json: {why}" in str(refused.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, "\x00"])
def test_a_config_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (adapter(tmp_path) / "adapter_config.json").write_text(content)
    with pytest.raises(ModelError, match=r"adapter_config\.json: "):
        read_adapter_config(tmp_path)


def test_everything_that_reads_an_adapter_refuses_what_no_adapter_has(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "model", r=10**12)
    trained = TrainedModel(trial="0" * 12, folder=folder)
    for read in (
        lambda: starting_weights.find_trained_model(folder),
        lambda: starting_weights.check_trained_folder(folder),
        lambda: trial_result(folder),
        lambda: RewardModelFootprint.from_trained(trained),
        lambda: take_targets(object(), folder),
    ):
        with pytest.raises(ModelError, match="r is 1000000000000"):
            read()
    problem = reward_model_problem(trained, ModelConfig(name="smollm2-135m"), None)
    assert "r is 1000000000000" in str(problem)


NAMES = ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj", "lm_head", "q" * 40]
ENDLESS = r"(\w+\.?)+!"


@pytest.mark.parametrize(
    "changed",
    [
        {"target_modules": ENDLESS},
        {"exclude_modules": ENDLESS},
        {"rank_pattern": {ENDLESS: 4}},
        {"alpha_pattern": {ENDLESS: 4}},
        {"layers_pattern": ENDLESS},
        {"layers_pattern": [ENDLESS]},
    ],
)
def test_a_pattern_that_is_never_through_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    monkeypatch.setattr(adapter_patterns, "SECONDS", 1.0)
    with pytest.raises(ModelError, match=rf"adapter_config.json: {next(iter(changed))}.* can't be compared"):
        adapter_patterns.check_patterns(adapter(tmp_path, **changed), NAMES)


def test_a_pattern_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"target_modules is no regular expression .*unterminated"):
        adapter_patterns.check_patterns(adapter(tmp_path, target_modules="(a"), NAMES)


def test_usual_patterns_pass_and_plain_names_need_no_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter_patterns.check_patterns(adapter(tmp_path, target_modules=r".*\.[qv]_proj"), NAMES)
    monkeypatch.setattr("subprocess.run", lambda *given, **options: pytest.fail("compared"))
    plain = {"rank_pattern": {"self_attn.q_proj": 4}, "layers_pattern": "layers"}
    adapter_patterns.check_patterns(adapter(tmp_path, **plain), NAMES)


@pytest.mark.parametrize("beside", ["[]", "{", '{"model": 1}', '{"model": {"start": 7}}', '{"model": []}'])
def test_a_damaged_config_beside_a_reward_adapter_is_a_problem_or_nothing_known(
    tiny_model: Path, tmp_path: Path, beside: str
) -> None:
    folder = adapter(tmp_path / "model")
    (tmp_path / "config.json").write_text(beside)
    config = make_config(tiny_model, "commands")
    found = reward_model_problem(TrainedModel(trial="0" * 12, folder=folder), config.model, config.method)
    assert found is None or "config.json" in found


@pytest.mark.parametrize("base", ["~nobody-of-that-name/x", "a\x00b", "x" * 5_000, "../../etc", ["a"], 7])
def test_the_name_of_a_base_that_is_none_is_refused_in_words(tmp_path: Path, base: Any) -> None:
    with pytest.raises(ModelError):
        trial_result(adapter(tmp_path, base_model_name_or_path=base)).folder()
