"""What all stages' trainers share: arguments, dtypes, and a warm process made clean for the next trial."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from torch import nn
from transformers import PrinterCallback, TrainerCallback

from trainables.config.train import TrainConfig
from trainables.tokenization.batching import padding_share, shares

if TYPE_CHECKING:
    from trainables.training.policy import Policy

CPU_LOSS_CHUNK = 64  # labelled tokens

OPTIMIZERS = {
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "adamw_bnb_8bit",
    "paged_adamw": "paged_adamw_32bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
    "sgd": "sgd",
    "adafactor": "adafactor",
}


def arguments(train: TrainConfig, steps: int, folder: Path, workers: int, device: str) -> dict[str, Any]:
    """Keyword arguments for any trainer's config; what TRL would decide for itself is stated."""
    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": train.batch_size // workers,
        "gradient_accumulation_steps": train.gradient_accumulation,
        "learning_rate": train.learning_rate,
        "lr_scheduler_type": train.scheduler,
        "warmup_steps": train.warmup_steps,
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm or 0.0,
        "optim": OPTIMIZERS[train.optimizer],
        "bf16": train.precision == "bf16",
        "fp16": train.precision == "fp16",
        "gradient_checkpointing": train.gradient_checkpointing,
        "logging_steps": train.logging_steps,
        "logging_nan_inf_filter": False,  # a loss that is NaN must be seen
        "save_strategy": "steps" if train.save_steps else "no",
        "save_steps": train.save_steps or 500,
        # Without save_steps checkpoints serve to resume. Two: the older stays until the newer is complete.
        "save_total_limit": None if train.save_steps else 2,
        "eval_strategy": "no",  # our own callback evaluates, the same way for every stage
        "seed": train.seed,
        "data_seed": train.seed,  # without it a resumed run may see other rows
        "report_to": "none",
        "disable_tqdm": True,
        "log_level_replica": "error",  # else every worker but the first would turn warnings on
        "use_cpu": device == "cpu",
        "dataloader_pin_memory": device == "cuda",
        # Given to a lone process it would wait for a process group that nobody makes.
        **({"ddp_backend": "gloo" if device == "cpu" else "nccl"} if workers > 1 else {}),
    }


@contextmanager
def keeping_trainable_dtype(model: nn.Module) -> Iterator[None]:
    """Gives trainable weights back what they were: TRL casts a quantized model's adapters to bf16."""
    before = {name: p.data for name, p in model.named_parameters() if p.requires_grad}
    yield
    for name, parameter in model.named_parameters():
        if name in before and parameter.dtype != before[name].dtype:
            parameter.data = before[name]


@contextmanager
def small_loss_chunks(device: str) -> Iterator[None]:
    """Has TRL compute logits for 64 labelled tokens at a time on a CPU, where 256 suit a GPU.

    It fills the last chunk up with tokens that don't count: a short batch has fewer than 64 labels, and the
    head of a small model is a third of its work.
    """
    from trl.trainer import sft_trainer

    before = sft_trainer._CHUNKED_LM_HEAD_CHUNK_SIZE
    if device == "cpu":
        sft_trainer._CHUNKED_LM_HEAD_CHUNK_SIZE = CPU_LOSS_CHUNK
    try:
        yield
    finally:
        sft_trainer._CHUNKED_LM_HEAD_CHUNK_SIZE = before


def trainer_over(
    cls: Any,
    policy: Policy,
    settings: Any,
    dataset: Any,
    order: np.ndarray,
    lengths: np.ndarray,
    shared: bool = False,
    **options: Any,
) -> Any:
    """A trainer of ``cls`` over rows that are tokens already, drawn as :func:`in_order` has it."""
    with keeping_trainable_dtype(policy.model):
        trainer = cls(
            model=policy.model,
            args=settings,
            train_dataset=dataset,
            processing_class=policy.tokenizer,
            **options,
        )
    return in_order(trainer, order, lengths, shared)


def in_order(trainer: Any, order: np.ndarray, lengths: np.ndarray, shared: bool = False) -> Any:
    """Has the trainer draw its data set's rows in this order, by their places: (rows,).

    ``lengths`` (rows,) or (rows, sequences) are theirs in tokens; with them the trainer tells its ``padding_share``
    and how many tokens it has seen after a step, padding not counted (``tokens_after``).
    """
    places, seen = order.tolist(), np.cumsum(lengths.reshape(len(lengths), -1).sum(1))
    args = trainer.args
    update = args.per_device_train_batch_size * args.world_size * args.gradient_accumulation_steps
    trainer._get_train_sampler = lambda dataset=None: places
    if args.world_size > 1:
        trainer.get_train_dataloader = lambda: _shared_loader(trainer, places)
        _hold_gradients_once(trainer)
    trainer.padding_share = padding_share(lengths, args.per_device_train_batch_size, shared)
    trainer.tokens_after = lambda step: int(seen[min(step * update, len(seen)) - 1])
    return trainer


def _hold_gradients_once(trainer: Any) -> None:
    """Has gradients be views of what torch sends them in (DDP's buckets), which would hold them a second time."""
    wrap = trainer._wrap_model

    def wrapped(*arguments: Any, **options: Any) -> Any:
        model = wrap(*arguments, **options)
        if trainer.accelerator.ddp_handler is not None:
            trainer.accelerator.ddp_handler.gradient_as_bucket_view = True
        return model

    trainer._wrap_model = wrapped


def _shared_loader(trainer: Any, places: list[int]) -> Any:
    """This worker's share of every batch, as large as any other's.

    Accelerate would fill a last batch that is not full up with rows that were there before.
    """
    from accelerate.data_loader import prepare_data_loader
    from torch.utils.data import DataLoader

    args = trainer.args
    together = args.per_device_train_batch_size * args.world_size
    loader = DataLoader(
        trainer._remove_unused_columns(trainer.train_dataset, description="training"),
        batch_sampler=shares(places, together, args.world_size, args.process_index),
        collate_fn=trainer.data_collator,
        pin_memory=args.dataloader_pin_memory,
    )
    return prepare_data_loader(loader, args.device, num_processes=1, process_index=0, put_on_device=True)


def on_disk(rows: Iterable[dict[str, Any]], cls: type[Dataset] = Dataset) -> Dataset:
    """A data set of the rows, memory-mapped from a file without a name, which goes when nobody needs it."""
    from datasets.table import InMemoryTable

    rows = iter(rows)
    schema = None
    with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
        path = Path(folder) / "rows.arrow"
        with pa.OSFile(str(path), "wb") as sink, contextlib.ExitStack() as closing:
            while batch := list(islice(rows, 1024)):
                table = pa.Table.from_pylist(batch, schema=schema)
                if schema is None:
                    schema = table.schema
                    writer = closing.enter_context(pa.ipc.new_file(sink, schema))
                writer.write_table(table)
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    return cls(InMemoryTable(table), fingerprint="rows")


def follow_quietly(trainer: Any, callback: TrainerCallback) -> None:
    """Adds a callback; takes away what prints log lines and writes a model card with every checkpoint."""
    trainer.remove_callback(PrinterCallback)
    trainer.create_model_card = lambda *args, **kwargs: None
    trainer.add_callback(callback)


def clean_process() -> None:
    """Lets go of what the last trial left: accelerate's global state, garbage, and freed pages."""
    from accelerate.state import AcceleratorState, GradientState
    from transformers.utils import logging

    logging.disable_progress_bar()  # transformers has them on by default
    AcceleratorState._reset_state()
    GradientState._reset_state()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
