"""Every stage's loss, against the formula in its source, computed row by row without padding in 64 bits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.helpers.trials import make_config, make_policy
from trainables.data import loading
from trainables.stages import DPO
from trainables.training.trainer_setup import training_arguments

ROWS = 4


class Case:
    """A stage's trainer over a few rows of the embedded data, its policy moved away from where it began."""

    def __init__(self, model: Path, kind: str, method: dict[str, Any] | str = "full", **stage: Any) -> None:
        self.config = make_config(
            model,
            "commands",
            method,
            stage={"kind": kind, **stage},
            precision="fp32",
            dtype="float32",
            steps=1,
        )
        torch.manual_seed(0)
        self.policy = make_policy(self.config)
        self.before = copy_of(self.policy.causal)
        rows = loading.load(self.config.data, self.config.stage.row_type).train[:ROWS]
        options = training_arguments(self.config.train, 1, Path("/nonexistent"), 1, "cpu") | {
            "save_strategy": "no"
        }
        self.trainer: Any = self.config.stage.trainer(self.policy, rows, self.config.train, 256, options)
        self.rows = rows
        self.order = self.trainer._get_train_sampler()
        with torch.no_grad():
            for parameter in self.policy.model.parameters():
                if parameter.requires_grad:
                    parameter += 0.05 * torch.randn_like(parameter)
        self.after = copy_of(self.policy.causal)

    def loss(self) -> float:
        """What the trainer minimizes, on one padded batch of all rows."""
        batch = self.trainer.data_collator([self.trainer.train_dataset[place] for place in self.order])
        self.trainer.model.train()
        with torch.no_grad():
            return float(self.trainer.compute_loss(self.trainer.model, batch))

    def gradients(self) -> dict[str, torch.Tensor]:
        """The gradients of that loss, by the names of the weights that train."""
        batch = self.trainer.data_collator([self.trainer.train_dataset[place] for place in self.order])
        self.trainer.model.train()
        self.trainer.compute_loss(self.trainer.model, batch).backward()
        return {name: p.grad for name, p in self.policy.model.named_parameters() if p.requires_grad}

    def answers(self) -> list[Any]:
        """What the stage makes of the rows: of a pair the chosen answer, then the rejected one."""
        return list(self.config.stage.tokens(self.policy.tokenizer, self.rows, 256))


def copy_of(model: Any) -> Any:
    """A copy in fp64; its forward pass is its own and not the one that a trainer has given the model."""
    copied = copy.deepcopy(model).double().eval()
    for module in copied.modules():
        vars(module).pop("forward", None)
    return copied


def logprobs(model: Any, ids: list[int]) -> np.ndarray:
    """ln p of every token but the first."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return logits.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].numpy()


def of_answer(model: Any, example: Any) -> np.ndarray:
    return logprobs(model, example.input_ids)[example.prompt_tokens - 1 :]


def sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


ADAPTED_HEAD = {"kind": "lora", "rank": 4, "targets": ["q_proj", "lm_head"]}


@pytest.mark.parametrize(("kind", "method"), [("sft", "full"), ("pretrain", "full"), ("sft", ADAPTED_HEAD)])
def test_the_likelihood_is_the_mean_over_all_labelled_tokens(
    tiny_model: Path, kind: str, method: dict[str, Any] | str
) -> None:
    case = Case(tiny_model, kind, method)
    found = np.concatenate(
        [
            logprobs(case.after, one.input_ids)[np.array(one.labels[1:]) != -100]
            for one in (case.answers()[place] for place in case.order)
        ]
    )
    assert case.loss() == pytest.approx(-found.mean(), rel=1e-5)


@pytest.mark.parametrize("kind", ["sft", "dpo", "kto", "orpo", "simpo"])
def test_an_adapter_of_the_head_trains(tiny_model: Path, kind: str) -> None:
    gradients = Case(tiny_model, kind, ADAPTED_HEAD).gradients()
    head = [gradient for name, gradient in gradients.items() if "lm_head" in name]
    assert len(head) == 2
    assert all(gradient.abs().max() > 0 for gradient in head)


DPO_LOSSES: dict[str, tuple[dict[str, Any], Callable[[float, float], float]]] = {
    "sigmoid": ({}, lambda d, per_token: -np.log(sigmoid(0.1 * d))),
    "smoothed": (
        {"label_smoothing": 0.2},
        lambda d, per_token: -0.8 * np.log(sigmoid(0.1 * d)) - 0.2 * np.log(sigmoid(-0.1 * d)),
    ),
    "robust": (
        {"loss": "robust", "label_smoothing": 0.2},
        lambda d, per_token: (-0.8 * np.log(sigmoid(0.1 * d)) + 0.2 * np.log(sigmoid(-0.1 * d))) / 0.6,
    ),
    "hinge": ({"loss": "hinge"}, lambda d, per_token: max(0.0, 1 - 0.1 * d)),
    "ipo": ({"loss": "ipo"}, lambda d, per_token: (per_token - 1 / 0.2) ** 2),
}


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("name", DPO_LOSSES)
def test_dpo_compares_log_ratios_to_the_untrained_policy(tiny_model: Path, name: str, method: str) -> None:
    stage, formula = DPO_LOSSES[name]
    case = Case(tiny_model, "dpo", method, beta=0.1, **stage)
    before = case.before
    if method == "lora":  # adapters begin as nothing: the base alone is the reference
        with case.policy.method.reference(case.policy.model) as model:  # type: ignore[union-attr]
            before = copy_of(model)
    answers, terms = case.answers(), []
    for chosen, rejected in zip(answers[0::2], answers[1::2], strict=True):
        ratios = [of_answer(case.after, one) - of_answer(before, one) for one in (chosen, rejected)]
        terms.append(formula(ratios[0].sum() - ratios[1].sum(), ratios[0].mean() - ratios[1].mean()))
    assert case.loss() == pytest.approx(np.mean(terms), rel=2e-4)


def test_what_has_no_smoothing_takes_none() -> None:
    with pytest.raises(ValidationError, match="loss: ipo has no label_smoothing"):
        DPO(loss="ipo", label_smoothing=0.1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_simpo_compares_means_per_token_with_a_margin_and_no_reference(
    tiny_model: Path, smoothing: float
) -> None:
    case = Case(tiny_model, "simpo", beta=2.5, gamma=0.8, label_smoothing=smoothing)
    answers, terms = case.answers(), []
    for chosen, rejected in zip(answers[0::2], answers[1::2], strict=True):
        means = [of_answer(case.after, one).mean() for one in (chosen, rejected)]
        value = 2.5 * (means[0] - means[1]) - 0.8
        terms.append(-(1 - smoothing) * np.log(sigmoid(value)) - smoothing * np.log(sigmoid(-value)))
    assert case.loss() == pytest.approx(np.mean(terms), rel=1e-4)
    assert getattr(case.trainer, "ref_model", None) is None


def test_orpo_adds_a_log_odds_ratio_to_the_likelihood_of_the_chosen(tiny_model: Path) -> None:
    case = Case(tiny_model, "orpo", beta=0.3)
    answers, ratios, likelihoods = case.answers(), [], []
    for chosen, rejected in zip(answers[0::2], answers[1::2], strict=True):
        likelihoods.append(logprobs(case.after, chosen.input_ids))
        p, q = (np.exp(of_answer(case.after, one).mean()) for one in (chosen, rejected))
        ratios.append(-0.3 * np.log(sigmoid(np.log(p / (1 - p)) - np.log(q / (1 - q)))))
    expected = -np.concatenate(likelihoods).mean() + np.mean(ratios)
    assert case.loss() == pytest.approx(expected, rel=1e-4)


def test_the_odds_ratio_is_stable_for_a_confident_model(tiny_model: Path) -> None:
    """Mean log-probabilities next to 0: 1 - p vanishes, and the loss and its gradient stay finite."""
    case = Case(tiny_model, "orpo")
    logps = torch.tensor([-1e-7, -1e-4, -20.0], requires_grad=True)
    others = torch.tensor([-1e-7, -20.0, -1e-4])
    losses = case.trainer.odds_ratio_loss(logps, others)[0]
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    assert logps.grad is not None
    assert torch.isfinite(logps.grad).all()


def test_kto_weighs_good_and_bad_answers_against_the_kl_of_mismatched_ones(tiny_model: Path) -> None:
    """Equations 8 and 9: z is the mean ln pi/ref of answers after their neighbour's prompt, not below 0."""
    case = Case(tiny_model, "kto", beta=0.2, desirable_weight=1.5, undesirable_weight=0.5)
    answers = [case.answers()[place] for place in case.order]
    labels = [case.rows[place].label for place in case.order]
    prompts, completions = [one.prompt for one in answers], [one.answer for one in answers]
    ratio = [
        _ratio(case, prompt + answer, len(prompt))
        for prompt, answer in zip(prompts, completions, strict=True)
    ]
    mismatched = [_ratio(case, prompts[n] + completions[n - 1], len(prompts[n])) for n in range(len(prompts))]
    z = max(0.0, float(np.mean(mismatched)))
    terms = [
        1.5 * (1 - sigmoid(0.2 * (value - z))) if good else 0.5 * (1 - sigmoid(0.2 * (z - value)))
        for value, good in zip(ratio, labels, strict=True)
    ]
    assert set(labels) == {True, False}
    assert case.loss() == pytest.approx(np.mean(terms), rel=1e-3)


def _ratio(case: Case, ids: list[int], start: int) -> float:
    return float((logprobs(case.after, ids) - logprobs(case.before, ids))[start - 1 :].sum())
