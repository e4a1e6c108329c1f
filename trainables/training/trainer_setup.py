"""Set-up of every stage's trainer: arguments, the trainer itself, rows on disk, and a clean process for each trial."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset

from trainables.config.train import TrainConfig
from trainables.tokenization.batching import width_cost
from trainables.training.device_settings import use_tensor_cores
from trainables.training.fused_head import fused_head
from trainables.training.paged_memory import free_paged_memory
from trainables.training.policy import default_device
from trainables.training.stage_trainer import RowOrder, StageTrainer, keeping_trainable_dtype

if TYPE_CHECKING:
    from trainables.training.policy import Policy


def training_arguments(
    train: TrainConfig, steps: int, folder: Path, workers: int, device: str
) -> dict[str, Any]:
    """Keyword arguments for any trainer's config. They state what TRL would otherwise decide itself."""
    if device == "cpu":
        # Of several workers, accelerate would call it cpu:0, cpu:1, ...: torch copies all weights for another name.
        os.environ["ACCELERATE_TORCH_DEVICE"] = device
    warmup = train.total_warmup(steps)
    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": train.batch_size // workers,
        "gradient_accumulation_steps": train.gradient_accumulation,
        "learning_rate": train.learning_rate,
        "lr_scheduler_type": _schedule(train, warmup),
        "warmup_steps": warmup,
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm or 0.0,
        **train.optimizer_settings.arguments(),
        "bf16": train.precision == "bf16",
        "fp16": train.precision == "fp16",
        "gradient_checkpointing": train.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "logging_steps": train.logging_steps,
        "logging_nan_inf_filter": False,  # a loss that is NaN must show
        "save_strategy": "steps" if train.save_steps else "no",
        "save_steps": train.save_steps or 500,
        # Without save_steps, checkpoints only serve to resume. Two: the older stays until the newer is complete.
        # Beside that of the best weights, TrialCallback removes them.
        "save_total_limit": None if train.save_steps or train.keep == "best" else 2,
        "eval_strategy": "no",  # TrialCallback evaluates, the same way for every stage
        "seed": train.seed,
        "data_seed": train.seed,  # without it a resumed run may draw other rows
        "report_to": "none",
        "disable_tqdm": True,
        "log_level_replica": "error",  # otherwise all workers but the first turn warnings on
        "use_cpu": device == "cpu",
        "dataloader_pin_memory": device == "cuda",
        # A single process would wait for a process group that nobody creates.
        **({"ddp_backend": "gloo" if device == "cpu" else "nccl"} if workers > 1 else {}),
    }


def _schedule(train: TrainConfig, warmup: int) -> str:
    if not train.optimizer_settings.has_schedule:
        return "constant"  # the optimizer warms up itself
    # The schedule that transformers calls "constant" ignores the warm-up.
    return "constant_with_warmup" if train.scheduler == "constant" and warmup else train.scheduler


def make_trainer(
    cls: Any,
    policy: Policy,
    settings: Any,
    dataset: Any,
    places: np.ndarray,
    lengths: np.ndarray,
    packed: bool | Literal["whole"] = False,
    **options: Any,
) -> StageTrainer:
    """A trainer of the library's class ``cls`` over rows that are tokens already.

    ``places``, ``lengths`` and ``packed``: the order of the rows, see :class:`stage_trainer.RowOrder`.
    """
    if settings.n_gpu > 1:
        # A worker trains on one GPU; with several in sight, transformers would wrap the model in DataParallel.
        settings._n_gpu = 1
    ours = StageTrainer
    if policy.blueprint is not None:
        from trainables.training.sharded_trainer import ShardedTrainer

        ours = ShardedTrainer
    trainer_class: Any = type(cls.__name__, (ours, cls), {})
    with (
        keeping_trainable_dtype(policy.model),
        fused_head(cls, policy, getattr(settings, "temperature", 1.0)),
    ):
        return trainer_class(
            model=policy.model,
            args=settings,
            train_dataset=dataset,
            processing_class=policy.tokenizer,
            row_order=RowOrder(places, lengths, packed, width_cost(policy.device)),
            **options,
        )


def rows_on_disk(rows: Iterable[dict[str, Any]], cls: type[Dataset] = Dataset) -> Dataset:
    """A data set of the rows, memory-mapped from a deleted file, whose space is freed with the last reference."""
    from datasets.table import InMemoryTable

    rows = iter(rows)
    schema = None
    with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
        path = Path(folder) / "rows.arrow"
        with pa.OSFile(str(path), "wb") as sink, contextlib.ExitStack() as closing:
            while batch := list(islice(rows, 1024)):
                # The first batch decides about the types: a column of empty lists alone would get none.
                table = pa.Table.from_pylist(batch, schema=schema)
                if schema is None:
                    schema = table.schema
                    writer = closing.enter_context(pa.ipc.new_file(sink, schema))
                writer.write_table(table)
        # After the block above, which ends the file with its footer; the map outlives the deletion.
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    return cls(InMemoryTable(table), fingerprint="rows")


def clean_process(precision: str = "fp32") -> None:
    """Clears what the previous trial left in the process: accelerate's global state, torch's switches, garbage, and
    freed memory. A GPU computes as suits the ``precision`` of the next one.
    """
    from accelerate.state import AcceleratorState, GradientState
    from transformers.utils import logging

    logging.disable_progress_bar()  # on by default
    _restore_switches()
    use_tensor_cores(precision, default_device())
    AcceleratorState._reset_state()
    GradientState._reset_state()
    _forget_optimizers()
    # Before the cache is emptied: tensors in cycles of garbage hold blocks that would stay.
    gc.collect()
    free_paged_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


def _forget_optimizers() -> None:
    """Clears what bitsandbytes keeps for the whole process: embeddings, whose state 8-bit optimizers hold in 32 bits.

    It would keep these modules in memory, and applies to the next optimizer's parameters of the same number.
    """
    if bitsandbytes := sys.modules.get("bitsandbytes"):
        bitsandbytes.optim.GlobalOptimManager.get_instance().initialize()


_switches: dict[str, Any] = {}  # torch's, as they were before the process's first trial


def _restore_switches() -> None:
    """Gives torch's process-wide switches the values that they had before the process's first trial.

    A trial that fails within autocast, for instance, leaves it on, and the next trial would compute in 16 bits.
    """
    current: dict[str, tuple[Any, Callable[[Any], None]]] = {
        "grad mode": (torch.is_grad_enabled(), torch._C._set_grad_enabled),
        "default dtype": (torch.get_default_dtype(), torch.set_default_dtype),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.use_deterministic_algorithms),
        "matmul precision": (torch.get_float32_matmul_precision(), torch.set_float32_matmul_precision),
    }
    for device in ("cpu", "cuda"):
        current |= {
            f"autocast on {device}": (
                torch.is_autocast_enabled(device),
                partial(torch.set_autocast_enabled, device),
            ),
            f"autocast dtype on {device}": (
                torch.get_autocast_dtype(device),
                partial(torch.set_autocast_dtype, device),
            ),
        }
    for name, (value, change) in current.items():
        if value != _switches.setdefault(name, value):
            change(_switches[name])
    torch.clear_autocast_cache()
