"""GRPO on the tiny model: what is 0 and 1 at first; its losses by hand; that it learns and resumes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import set_seed

from tests.helpers.trials import METHODS, NEW, ScriptedControl, curve, make_policy, rewarded_by_letters, run
from trainables.data.embedded import commands
from trainables.data.rows import Prompt
from trainables.training.policy import Policy
from trainables.training.trainer_setup import clean_process, training_arguments
from trainables.trial.config import TrialConfig

GROUP = 4
pytestmark = pytest.mark.usefixtures("letter")


def optimizing(model: Path, method: Any = "lora", batch_size: int = 2, **leaves: Any) -> TrialConfig:
    stage = {"num_generations": GROUP, **leaves.pop("stage", {})}
    return rewarded_by_letters("grpo", model, method, batch_size=batch_size, stage=stage, **leaves)


def begun(config: TrialConfig, prompts: int = 2) -> tuple[Policy, Any, dict[str, Any]]:
    """A policy, its trainer, and the answers of a first batch with what is known of them."""
    set_seed(config.train.seed)
    policy = make_policy(config)
    rows = [
        Prompt(({"role": "user", "content": row["prompt"]},), row["reference"])
        for row in commands.prompts()[:prompts]
    ]
    clean_process()
    options = training_arguments(config.train, 2, Path("/nonexistent"), 1, "cpu") | {"save_strategy": "no"}
    trainer: Any = config.stage.trainer(policy, rows, config.train, config.data.cutoff, options)
    batch = [trainer.train_dataset[place] for place in trainer.row_order.places[: prompts * GROUP].tolist()]
    policy.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return policy, trainer, trainer._generate_and_score_completions(batch)


@pytest.mark.parametrize(
    "method",
    [pytest.param(name, marks=[pytest.mark.slow] * (name != "full")) for name in METHODS],
)
def test_every_method_starts_at_its_reference_and_resumes_to_the_same_curve(
    tiny_model: Path, tmp_path: Path, method: str
) -> None:
    stage = {"beta": 0.1, "iterations": 2, "loss": "dapo"}
    config = optimizing(tiny_model, method, steps=4, gradient_accumulation=2, stage=stage)
    whole = run(config, tmp_path / "undisturbed")
    assert (whole.status, whole.quality_name, whole.steps) == ("done", "reward", 4)
    assert run(config, tmp_path, control=ScriptedControl(interrupt_at=2)).status == "interrupted"
    again = run(config, tmp_path)
    for name in ("train_loss", "grad_norm", "objective", *config.stage.logged_metrics):
        assert len(curve(config, tmp_path, name)) >= 1
        assert curve(config, tmp_path, name) == curve(config, tmp_path / "undisturbed", name)
    assert (again.quality, again.metrics, again.tokens) == (whole.quality, whole.metrics, whole.tokens)
    # The copy of the reference is held only where the method has none for nothing.
    assert (whole.reference_bytes is None) == ("lora" in method)


def test_the_first_update_has_ratio_1_and_kl_0(tiny_model: Path) -> None:
    _, trainer, answers = begun(optimizing(tiny_model, "full", stage={"beta": 0.5, "temperature": 0.7}))
    with torch.enable_grad():
        trainer.compute_loss(trainer.model, answers)
    assert torch.equal(trainer._latest_logps, answers["ref_per_token_logps"])
    assert trainer._metrics["train"]["kl"] == [0.0]
    assert trainer._metrics["train"]["clip_ratio/region_mean"] == [0.0]


def test_the_tokens_of_a_step_are_those_of_its_prompts_and_answers(tiny_model: Path) -> None:
    _, trainer, answers = begun(optimizing(tiny_model))
    tokens = answers["prompt_mask"].sum() + answers["completion_mask"].sum()
    assert trainer.tokens_after(1) == int(tokens)


def test_no_copy_of_the_reference_is_held_without_a_kl(tiny_model: Path, tmp_path: Path) -> None:
    config = optimizing(tiny_model, "full", steps=1)
    record = run(config, tmp_path)
    assert record.reference_bytes is None
    assert "kl" not in record.metrics
    assert curve(config, tmp_path, "kl") == []


def test_advantages_are_rewards_less_their_groups_mean_by_its_deviation(tiny_model: Path) -> None:
    policy, _, answers = begun(optimizing(tiny_model))
    texts = policy.tokenizer.batch_decode(
        [
            ids[kept.bool()]
            for ids, kept in zip(answers["completion_ids"], answers["completion_mask"], strict=True)
        ],
        skip_special_tokens=True,
    )
    rewards = torch.tensor([text.strip().count("e") / NEW for text in texts]).view(-1, GROUP)
    expected = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
    assert rewards.std() > 0
    assert answers["advantages"].tolist() == pytest.approx(expected.flatten().tolist(), abs=1e-5)


@pytest.mark.parametrize("loss", ["grpo", "dr_grpo", "dapo", "bnpo", "gspo"])
def test_each_loss_averages_tokens_as_its_paper_says(tiny_model: Path, loss: str) -> None:
    _, trainer, answers = begun(optimizing(tiny_model, stage={"loss": loss, "epsilon": 0.1}))
    # Answers of other lengths, and a policy that has moved on: ratios of 0.8 and 1.3 by turns.
    for row in range(0, len(answers["completion_mask"]), 2):
        answers["completion_mask"][row, 3:] = 0
    mask = answers["completion_mask"].float()
    answers["num_items_in_batch"] = mask.sum()
    with torch.enable_grad():
        trainer.compute_loss(trainer.model, answers)
        ratio = torch.tensor([0.8, 1.3]).repeat(mask.shape[1])[: mask.shape[1]].expand_as(mask)
        answers["old_per_token_logps"] = trainer._latest_logps - ratio.log()
        found = trainer.compute_loss(trainer.model, answers).item()
    advantage = answers["advantages"][:, None]
    if loss == "gspo":
        ratio = ((ratio.log() * mask).sum(1) / mask.sum(1)).exp()[:, None]
    each = -torch.minimum(ratio * advantage, ratio.clamp(0.9, 1.1) * advantage) * mask
    expected = {
        "grpo": (each.sum(1) / mask.sum(1)).mean(),
        "gspo": (each.sum(1) / mask.sum(1)).mean(),
        "dr_grpo": each.sum() / (len(each) * NEW),
        "dapo": each.sum() / mask.sum(),
        "bnpo": each.sum() / mask.sum(),
    }[loss]
    assert found == pytest.approx(expected.item(), abs=2e-3)
    assert abs(found) > 0.005


def test_dr_grpo_does_not_scale_rewards_unless_it_is_told_to(tiny_model: Path) -> None:
    _, _, plain = begun(optimizing(tiny_model, stage={"loss": "dr_grpo"}))
    _, _, scaled = begun(optimizing(tiny_model, stage={"loss": "dr_grpo", "scale_rewards": "group"}))
    assert plain["advantages"].abs().max() < 1
    assert scaled["advantages"].abs().max() > 1


def test_batches_count_by_their_answers(tiny_model: Path) -> None:
    """The gradient of a full batch and one that isn't full is that of all answers at once."""
    rows = {}
    for accumulation in (1, 2):
        _, trainer, answers = begun(optimizing(tiny_model, "full"), prompts=2)
        trainer.current_gradient_accumulation_steps = accumulation
        # The first 6 of 8 answers and the last 2: as a last batch that isn't full.
        parts = [slice(None)] if accumulation == 1 else [slice(0, 6), slice(6, None)]
        batches = [
            {
                name: value[part] if torch.is_tensor(value) and value.dim() else value
                for name, value in answers.items()
            }
            for part in parts
        ]
        with torch.enable_grad():
            trainer._gradient(trainer.model, batches)
        gradients = [p.grad for p in trainer.model.parameters() if p.grad is not None]
        rows[accumulation] = torch.cat([gradient.flatten() for gradient in gradients])
    assert rows[1].abs().max() > 0
    assert (rows[1] - rows[2]).norm() < 1e-2 * rows[1].norm()


def test_a_batch_is_not_halved_where_its_answers_measure_one_another(tiny_model: Path) -> None:
    assert optimizing(tiny_model).halved() is not None
    for stage in ({"loss": "bnpo"}, {"scale_rewards": "batch"}):
        assert optimizing(tiny_model, stage=stage).halved() is None


@pytest.mark.parametrize("kind", ["grpo", pytest.param("ppo", marks=pytest.mark.slow)])
def test_what_is_not_logged_yet_is_logged_after_a_resume(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    stage = {} if kind == "grpo" else {"kind": kind, "num_generations": None}
    config = optimizing(tiny_model, steps=3, logging_steps=3, stage=stage)
    run(config, tmp_path / "undisturbed")
    assert run(config, tmp_path, control=ScriptedControl(interrupt_at=2)).status == "interrupted"
    run(config, tmp_path)
    for name in config.stage.logged_metrics:
        whole = curve(config, tmp_path / "undisturbed", name)
        assert curve(config, tmp_path, name) == [(step, pytest.approx(value)) for step, value in whole]
    assert len(curve(config, tmp_path, "reward")) == 1


@pytest.mark.slow
def test_it_learns_to_say_what_is_rewarded(tiny_model: Path, tmp_path: Path) -> None:
    config = optimizing(tiny_model, "full", steps=40, learning_rate=5e-3)
    record = run(config, tmp_path)
    rewards = [value for _, value in curve(config, tmp_path, "reward")]
    assert sum(rewards[-4:]) > 2 * sum(rewards[:4])
    assert record.quality is not None
    assert math.isfinite(record.quality)


def test_answers_do_not_depend_on_what_they_are_sampled_beside(tiny_model: Path) -> None:
    _, _, two = begun(optimizing(tiny_model), prompts=2)
    _, _, one = begun(optimizing(tiny_model, batch_size=1), prompts=1)
    width = min(one["completion_ids"].shape[1], two["completion_ids"].shape[1])
    assert torch.equal(one["completion_ids"][:, :width], two["completion_ids"][:GROUP, :width])
    assert len({tuple(row) for row in one["completion_ids"].tolist()}) == GROUP
