"""Result files of PEFT's ``method_comparison``: others' measurements, which stand beside a report and in no part of it.

PEFT publishes one JSON file for each training, with ``run_info`` (the experiment, the settings), ``train_info`` (time,
memory, metrics by step, of which the last has the test accuracy) and ``meta_info`` (versions, the machine).
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

MOST_FILES = 1_000
MOST_BYTES = 4 * 2**20  # of a file; those that PEFT publishes have at most 0.1 MB
MOST_NAMED = 20  # files that are left out, in a report

Text = Annotated[str, Field(min_length=1, max_length=200)]
Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, lt=2**60)]


class _Optimizer(BaseModel):
    lr: Amount | None = None


class _TrainConfig(BaseModel):
    model_id: Text
    max_steps: Annotated[int, Field(ge=0, lt=2**60)] | None = None
    batch_size: Annotated[int, Field(ge=0, lt=2**60)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**64)] | None = None
    optimizer_kwargs: _Optimizer = _Optimizer()


class _PeftConfig(BaseModel):
    peft_type: Text


class _RunInfo(BaseModel):
    experiment_name: Text
    created_at: Text | None = None
    train_config: _TrainConfig
    peft_config: _PeftConfig | None = None


class _LastMetrics(BaseModel):
    accuracy: Share = Field(alias="test accuracy")
    forgetting: Annotated[float, Field(gt=-(2**60), lt=2**60)] | None = None


class _TrainInfo(BaseModel):
    status: Literal["success"]
    accelerator_memory_max: Amount | None = None
    train_time: Amount | None = None
    file_size: Amount | None = None
    num_trainable_params: Amount | None = None
    metrics: Annotated[list[Any], Field(min_length=1)]


class _File(BaseModel):
    run_info: _RunInfo
    train_info: _TrainInfo


@dataclass(frozen=True)
class PeftResult:
    """One training. ``method``: PEFT's name of the type, or full fine-tuning. ``accuracy``: on its test rows.
    ``peak_bytes``: the most memory that was reserved on the accelerator. ``forgetting``: by how much the loss on other
    text rose, in nats per token.
    """

    experiment: str
    method: str
    model: str
    accuracy: float
    forgetting: float | None
    peak_bytes: int | None
    train_seconds: float | None
    trainable_params: int | None
    file_bytes: int | None
    learning_rate: float | None
    steps: int | None
    batch_size: int | None
    seed: int | None
    created_at: str | None


@dataclass(frozen=True)
class PeftResults:
    """The results of a folder, the best accuracy first. ``left_out``: a sentence for each file that is none."""

    folder: str
    results: tuple[PeftResult, ...]
    left_out: tuple[str, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """The base models, each once."""
        return tuple(dict.fromkeys(each.model for each in self.results))


def read_peft_results(folder: Path) -> PeftResults:
    """The result files in a folder. Raises ``ValueError`` for a path that is no folder, and where no file is one."""
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is no folder: name the one with the result files of PEFT's method_comparison"
        )
    found: list[PeftResult] = []
    left_out: list[str] = []
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in files[:MOST_FILES]:
        try:
            found.append(_result(path))
        except (OSError, ValueError, RecursionError) as error:
            left_out.append(f"{path.name}: {_reason(error)}")
    if len(files) > MOST_FILES:
        left_out.append(f"{len(files) - MOST_FILES} further files: at most {MOST_FILES} are read")
    if not found:
        why = f" ({left_out[0]})" if left_out else ""
        raise ValueError(f"{folder} holds no result file of PEFT's method_comparison{why}")
    ordered = sorted(found, key=lambda each: (-each.accuracy, each.experiment))
    return PeftResults(folder.name or str(folder), tuple(ordered), tuple(_few(left_out)))


def _result(path: Path) -> PeftResult:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no file")
    if status.st_size > MOST_BYTES:
        raise ValueError(f"it has {status.st_size} bytes, and a result file has far fewer")
    file = _File.model_validate(_parsed(path.read_bytes()))
    run, train = file.run_info, file.train_info
    last = _LastMetrics.model_validate(train.metrics[-1])
    config = run.train_config
    return PeftResult(
        experiment=run.experiment_name,
        method=run.peft_config.peft_type if run.peft_config is not None else "full fine-tuning",
        model=config.model_id,
        accuracy=last.accuracy,
        forgetting=last.forgetting,
        peak_bytes=_whole(train.accelerator_memory_max),
        train_seconds=train.train_time,
        trainable_params=_whole(train.num_trainable_params),
        file_bytes=_whole(train.file_size),
        learning_rate=config.optimizer_kwargs.lr,
        steps=config.max_steps,
        batch_size=config.batch_size,
        seed=config.seed,
        created_at=run.created_at,
    )


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError("it is no JSON") from error


def _whole(value: float | None) -> int | None:
    return round(value) if value is not None else None


def _reason(error: Exception) -> str:
    """Why a file is no result, without its contents."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        return f"no result of PEFT's method_comparison: {place}: {first['msg']}"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error)


def _few(sentences: list[str]) -> Iterator[str]:
    yield from sentences[:MOST_NAMED]
    if len(sentences) > MOST_NAMED:
        yield f"{len(sentences) - MOST_NAMED} further files are no results either"
