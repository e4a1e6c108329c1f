"""Where the training loops of transformers and TRL are changed, for every stage; each override says why.

Checked with the versions in ``trainables/system/tested_versions.txt``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from transformers import PrinterCallback, Trainer

from trainables.methods.frozen_weights import keeping_frozen
from trainables.tokenization.batching import padding_share, worker_shares
from trainables.training.checkpoints import Metrics

METRICS = ("_metrics", "_stored_metrics")  # in which TRL's trainers collect what they log
COLLECTED = (*METRICS, "_total_train_tokens")


@dataclass(frozen=True)
class RowOrder:
    """The order in which a trainer draws the rows of its data set.

    ``places``: (draws,), each draw's place in the data set. ``lengths``: (draws,) or (draws, sequences), in tokens.
    ``packed``: whether a batch's examples share rows; ``"whole"``: all share one, so that none of it is padding.
    ``width_cost``: by which it is chosen which of them do, see ``batching.shared_rows``.
    """

    places: np.ndarray
    lengths: np.ndarray
    packed: bool | Literal["whole"] = False
    width_cost: float = 0.0

    @cached_property
    def tokens_drawn(self) -> np.ndarray:
        """Tokens in the draws up to and including each one: (draws,)."""
        return np.cumsum(self.lengths.reshape(len(self.lengths), -1).sum(1))


class StageTrainer(Trainer):
    """A trainer that draws its rows in a given order.

    Stands before a library's trainer among a class's bases: ``class Ordered(StageTrainer, SFTTrainer)``.
    """

    def __init__(self, *args: Any, row_order: RowOrder, **options: Any) -> None:
        self.row_order = row_order
        self._rehearses = False
        self._grad_norms: list[
            Any
        ] = []  # of the steps since the last log: numbers on their device, or plain ones
        self._norm_step = 0
        # Those of the method, once a step has its batches' own.
        self.add_gradients: Callable[[], None] = lambda: None
        super().__init__(*args, **options)
        # Without a progress bar, transformers prints every log entry as a dictionary.
        self.remove_callback(PrinterCallback)

    @property
    def padding_share(self) -> float:
        """The share of padding among all tokens of the batches."""
        order = self.row_order
        if order.packed == "whole":
            return 0.0
        return padding_share(
            order.lengths, self.args.per_device_train_batch_size, order.packed, order.width_cost
        )

    def tokens_after(self, step: int) -> int:
        """How many tokens the first ``step`` optimizer steps train on, padding not counted; with those of the answers
        that were sampled so far, where the library's trainer counts them as ``answer_tokens``.
        """
        args, drawn = self.args, self.row_order.tokens_drawn
        rows = step * args.per_device_train_batch_size * args.world_size * args.gradient_accumulation_steps
        # The last batch may not be full, so rows may run past the draws. At step 0 the index would be -1.
        answered: int = getattr(super(), "answer_tokens", 0)
        return int(drawn[min(rows, len(drawn)) - 1]) + answered

    def unlogged_loss(self) -> Any:
        """The sum of this worker's losses of the steps since the last log: a number on its device, which isn't read."""
        return self._tr_loss.double()

    def resume_loss(self, loss: float, steps: int) -> None:
        """Counts ``steps`` steps before a checkpoint, of ``loss`` in sum, as not logged; transformers forgets them."""
        self._tr_loss += loss
        self._globalstep_last_logged -= steps

    def unlogged_metrics(self) -> Metrics:
        """What is logged besides the loss, since the last log, by the trainer's names: each one's mean, and of how many
        values. Numbers that are not finite count as none, as in the means of TRL.
        """
        collected = {**self.collected_metrics, "grad_norm": self._grad_norms}
        values = {name: list(filter(math.isfinite, map(float, each))) for name, each in collected.items()}
        return {name: (sum(each) / len(each), len(each)) for name, each in values.items() if each}

    def resume_metrics(self, metrics: Metrics) -> None:
        """Counts what :meth:`unlogged_metrics` returned at a checkpoint as not logged."""
        for name, (mean, count) in metrics.items():
            if name == "grad_norm":
                self._grad_norms = [mean] * count
            else:
                self.collected_metrics[name] = [mean] * count

    @property
    def collected_metrics(self) -> dict[str, list[Any]]:
        """What TRL's trainers collect of each batch since the last log, to log the means."""
        stores = (vars(self).get(name) for name in METRICS)
        return next((store["train"] for store in stores if store is not None), {})

    def _maybe_log_save_evaluate(self, tr_loss: Any, grad_norm: Any, *args: Any, **options: Any) -> None:
        """Logs the mean gradient norm of the steps since the last log, where transformers logs that of the last step.

        One that is not finite is logged as it is.
        """
        # transformers comes here once more when an epoch ends.
        if grad_norm is not None and self.state.global_step != self._norm_step:
            self._norm_step = self.state.global_step
            self._grad_norms.append(grad_norm)
        if self.control.should_log and grad_norm is not None and self._grad_norms:
            if len(self._grad_norms) > 1 and math.isfinite(float(grad_norm)):
                grad_norm = StageTrainer.unlogged_metrics(self)["grad_norm"][0]
            self._grad_norms = []
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, *args, **options)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """The order is ours: rows of similar length together, or as packed; the library's would be random."""
        return self.row_order.places.tolist()

    def get_train_dataloader(self) -> Any:
        """Several workers get equal shares of every batch; accelerate would fill a last batch that isn't full with
        rows that were drawn before.
        """
        if self.args.world_size == 1:
            return super().get_train_dataloader()
        from accelerate.data_loader import prepare_data_loader
        from torch.utils.data import DataLoader

        args = self.args
        all_workers_batch = args.per_device_train_batch_size * args.world_size
        places = self.row_order.places.tolist()
        loader = DataLoader(
            self._remove_unused_columns(self.train_dataset, description="training"),
            batch_sampler=worker_shares(places, all_workers_batch, args.world_size, args.process_index),
            collate_fn=self.data_collator,
            pin_memory=args.dataloader_pin_memory,
        )
        # To accelerate it is one process's: each worker's loader already holds its own share.
        return prepare_data_loader(loader, args.device, num_processes=1, process_index=0, put_on_device=True)

    def begin_with_the_first_batch(self) -> None:
        """Has the next training step follow a forward and backward pass of the trial's first batch, whose gradients are
        dropped: layers are compiled by the batch that they meet first, which is another where a trial is resumed.
        """
        self._rehearses = True

    def training_step(self, model: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        """As it is, after what :meth:`begin_with_the_first_batch` asks for, and before the method's own gradients."""
        if self._rehearses:
            self._rehearses = False
            self._rehearse(model)
        loss = super().training_step(model, inputs, *args, **options)
        if self.accelerator.sync_gradients:
            self.add_gradients()
        return loss

    def update_within_step(self) -> None:
        """Makes an optimizer update in the middle of a step, with the gradients that are there.

        For stages that make several updates on the answers of a step. Only in a step's last batch: accelerate's
        optimizer steps only while ``sync_gradients`` is true.
        """
        assert self.optimizer is not None
        if self.args.max_grad_norm > 0:
            self._clip_grad_norm(self.model)
        self.optimizer.step()

    def _rehearse(self, model: Any) -> None:
        places = self.row_order.places[: self.args.per_device_train_batch_size].tolist()
        rows = self._remove_unused_columns(self.train_dataset, description="training")
        batch = self.data_collator([rows[place] for place in places])
        # What TRL's trainers collect of a step, to log the mean.
        collected = {name: copy.deepcopy(vars(self)[name]) for name in COLLECTED if name in vars(self)}
        devices = [self.args.device] if self.args.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            super().training_step(model, batch)
        vars(self).update(collected)
        model.zero_grad()

    def _wrap_model(self, *args: Any, **options: Any) -> Any:
        """Gradients are views of the buckets that torch (DDP) sends them in, which would hold them a second time."""
        model = super()._wrap_model(*args, **options)
        if self.args.world_size > 1 and self.accelerator.ddp_handler is not None:
            self.accelerator.ddp_handler.gradient_as_bucket_view = True
        return model

    def _load_from_checkpoint(self, *args: Any, **options: Any) -> None:
        """Into the adapter's own tensors: PEFT would replace those of 16 bits by others of 32."""
        model: Any = self.model
        if not hasattr(model, "peft_config"):
            super()._load_from_checkpoint(*args, **options)
            return
        model.load_adapter = partial(model.load_adapter, autocast_adapter_dtype=False)
        try:
            with keeping_frozen(model):
                super()._load_from_checkpoint(*args, **options)
        finally:
            del model.load_adapter

    def create_model_card(self, *args: Any, **options: Any) -> None:
        """None: TRL would write one into every checkpoint."""


@contextmanager
def keeping_trainable_dtype(model: nn.Module) -> Iterator[None]:
    """Restores the dtype and values of trainable weights, and of frozen parts of adapters: TRL's constructors cast a
    quantized model's adapters to bf16.
    """
    # The values and not their dtype alone: a cast back would keep them rounded to bf16.
    before = {n: p.data for n, p in model.named_parameters() if p.requires_grad or ".lora_" in n}
    yield
    for name, parameter in model.named_parameters():
        if name in before and parameter.dtype != before[name].dtype:
            parameter.data = before[name]
