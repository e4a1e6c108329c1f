"""The loss of sft and pretrain is TRL's, and a step waits for no number of the device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from trl import SFTTrainer

from tests.helpers.device_reads import Reads
from tests.trainables.stages.test_objectives import Case
from trainables.stages.orpo_trainer import _tokens_and_pairs
from trainables.stages.token_loss_trainer import TokenLossTrainer


@pytest.mark.parametrize("labelled", [None, torch.tensor(1000)])
def test_the_loss_is_trls_and_nothing_is_read(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, labelled: torch.Tensor | None
) -> None:
    monkeypatch.setattr(TokenLossTrainer, "head_outputs", ("log_probs", "entropy", "is_top1"))
    case = Case(tiny_model, "sft")
    batch = case.trainer.data_collator([case.trainer.train_dataset[place] for place in case.order])
    with Reads() as ours:
        loss = case.trainer.compute_loss(case.trainer.model, dict(batch), num_items_in_batch=labelled)
    with Reads() as theirs:
        expected = SFTTrainer.compute_loss(
            case.trainer, case.trainer.model, dict(batch), num_items_in_batch=labelled
        )
    assert torch.equal(loss, expected)
    with Reads() as forward:  # transformers' own, by which it finds out whether rows are packed
        case.trainer.model(**batch, fused_lm_head=True)
    assert ours.count == forward.count < theirs.count


def test_the_head_gives_what_the_loss_needs_alone(tiny_model: Path) -> None:
    case = Case(tiny_model, "sft")
    batch = case.trainer.data_collator([case.trainer.train_dataset[place] for place in case.order])
    outputs = case.trainer.model(**batch, fused_lm_head=True)
    assert outputs.log_probs is not None
    assert (outputs.entropy, outputs.is_top1) == (None, None)


def test_orpo_counts_a_batch_on_its_device() -> None:
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    with Reads() as reads:
        counts = _tokens_and_pairs({"chosen_attention_mask": mask})
    assert counts.tolist() == [5, 2]
    assert reads.count == 0
