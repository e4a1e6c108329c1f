"""AdaLoRA: ranks fall within the trial's own steps, by importances that a resumed trial has, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, get_peft_model
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from tests.helpers.trials import make_config, make_policy, run, write_rows
from tests.trainables.methods.test_peft_adapter import check_merge, problems
from tests.trainables.runner.test_stages_and_methods import check_cell
from trainables.memory.measurement import measure
from trainables.methods import PeftAdapter, adalora
from trainables.models.adapter_config import read_adapter_config
from trainables.runner.run import TrialContext, run_trial

METHOD: dict[str, Any] = {"kind": "peft", "type": "adalora", "init_r": 6, "target_r": 2}
FP32 = {"dtype": "float32", "precision": "fp32"}


def test_it_resumes_exactly_while_ranks_fall_and_saves_what_it_was_scored_as(
    tiny_model: Path, tmp_path: Path
) -> None:
    # Interrupted at the second of four steps, between the first choice and the last.
    check_cell(tiny_model, tmp_path, "sft", METHOD)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "ends"), [("ppo", {}), ("dpo", {}), ("sft", {"tfinal": 2}), ("sft", {"tinit": 2})]
)
def test_it_resumes_exactly_in_every_phase_and_stage(
    stage: str, ends: dict[str, int], tiny_model: Path, tmp_path: Path
) -> None:
    check_cell(tiny_model, tmp_path, stage, {**METHOD, **ends})


def test_what_is_saved_has_the_average_rank_that_was_asked_for(tiny_model: Path, tmp_path: Path) -> None:
    config = make_config(tiny_model, "commands", METHOD, steps=5, learning_rate=1e-2)
    assert run(config, tmp_path).status == "done"
    folder = tmp_path / "trials" / config.trial_id() / "model"
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        ranks = [file.get_slice(name).get_shape()[0] for name in file.keys() if "lora_E" in name]  # noqa: SIM118
    assert sum(ranks) == 2 * len(ranks)
    assert len(set(ranks)) > 1, "all layers have kept the same rank"
    saved = read_adapter_config(folder)
    assert (saved["total_step"], saved["tinit"], saved["tfinal"]) == (5, 0, 1)


def test_the_gradient_of_the_penalty_is_that_of_pefts_own_loss(tiny_model: Path) -> None:
    policy = make_policy(make_config(tiny_model, "commands", {**METHOD, "orth_reg_weight": 0.3}, **FP32))
    tokens = torch.arange(5, 25)[None]
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    settings: dict[str, Any] = {"init_r": 6, "target_r": 2, "total_step": 10, "orth_reg_weight": 0.3}
    theirs: Any = get_peft_model(
        base, AdaLoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", **settings)
    )
    named = dict(policy.model.named_parameters())
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(named[name])
    theirs(input_ids=tokens, labels=tokens).loss.backward()
    # Without a loss in its outputs, PEFT adds no penalty.
    policy.causal(input_ids=tokens, labels=tokens).loss.backward()
    adalora.add_penalty_gradients(policy.model)
    for name, parameter in theirs.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(named[name].grad, parameter.grad, rtol=1e-4, atol=1e-7)


def test_its_importances_are_the_numbers_that_are_predicted(tiny_model: Path) -> None:
    policy = make_policy(make_config(tiny_model, "commands", METHOD, **FP32))
    tokens = torch.arange(5, 25)[None]
    policy.causal(input_ids=tokens, labels=tokens).loss.backward()
    allocator = policy.model.base_model.rankallocator
    allocator.update_ipt(policy.model.base_model.model)
    held = [each for name in ("ipt", *adalora.STATE) for each in vars(allocator)[name].values()]
    trained = [each for each in policy.model.parameters() if each.requires_grad]
    assert policy.method is not None
    assert sum(each.nbytes for each in held) == policy.method.numbers_per_weight * sum(
        each.nbytes for each in trained
    )


def test_it_is_merged_with_the_ranks_that_it_has(tiny_model: Path) -> None:
    check_merge("adalora", make_config(tiny_model, "commands", METHOD, **FP32), 1e-3)


def test_ranks_that_cannot_fall_are_refused(tiny_model: Path) -> None:
    assert not problems(tiny_model, type="adalora")
    assert "has to be smaller" in problems(tiny_model, type="adalora", init_r=4, target_r=4)["target_r"]
    assert "the minimum is 1" in problems(tiny_model, type="adalora", deltaT=0)["deltaT"]
    assert "the trial's own steps" in problems(tiny_model, type="adalora", total_step=10)["total_step"]
    assert "no option use_dora" in problems(tiny_model, type="adalora", use_dora=True)["use_dora"]


@pytest.mark.parametrize(
    ("options", "train", "key", "words"),
    [
        ({"tinit": 3, "tfinal": 2}, {"steps": 5}, "steps", "leave none of 5 steps in which ranks fall"),
        ({"tfinal": 4}, {"steps": 5}, "steps", "tfinal: 4 leaves 1 of 5 steps before the last ranks"),
        ({}, {"steps": 1}, "steps", "the minimum is 2"),
        ({"tfinal": 2}, {"epochs": 1}, "epochs", "give steps"),
        ({}, {"optimizer": "lomo", "max_grad_norm": None}, "optimizer", "leaves no gradients"),
        ({}, {"optimizer": "schedule_free", "scheduler": "constant"}, "optimizer", "averages weights"),
        ({}, {"precision": "fp16"}, "precision", "use bf16"),
    ],
)
def test_training_that_leaves_no_ranks_to_choose_is_refused(
    options: dict[str, Any], train: dict[str, Any], key: str, words: str, tiny_model: Path
) -> None:
    config = make_config(tiny_model, "commands", {**METHOD, **options}, **train)
    assert isinstance(config.method, PeftAdapter)
    assert words in dict(config.method.training_obstacles(config.train))[key]


def test_without_steps_for_its_ends_they_are_shares_of_the_trials_steps() -> None:
    assert adalora.end_steps({}, 200) == (20, 60)
    assert adalora.end_steps({"tinit": 5, "tfinal": 0}, 200) == (5, 0)
    assert adalora.end_steps({}, 2) == (0, 0)


def test_an_end_that_is_given_is_kept_and_shortens_the_other(tiny_model: Path) -> None:
    for options, ends in (({"tinit": 75}, (75, 24)), ({"tfinal": 95}, (4, 95))):
        config = make_config(tiny_model, "commands", {**METHOD, **options}, steps=100)
        assert config.method is not None
        assert not dict(config.method.training_obstacles(config.train))
        assert adalora.end_steps(options, 100) == ends


@pytest.mark.parametrize("ends", [{"tfinal": 1}, {"tinit": 1}, {"tinit": 75, "tfinal": 20}])
def test_memory_is_measured_in_fewer_steps_than_its_ends_have(ends: dict[str, int], tiny_model: Path) -> None:
    config = make_config(tiny_model, "commands", {**METHOD, **ends}, steps=100)
    assert measure(config).peak_train_bytes is not None


def test_an_epoch_of_one_step_says_why_ranks_cannot_fall(tiny_model: Path, tmp_path: Path) -> None:
    config = make_config(tiny_model, write_rows(tmp_path / "rows.jsonl"), METHOD, epochs=0.05)
    record = run_trial(config, TrialContext(tmp_path))
    assert record.status == "failed"
    assert "got 1; adalora chooses ranks by" in str(record.error)
