"""Settings of training: steps, batches, optimizer, schedule, precision, sharding."""

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
    """How a trial trains. ``batch_size``: rows of one forward pass, over all workers together.

    ``group_by_length``: batches are made of rows of similar length. ``packing``: several rows, which do not see one
    another, are joined up to the data's ``cutoff`` tokens. ``retry_out_of_memory``: a trial that runs out of memory
    resumes, once, with half the rows per pass and twice the accumulation, so that its steps have the same rows.
    ``sharding``: workers share weights, gradients and optimizer state instead of each holding its own.
    """

    steps: Annotated[int | None, limits.at_most(limits.STEPS)] = Field(default=None, ge=1)
    epochs: Annotated[float | None, limits.at_most(limits.EPOCHS)] = Field(default=None, gt=0)
    batch_size: Annotated[int, limits.at_most(limits.BATCH)] = Field(default=8, ge=1)
    gradient_accumulation: Annotated[int, limits.at_most(limits.BATCH)] = Field(default=1, ge=1)
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
            raise ValueError("give exactly one of steps and epochs")
        if self.packing and self.epochs is not None:
            raise ValueError(
                "how many packed rows an epoch has is known only in training; give steps when packing"
            )
        return self

    @property
    def update_rows(self) -> int:
        """Rows of one optimizer step."""
        return self.batch_size * self.gradient_accumulation

    def total_steps(self, rows: int) -> int:
        """The number of optimizer steps for ``rows`` training rows; the last may have fewer rows than others."""
        return self.steps or max(1, -(-self._epoch_rows(rows) // self.update_rows))

    def rows_seen(self, steps: int, rows: int, workers: int = 1) -> int:
        """How many rows ``steps`` steps train on, of ``rows`` training rows; repetitions count again.

        A last step that isn't full is rounded up, so that all workers have the same number of rows.
        """
        full = steps * self.update_rows
        return full if self.epochs is None else min(full, -(-self._epoch_rows(rows) // workers) * workers)

    def _epoch_rows(self, rows: int) -> int:
        assert self.epochs is not None
        return max(1, round(self.epochs * rows))

    def batching(self) -> dict[str, Any]:
        """The settings that decide the order of rows, as arguments of ``batching.example_order``."""
        return {"batch": self.update_rows, "seed": self.seed, "by_length": self.group_by_length}
