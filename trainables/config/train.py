"""Settings of training: steps, batches, optimizer, schedule, precision, sharding."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from trainables.config import limits
from trainables.config.base import Frozen
from trainables.config.early_stopping import EarlyStopping
from trainables.config.optimizers import KINDS, NAMED, Optimizer, OptimizerSettings, named
from trainables.system.suggestions import did_you_mean, hinted

Precision = Literal["bf16", "pure_bf16", "fp16", "fp32"]
Sharding = Literal["none", "fsdp"]
Compile = Literal["auto", "on", "off"]
Scheduler = Literal["constant", "linear", "cosine", "constant_with_warmup", "inverse_sqrt"]

# Why no layers are compiled where several workers share weights.
SHARDED = "weights are sharded, and gathered layer by layer"


class TrainConfig(Frozen):
    """How a trial trains. ``batch_size``: rows of one forward pass, over all workers together.

    ``warmup_ratio``: the warm-up as a share of a trial's steps, in place of ``warmup_steps``.
    ``optimizer``: a name, or its settings with their ``kind``: ``{kind: galore, rank: 64}``.
    ``group_by_length``: batches are made of rows of similar length. ``packing``: several rows, which do not see one
    another, are joined up to the data's ``cutoff`` tokens; ``"stream"``: running text is one stream of tokens, cut
    into blocks of that length. ``retry_out_of_memory``: a trial that runs out of memory
    resumes, once, with half the rows per pass and twice the accumulation, so that its steps have the same rows.
    ``router_aux_loss``: the weight of the loss by which a mixture of experts uses all of them alike.
    ``sharding``: workers share weights, gradients and optimizer state instead of each holding its own.
    ``compile``: decoder layers are compiled; ``auto``: where that is predicted to save more time than it takes.
    ``early_stopping``: a trial ends, as done, once its validations get no better. ``keep``: which weights are the
    trial's model: those of its ``last`` step, or of the ``best`` of its validations at every ``eval_steps`` steps and
    at its end.
    """

    steps: Annotated[int | None, limits.at_most(limits.STEPS)] = Field(default=None, ge=1)
    epochs: Annotated[float | None, limits.at_most(limits.EPOCHS)] = Field(default=None, gt=0)
    batch_size: Annotated[int, limits.at_most(limits.BATCH)] = Field(default=8, ge=1)
    gradient_accumulation: Annotated[int, limits.at_most(limits.BATCH)] = Field(default=1, ge=1)
    learning_rate: float = Field(gt=0)
    scheduler: Scheduler = "linear"
    warmup_steps: int = Field(default=0, ge=0)
    warmup_ratio: float | None = Field(default=None, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    router_aux_loss: float = Field(default=0.0, ge=0)
    max_grad_norm: float | None = Field(default=1.0, gt=0)
    optimizer: Optimizer = "adamw"
    precision: Precision = "bf16"
    gradient_checkpointing: bool = False
    group_by_length: bool = False
    packing: bool | Literal["stream"] = False
    retry_out_of_memory: bool = False
    sharding: Sharding = "none"
    compile: Compile = "auto"
    logging_steps: int = Field(default=1, ge=1)
    eval_steps: int | None = Field(default=None, ge=1)
    save_steps: int | None = Field(default=None, ge=1)
    early_stopping: EarlyStopping | None = None
    keep: Literal["last", "best"] = "last"
    seed: int = Field(default=0, ge=0, lt=2**32)

    @field_validator("warmup_steps", mode="before")
    @classmethod
    def _steps_are_no_share(cls, value: Any) -> Any:
        # transformers takes a fraction as a share of the steps.
        if isinstance(value, float) and 0 < value < 1:
            raise ValueError(f"got {value:g}, which is no number of steps; write warmup_ratio: {value:g}")
        return value

    @field_validator("optimizer", mode="before")
    @classmethod
    def _known_kind(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        kind, known = value.get("kind"), ", ".join(KINDS)
        if isinstance(kind, str) and kind in KINDS:
            return value
        if kind is None:
            raise ValueError(f"kind is not given. Write {{kind: adamw}}, or one of {known}")
        if not isinstance(kind, str):
            raise ValueError(f"kind is one name, and {kind!r} is none; write one of {known}")
        raise ValueError(hinted(f"no optimizer {kind}", did_you_mean(kind, list(KINDS)), f"one of {known}"))

    @field_validator("optimizer", mode="after")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        """Settings that have a name are that name, so that one trial has one id however it is written."""
        return named(value)

    @model_validator(mode="after")
    def _one_warmup(self) -> TrainConfig:
        if self.warmup_ratio is not None and self.warmup_steps:
            raise ValueError("give only one of warmup_steps and warmup_ratio")
        return self

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give exactly one of steps and epochs, such as steps: 100")
        if self.packing is True and self.epochs is not None:
            raise ValueError(
                "how many packed rows an epoch has is known only in training; give steps when packing"
            )
        return self

    @model_validator(mode="after")
    def _validates_on_its_way(self) -> TrainConfig:
        wanted = {"early_stopping": self.early_stopping is not None, "keep: best": self.keep == "best"}
        given = " and ".join(setting for setting, is_given in wanted.items() if is_given)
        if given and self.eval_steps is None:
            need = "need" if all(wanted.values()) else "needs"
            raise ValueError(
                f"{given} {need} eval_steps, the number of steps between validations: without it a trial is validated "
                "at its end only"
            )
        return self

    def validation_steps(self, steps: int) -> frozenset[int]:
        """The steps of a trial of ``steps`` steps after which it is validated, whatever a search asks besides.

        >>> sorted(TrainConfig(steps=5, learning_rate=1e-3, eval_steps=2).validation_steps(5))
        [2, 4, 5]
        """
        every = self.eval_steps or steps
        return frozenset([*range(every, steps, every), steps])

    @property
    def optimizer_settings(self) -> OptimizerSettings:
        """The optimizer's settings, where only its name is written, too."""
        return NAMED[self.optimizer] if isinstance(self.optimizer, str) else self.optimizer

    @property
    def optimizer_label(self) -> str:
        """The optimizer in a word."""
        return self.optimizer if isinstance(self.optimizer, str) else self.optimizer.kind

    @property
    def update_rows(self) -> int:
        """Rows of one optimizer step."""
        return self.batch_size * self.gradient_accumulation

    def total_steps(self, rows: int) -> int:
        """The number of optimizer steps for ``rows`` training rows; the last may have fewer rows than others."""
        return self.steps or max(1, -(-self._epoch_rows(rows) // self.update_rows))

    def total_warmup(self, steps: int) -> int:
        """The warm-up of a trial of ``steps`` steps; a share of them is rounded up.

        >>> TrainConfig(steps=100, learning_rate=1e-3, warmup_ratio=0.07).total_warmup(100)
        7
        """
        if self.warmup_ratio is None:
            return self.warmup_steps
        return math.ceil(round(self.warmup_ratio * steps, 9))  # 0.07 x 100 is slightly above 7

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
