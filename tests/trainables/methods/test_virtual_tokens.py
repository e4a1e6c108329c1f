"""Virtual tokens, applied inside the decoder, give what PEFT gives around it: logits, answers, and the same adapter."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tests.helpers.trials import make_config, make_policy
from tests.trainables.methods.test_peft_adapter import method
from trainables.config.train import TrainConfig
from trainables.inference.generator import Generator
from trainables.inference.model_pool import ModelPool
from trainables.inference.result import Result
from trainables.inference.sampling import Sampling
from trainables.methods import PeftAdapter, peft_options
from trainables.methods.trained_weights import TRAINED_FILE
from trainables.scoring.generation import continue_greedily
from trainables.training.policy import Policy
from trainables.trial.config import TrialConfig

ROWS = [list(range(5, 25)), list(range(30, 37))]
NEW = 6  # tokens of an answer


@pytest.fixture(params=sorted(peft_options.VIRTUAL_TOKENS))
def config(request: pytest.FixtureRequest, tiny_model: Path) -> TrialConfig:
    return make_config(tiny_model, "commands", method(request.param), dtype="float32", precision="fp32")


@pytest.fixture
def policy(config: TrialConfig) -> Policy:
    policy = make_policy(config)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in (each for each in policy.model.parameters() if each.requires_grad):
            parameter += 2.0 * torch.randn_like(parameter)  # as after training
    return policy


@pytest.fixture
def saved(policy: Policy, tmp_path: Path) -> Path:
    assert policy.method is not None
    with policy.evaluating():
        policy.method.save(policy.model, policy.tokenizer, tmp_path, torch.float32)
    return tmp_path


@pytest.fixture
def peft_alone(config: TrialConfig, saved: Path) -> Any:
    base = AutoModelForCausalLM.from_pretrained(
        config.model.path, dtype=torch.float32, attn_implementation="eager"
    )
    return PeftModel.from_pretrained(base, saved)


def test_logits_and_answers_are_those_of_peft_alone(policy: Policy, peft_alone: Any) -> None:
    ids = torch.tensor([ROWS[0], ROWS[1] + [0] * 13])
    mask = torch.tensor([[1] * 20, [1] * 7 + [0] * 13])
    with policy.evaluating():
        own = policy.model(input_ids=ids, attention_mask=mask).logits
        peft = peft_alone(input_ids=ids, attention_mask=mask).logits[:, -20:]
    assert own.shape[1] == 20
    torch.testing.assert_close(own[mask.bool()], peft[mask.bool()], rtol=1e-4, atol=1e-4)
    answers = continue_greedily(policy, ROWS, NEW, batch_size=2)  # together, padded on the left
    for row, answer in zip(ROWS, answers, strict=True):
        assert answer == _greedy(peft_alone, row)


def _greedy(peft: Any, row: list[int]) -> list[int]:
    """Each token by PEFT's whole forward pass: its own ``generate`` loses a prefix where a cache has a new name."""
    tokens = list(row)
    with torch.no_grad():
        for _ in range(NEW):
            tokens.append(int(peft(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[len(row) :]


def test_what_is_saved_is_the_adapter_alone_and_chats_as_it_was_trained(
    config: TrialConfig, policy: Policy, saved: Path
) -> None:
    assert not (saved / TRAINED_FILE).exists()
    answers = continue_greedily(policy, ROWS, NEW, batch_size=1)
    pool, generator = ModelPool(), Generator()
    loaded = pool.load(Result("trained", config, trained_folder=saved))
    base = pool.load(Result("base", config.model_copy(update={"method": None})))
    running = [generator.submit(loaded, row, Sampling(max_new_tokens=NEW, temperature=0)) for row in ROWS]
    while generator.busy:
        generator.step()
    assert [each.tokens for each in running] == answers
    ids = torch.tensor(ROWS[:1])
    with policy.evaluating(), loaded.active() as chats, base.active() as untrained:
        expected = policy.causal(input_ids=ids).logits
        torch.testing.assert_close(chats.causal(input_ids=ids).logits, expected)
        assert (untrained.causal(input_ids=ids).logits - expected).abs().max() > 1e-3


def test_a_copy_of_a_model_with_adaption_prompts_is_a_model_of_its_own(tiny_model: Path) -> None:
    """Sharding copies it."""
    prompts = method("adaption_prompt")
    model = make_policy(make_config(tiny_model, "commands", prompts, dtype="float32", precision="fp32")).model
    ids = torch.tensor(ROWS[:1])
    with torch.no_grad():
        before = model(input_ids=ids).logits
        copied = copy.deepcopy(model)
        for parameter in copied.parameters():
            parameter.zero_()
        assert not copied(input_ids=ids).logits.any()
        torch.testing.assert_close(model(input_ids=ids).logits, before)


@pytest.mark.parametrize(
    ("kind", "setting", "value"),
    [
        ("prompt_tuning", "packing", True),
        ("p_tuning", "sharding", "fsdp"),
        ("prefix_tuning", "gradient_checkpointing", True),
    ],
)
def test_training_that_virtual_tokens_do_not_allow_is_an_obstacle_with_its_way_out(
    kind: str, setting: str, value: Any
) -> None:
    train = TrainConfig.model_validate({"batch_size": 4, "learning_rate": 1e-3, "steps": 2, setting: value})
    obstacles = dict(PeftAdapter(type=kind).training_obstacles(train))
    assert list(obstacles) == [setting]
    assert "leave it out" in obstacles[setting]
    assert not dict(PeftAdapter(type="ia3").training_obstacles(train))
