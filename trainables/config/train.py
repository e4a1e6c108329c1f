"""How a trial trains: steps, batches, optimizer, schedule, precision, sharding."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainables.config import limits
from trainables.config.base import Frozen

Precision = Literal["bf16", "pure_bf16", "fp16", "fp32"]
Optimizer = Literal["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "sgd", "adafactor"]
Sharding = Literal["none", "fsdp"]
Scheduler = Literal["constant", "linear", "cosine", "constant_with_warmup", "inverse_sqrt"]


class TrainConfig(Frozen):
    """How a trial trains. ``batch_size`` rows make one forward pass over all workers together.

    ``group_by_length`` has rows of like length come together. ``packing`` makes each of a batch's rows of several that
    fill it up to the data's ``cutoff`` and don't see one another. ``retry_out_of_memory`` has a trial that runs out of
    memory go on, once, with half the rows at a time and twice the accumulation: its steps have the same rows.
    ``sharding`` has several workers share weights, gradients and optimizer state, where each would have its own.
    """

    steps: Annotated[int | None, limits.most(limits.STEPS)] = Field(default=None, ge=1)
    epochs: Annotated[float | None, limits.most(limits.EPOCHS)] = Field(default=None, gt=0)
    batch_size: Annotated[int, limits.most(limits.BATCH)] = Field(default=8, ge=1)
    gradient_accumulation: Annotated[int, limits.most(limits.BATCH)] = Field(default=1, ge=1)
    learning_rate: float = Field(gt=0)
    scheduler: Scheduler = "linear"
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float | None = Field(default=1.0, gt=0)
    optimizer: Optimizer = "adamw"
    precision: Precision = "bf16"
    gradient_checkpointing: bool = False
    group_by_length: bool = False
    packing: bool = False
    retry_out_of_memory: bool = False
    sharding: Sharding = "none"
    logging_steps: int = Field(default=1, ge=1)
    eval_steps: int | None = Field(default=None, ge=1)
    save_steps: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give one of steps and epochs")
        if self.packing and self.epochs is not None:
            raise ValueError(
                "how many packed rows an epoch has shows only in training; with packing give steps"
            )
        return self

    @property
    def update_rows(self) -> int:
        """Rows of one optimizer step."""
        return self.batch_size * self.gradient_accumulation

    def total_steps(self, rows: int) -> int:
        """The optimizer steps this trains on ``rows`` training rows; the last may have fewer of them."""
        return self.steps or max(1, -(-self._epoch_rows(rows) // self.update_rows))

    def rows_seen(self, steps: int, rows: int, workers: int = 1) -> int:
        """How many of ``rows`` training rows ``steps`` steps train on; one that comes again counts again.

        Where the last step isn't full, it has as many more as it takes for all workers to have the same number.
        """
        full = steps * self.update_rows
        return full if self.epochs is None else min(full, -(-self._epoch_rows(rows) // workers) * workers)

    def _epoch_rows(self, rows: int) -> int:
        assert self.epochs is not None
        return max(1, round(self.epochs * rows))

    def batching(self) -> dict[str, Any]:
        """What decides the order of rows, as ``batches.order`` takes it."""
        return {"batch": self.update_rows, "seed": self.seed, "by_length": self.group_by_length}
