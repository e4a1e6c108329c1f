"""TRL's fused head as trainers on a CPU have it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.trainables.stages.test_objectives import Case
from trainables.training.label_head import probabilities, sizes
from trainables.training.label_head.logprobs import LabelHead


@pytest.mark.parametrize("kind", ["sft", "dpo", "kto"])
def test_the_number_of_tokens_at_a_time_changes_neither_loss_nor_gradients(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    whole = Case(tiny_model, kind)
    loss, gradients = whole.loss(), whole.gradients()
    vocabulary = len(whole.policy.causal.get_output_embeddings().weight)
    monkeypatch.setattr(sizes, "CPU_LOGIT_BYTES", 7 * 4 * vocabulary)
    parts = Case(tiny_model, kind)
    assert parts.loss() == pytest.approx(loss, rel=1e-6)
    for name, gradient in parts.gradients().items():
        torch.testing.assert_close(gradient, gradients[name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ["sft", "dpo", "kto"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_loss_and_its_gradients_are_those_of_trls_own_function(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, kind: str, method: str
) -> None:
    from trl.kernels.chunked_logprob import ChunkedLogProbFunction
    from trl.trainer import utils

    ours = Case(tiny_model, kind, method)
    assert isinstance(vars(utils)["_ChunkedLogProbFunction"], LabelHead)
    loss, gradients = ours.loss(), ours.gradients()
    theirs = Case(tiny_model, kind, method)
    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", ChunkedLogProbFunction)
    assert loss == pytest.approx(theirs.loss(), rel=1e-6)
    for name, gradient in theirs.gradients().items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-7)


def test_a_cpu_computes_no_logits_where_there_is_no_label(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[int] = []
    case = Case(tiny_model, "sft")
    own = probabilities.Head.logits

    def counting(head: probabilities.Head, hidden: torch.Tensor) -> torch.Tensor:
        scored.append(len(hidden))
        return own(head, hidden)

    monkeypatch.setattr(probabilities.Head, "logits", counting)
    case.loss()
    assert scored == [sum(label != -100 for one in case.answers() for label in one.labels[1:])]


def test_what_is_changed_in_trl_is_as_it_was_after_the_constructor(tiny_model: Path) -> None:
    from trl.trainer import dpo_trainer

    before = dict(vars(dpo_trainer))
    Case(tiny_model, "dpo", {"kind": "lora", "rank": 4, "targets": ["lm_head"]})
    assert {name for name, value in before.items() if vars(dpo_trainer)[name] is not value} == set()
