"""Checkpoints of a sharded model: each worker writes and reads its own shard, bit for bit.

Only as many workers as wrote such a checkpoint can resume from it; others start the trial anew. Shards are read with
``weights_only``: ``torch.distributed.checkpoint`` would unpickle its index, which can run any code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor

from trainables.training.checkpoints import SHARD_FILE, is_sharded
from trainables.training.fsdp import local_shard

SCHEDULE = "scheduler.pt"


def can_resume(sharded: bool, checkpoint: Path) -> bool:
    """Whether all workers of this group, whose model is ``sharded`` or not, can resume from ``checkpoint``."""
    if not sharded:
        return not is_sharded(checkpoint)
    workers = distributed.get_world_size()
    return all(
        (checkpoint / SHARD_FILE.format(rank=rank, workers=workers)).is_file() for rank in range(workers)
    )


def save(trainer: Any, folder: Path) -> None:
    """Writes this worker's shard of the trained weights and the optimizer's state; the first, the schedule too."""
    folder.mkdir(parents=True, exist_ok=True)
    state = trainer.optimizer.state_dict()
    state["state"] = {
        number: {
            key: local_shard(value) if isinstance(value, Tensor) else value for key, value in entry.items()
        }
        for number, entry in state["state"].items()
    }
    trained = {
        name: local_shard(p.detach()) for name, p in trainer.model.named_parameters() if p.requires_grad
    }
    torch.save({"weights": trained, "optimizer": state}, _shard_path(folder))
    # The schedule is the same on all workers, so one file serves all.
    if trainer.args.should_save:
        torch.save(trainer.lr_scheduler.state_dict(), folder / SCHEDULE)


def load_weights(model: Any, folder: Path) -> None:
    """Copies this worker's shard of the trained weights into ``model``."""
    saved = _read_shard(folder)["weights"]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            local_shard(parameter.detach()).copy_(saved[name])


def load_optimizer(trainer: Any, folder: Path) -> None:
    """Restores this worker's shard of the optimizer's state, and the learning rate schedule."""
    optimizer = trainer.optimizer
    state = _read_shard(folder)["optimizer"]
    # The optimizer's state numbers parameters in the order of its groups.
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state["state"] = {
        number: {key: _sharded_like(parameters[number], value) for key, value in entry.items()}
        for number, entry in state["state"].items()
    }
    optimizer.load_state_dict(state)
    trainer.lr_scheduler.load_state_dict(torch.load(folder / SCHEDULE, weights_only=True))


def _sharded_like(parameter: Any, value: Any) -> Any:
    """A worker's shard of an optimizer tensor, laid out as its parameter is; scalars are the same on all workers."""
    if not isinstance(value, Tensor) or value.dim() == 0:
        return value
    layout = {"shape": parameter.shape, "stride": parameter.stride(), "run_check": False}
    return DTensor.from_local(value, parameter.device_mesh, parameter.placements, **layout)


def _shard_path(folder: Path) -> Path:
    return folder / SHARD_FILE.format(rank=distributed.get_rank(), workers=distributed.get_world_size())


def _read_shard(folder: Path) -> Any:
    return torch.load(_shard_path(folder), map_location="cpu", weights_only=True)
