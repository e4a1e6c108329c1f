"""What one trial is: model, data, stage, method and training settings, and the id that follows from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from trainables import files, limits
from trainables.frozen import Frozen
from trainables.methods import Method
from trainables.results import Role
from trainables.rope import Rope, written
from trainables.stages import Stage
from trainables.trained import Trained

Precision = Literal["bf16", "pure_bf16", "fp16", "fp32"]
Optimizer = Literal["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "sgd", "adafactor"]
DataFormat = Literal["alpaca", "sharegpt", "messages", "openai", "completion", "text"]
Attention = Literal["auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3"]
Unsafe = Literal["remote_code", "pickle"]
Kernels = Literal["none", "auto", "liger", "unsloth"]
Sharding = Literal["none", "fsdp"]
Scheduler = Literal["constant", "linear", "cosine", "constant_with_warmup", "inverse_sqrt"]


class ModelConfig(Frozen):
    """The base model: a known name or hub id (``hf:``, ``ms:``), or a local folder.

    ``attention`` and ``kernels`` ``auto`` take what is quickest where they run; the record says what ran. ``rope``
    scales positions. ``unsafe`` names what is refused unless it is: ``remote_code`` that comes with the model, weights
    as ``pickle``.
    ``start`` is what an earlier trial made of it, to go on from. ``fingerprint`` is the hash of the model's files,
    filled while planning: it, and not the path, is part of a trial's id.
    """

    name: str | None = None
    path: Path | None = None
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    attention: Attention = "auto"
    kernels: Kernels = "none"
    rope: Annotated[Rope | None, BeforeValidator(written)] = None
    unsafe: tuple[Unsafe, ...] = ()
    start: Trained | None = None
    fingerprint: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> ModelConfig:
        if (self.name is None) == (self.path is None):
            raise ValueError("give one of name and path")
        return self

    @property
    def label(self) -> str:
        """How the model is called in reports."""
        return self.name or (self.path.name if self.path else "")

    @property
    def runs_remote_code(self) -> bool:
        return "remote_code" in self.unsafe


class DataConfig(Frozen):
    """The rows: names of data sets, files or hub ids; the held-out share; the greatest row length.

    Held out are ``eval_fraction`` of the prompts (by hash), or ``eval_count`` prompts, or the rows of ``eval``;
    they are cut into a validation and a test half, and ``eval_rows`` caps each. ``cutoff`` is in tokens, prompt
    and answer together. ``max_samples`` rows at most are taken of each data set. ``format`` and ``columns``
    (part to column) say how files are written where their columns don't; ``variables`` fill ``{{name}}`` in.
    ``strict`` makes rows that would be left out errors. ``folder`` holds ``dataset_info.json``. ``sha256``, filled
    while planning, is the hash of the rows and, unlike the paths, part of a trial's id.
    """

    train: str | tuple[str, ...]
    eval: str | tuple[str, ...] | None = None
    eval_fraction: float = Field(default=0.1, gt=0, lt=1)
    eval_count: int | None = Field(default=None, ge=2)
    eval_rows: int | None = Field(default=None, ge=1)
    cutoff: Annotated[int, limits.most(limits.TOKENS)] = Field(default=1024, ge=8)
    max_samples: int | None = Field(default=None, ge=1)
    mix: Literal["concat", "interleave_under", "interleave_over"] = "concat"
    weights: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    format: DataFormat | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    variables: dict[str, str] = Field(default_factory=dict)
    template: str | None = None
    thinking: Literal["keep", "strip", "empty"] = "keep"
    strict: bool = False
    folder: Path | None = None
    sha256: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What is trained on, one name a data set."""
        return (self.train,) if isinstance(self.train, str) else self.train

    @property
    def eval_names(self) -> tuple[str, ...]:
        """The data sets that are held out; none where a share of the training data is."""
        return (self.eval,) if isinstance(self.eval, str) else self.eval or ()

    @property
    def label(self) -> str:
        """How the data is called in reports."""
        return "+".join(Path(name).name for name in self.names)

    @model_validator(mode="after")
    def _makes_sense(self) -> DataConfig:
        if not self.names:
            raise ValueError("train names no data; give a name, a file or a list of these")
        if self.eval is not None and self.eval_count is not None:
            raise ValueError("give one of eval and eval_count")
        if self.weights is not None and len(self.weights) != len(self.names):
            raise ValueError(f"weights has {len(self.weights)} numbers for {len(self.names)} data sets")
        if self.weights is not None and self.mix == "concat":
            raise ValueError("weights need mix: interleave_under or interleave_over")
        return self


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


class TrialConfig(Frozen):
    """One trial. ``method`` is ``None`` for the base model, which is scored as it is.

    >>> TrialConfig.model_validate({...}).trial_id()  # doctest: +SKIP
    '3f2a9c81d0b4'
    """

    cell: str
    method_name: str
    role: Role = "search"
    model: ModelConfig
    data: DataConfig
    stage: Stage
    method: Method | None
    train: TrainConfig

    def canonical(self) -> dict[str, Any]:
        """The JSON that the id is a hash of: content hashes stand for paths, and labels stay out."""
        config = self.model_dump(mode="json")
        for part in (config["stage"], config["method"] or {}):
            part.pop("name", None)
        if self.model.fingerprint is not None:
            del config["model"]["path"], config["model"]["name"]
        for part, key, trained in self.trained():
            config[part][key] = trained.identity
        if self.data.sha256 is not None:
            del config["data"]["train"], config["data"]["eval"], config["data"]["folder"]
        return config

    def trained(self) -> Iterator[tuple[str, str, Trained]]:
        """What this trial takes from others: (``model`` or ``stage``, the field, whose)."""
        for part, owner in (("model", self.model), ("stage", self.stage)):
            yield from ((part, key, value) for key, value in owner if isinstance(value, Trained))

    def trial_id(self) -> str:
        """Twelve hex digits of the SHA-256 of the config's canonical JSON."""
        return files.sha256(self.canonical())[:12]

    def identity(self) -> dict[str, Any]:
        """The fields of a record that say which trial it is."""
        return {
            "trial_id": self.trial_id(),
            "cell": self.cell,
            "stage": self.stage.kind,
            "method": self.method_name,
            "model": self.model.label,
            "data": self.data.label,
            "seed": self.train.seed,
            "role": self.role,
            "start_cell": self.model.start.cell if self.model.start else None,
            "start_trial": self.model.start.trial if self.model.start else None,
            "config": self.model_dump(mode="json"),
        }

    def needs(self) -> Iterator[tuple[tuple[str, str], str]]:
        """((section, leaf), what) for all that the machine must be able to do, by its name in ``capabilities``.

        What works wherever Paretune does is not asked for.
        """
        if self.model.attention not in ("auto", "sdpa", "eager"):
            yield ("model", "attention"), self.model.attention
        if self.model.kernels not in ("auto", "none"):
            yield ("model", "kernels"), self.model.kernels
        if self.train.precision in ("fp16", "bf16"):
            yield ("train", "precision"), self.train.precision
        if self.method is not None:
            yield from ((("method", leaf), what) for leaf, what in self.method.needs())

    def halved(self, workers: int = 1) -> TrialConfig | None:
        """The same steps with half the rows at a time, twice as often; ``None`` where there is no half.

        >>> config.halved().train.batch_size  # of 8  # doctest: +SKIP
        4
        """
        rows, odd = divmod(self.train.batch_size, 2)
        if odd or rows % workers or rows // workers < self.stage.least_batch:
            return None
        settings = {"batch_size": rows, "gradient_accumulation": 2 * self.train.gradient_accumulation}
        found = self.model_copy(update={"train": self.train.model_copy(update=settings)})
        return None if any(self.stage.problems(found, None)) else found

    def memory_shape(self, workers: int = 1) -> str:
        """A hash of what memory depends on: the config without learning rate, alpha, seed and bookkeeping."""
        config = self.canonical()
        for key in ("cell", "method_name", "role"):
            del config[key]
        del config["model"]["start"]  # other weights of the same shape
        config["train"] = {
            key: config["train"][key]
            for key in ("batch_size", "optimizer", "precision", "gradient_checkpointing", "packing")
        }
        # With accumulation, gradients live on through the next forward pass.
        config["train"]["accumulates"] = self.train.gradient_accumulation > 1
        if workers > 1:
            config["train"] |= {"workers": workers, "sharding": self.train.sharding}
        if config["method"] is not None:
            config["method"].pop("alpha", None)
        return files.sha256(config)[:12]
