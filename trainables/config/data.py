"""Which rows, how they are read, held out and cut."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainables.config import limits
from trainables.config.base import Frozen

DataFormat = Literal["alpaca", "sharegpt", "messages", "openai", "completion", "text"]


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
