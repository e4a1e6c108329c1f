"""EVA: LoRA's A begins with the principal components of its layers' inputs, the same in every trial of a cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.trials import make_config, make_policy
from tests.trainables.runner.test_stages_and_methods import check_cell
from trainables.methods import LoRA, QLoRA

METHOD: dict[str, Any] = {"kind": "lora", "rank": 4, "init": "eva"}
FP32 = {"dtype": "float32", "precision": "fp32"}
TEXTS = [[(7 * number * place + 3) % 500 for place in range(12 + number)] for number in range(20)]


def started(model: Path, method: dict[str, Any] = METHOD, texts: list[list[int]] = TEXTS) -> Any:
    policy = make_policy(make_config(model, "commands", method, **FP32))
    assert policy.method is not None
    policy.method.start_from(policy.model, texts)
    return policy.model


def test_it_trains_resumes_exactly_and_is_saved_as_a_plain_lora(tiny_model: Path, tmp_path: Path) -> None:
    check_cell(tiny_model, tmp_path, "sft", METHOD)


@pytest.mark.slow
@pytest.mark.parametrize("method", [METHOD, {**METHOD, "kind": "qlora"}, {**METHOD, "frozen_a": True}])
@pytest.mark.parametrize("stage", ["ppo", "kto", "reward"])
def test_it_does_so_in_other_stages_and_on_other_bases(
    stage: str, method: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    check_cell(tiny_model, tmp_path, stage, method)


def test_a_begins_with_the_directions_in_which_inputs_vary_most(tiny_model: Path) -> None:
    model = started(tiny_model)
    layers = model.get_base_model().model.layers
    received: list[torch.Tensor] = []
    hook = layers[0].self_attn.q_proj.base_layer.register_forward_pre_hook(
        lambda layer, inputs: received.append(inputs[0][0])
    )
    with torch.no_grad(), model.disable_adapter():
        for text in TEXTS:
            model(input_ids=torch.tensor([text]))
    hook.remove()
    rows = torch.cat(received)
    variances = torch.linalg.svdvals(rows - rows.mean(0)) ** 2
    a = layers[0].self_attn.q_proj.lora_A["default"].weight.detach()
    torch.testing.assert_close(a @ a.T, torch.eye(4), rtol=0, atol=1e-4)
    caught = ((rows - rows.mean(0)) @ a.T).pow(2).sum()
    assert caught >= 0.95 * variances[:4].sum()  # the decomposition is an approximation, batch by batch
    # All of them receive the same, those of the MLP something else.
    assert torch.equal(a, layers[0].self_attn.v_proj.lora_A["default"].weight)
    assert not torch.equal(a, layers[0].mlp.up_proj.lora_A["default"].weight)


def test_the_start_is_the_same_every_time_and_changes_no_answer(tiny_model: Path) -> None:
    torch.manual_seed(0)
    one = started(tiny_model)
    torch.manual_seed(1)
    other = started(tiny_model)
    weights = dict(other.named_parameters())
    assert all(torch.equal(weights[name], value) for name, value in one.named_parameters())
    tokens = torch.arange(5, 25)[None]
    with torch.no_grad(), one.disable_adapter():
        base = one(input_ids=tokens).logits
    assert torch.equal(one(input_ids=tokens).logits, base)


def test_fewer_tokens_than_the_rank_are_an_error_in_words(tiny_model: Path) -> None:
    with pytest.raises(
        ValueError, match="init: eva needs as many tokens as the rank, and the first 1 examples have 3"
    ):
        started(tiny_model, texts=[[5, 6, 7]])


def test_it_can_be_on_a_quantized_base_and_not_on_shared_weights(tiny_model: Path) -> None:
    assert QLoRA(init="eva").keeps_base
    config = make_config(tiny_model, "commands", METHOD, sharding="fsdp")
    assert isinstance(config.method, LoRA)
    assert "eva's start" in dict(config.method.training_obstacles(config.train))["sharding"]


@pytest.mark.parametrize(("init", "words"), [("corda", "take eva"), ("loftq", "take method qlora")])
def test_inits_that_are_not_there_say_why(init: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"{init} is not there: .*{words}"):
        LoRA.model_validate({"init": init})
