"""What every stage's trainer changes about transformers' own: the order of rows, what it counts, what it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import PrinterCallback, Trainer, TrainingArguments

from trainables.training.sharded_trainer import ShardedTrainer
from trainables.training.stage_trainer import RowOrder, StageTrainer

LENGTHS = np.array([4, 1, 3, 2, 5])


class Recording(nn.Module):
    """Remembers the rows of each forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.batches: list[list[int]] = []

    def forward(self, row: torch.Tensor) -> dict[str, torch.Tensor]:
        self.batches.append(row.int().tolist())
        return {"loss": (self.weight * row).mean()}


def make_trainer(folder: Path, order: RowOrder, **settings: Any) -> StageTrainer:
    args = TrainingArguments(
        str(folder),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        **settings,
    )
    rows = [{"row": torch.tensor(float(number))} for number in range(5)]
    return StageTrainer(Recording(), args, train_dataset=rows, row_order=order)


def test_rows_are_drawn_in_the_order_that_is_given(tmp_path: Path) -> None:
    places = np.array([3, 0, 4, 2])
    order = RowOrder(places, LENGTHS[places])
    trainer = make_trainer(tmp_path, order, max_steps=2, per_device_train_batch_size=2, save_strategy="no")
    trainer.train()
    assert trainer.model.batches == [[3, 0], [4, 2]]


def test_tokens_are_counted_step_by_step_without_padding(tmp_path: Path) -> None:
    order = RowOrder(np.arange(5), LENGTHS)
    trainer = make_trainer(tmp_path, order, per_device_train_batch_size=1, gradient_accumulation_steps=2)
    assert [trainer.tokens_after(step) for step in (1, 2, 3)] == [5, 10, 15]
    assert trainer.tokens_after(9) == 15  # no more rows than there are


def test_both_sequences_of_a_pair_count(tmp_path: Path) -> None:
    order = RowOrder(np.arange(2), np.array([[4, 1], [3, 2]]))
    assert make_trainer(tmp_path, order, per_device_train_batch_size=1).tokens_after(1) == 5


def test_padding_is_what_fills_a_batch_up_to_its_longest_row(tmp_path: Path) -> None:
    order = RowOrder(np.arange(2), np.array([4, 1]))
    assert make_trainer(tmp_path, order, per_device_train_batch_size=2).padding_share == 3 / 8
    packed = RowOrder(np.arange(2), np.array([4, 1]), packed=True)
    assert make_trainer(tmp_path, packed, per_device_train_batch_size=2).padding_share == 0


def test_a_trainer_prints_no_log_entries_and_writes_no_model_card(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, RowOrder(np.arange(5), LENGTHS))
    assert not any(isinstance(callback, PrinterCallback) for callback in trainer.callback_handler.callbacks)
    trainer.create_model_card()
    assert not list(tmp_path.rglob("README.md"))


@pytest.mark.parametrize("trainer", [StageTrainer, ShardedTrainer])
def test_every_private_method_that_is_overridden_exists_in_transformers(trainer: type) -> None:
    overridden = [name for name in vars(trainer) if name.startswith("_") and not name.startswith("__")]
    ours = {"_abc_impl", "_rehearse"}
    assert overridden
    assert not [name for name in overridden if name not in ours and not hasattr(Trainer, name)]
