"""Checkpoints of a trial whose weights the workers share: each writes and reads its own share, bit for bit.

Other workers, or another number of them, can't read such a checkpoint: they begin anew.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor

from trainables.training.checkpoints import SHARE, is_shared
from trainables.training.fsdp import local

SCHEDULE = "scheduler.pt"


def own(trainer: Any, model: Any) -> None:
    """Has a trainer over a shared model leave its wrapping to us, and write and read such checkpoints."""
    model.reshard()  # it may have been run already, and an optimizer of weights that are put together is of no use
    trainer.is_distributed_loading_by_transformers = True  # else it would be wrapped once more
    # Gradients of every batch are shared out at once: what saves sending them would hold them whole.
    trainer._defer_fsdp_gradient_reduction = nullcontext
    trainer.save_model = lambda *args, **kwargs: None  # its weights are written with the optimizer's state
    trainer._save_optimizer_and_scheduler = lambda folder: _save(trainer, model, Path(folder))
    trainer._load_from_checkpoint = lambda folder, _=None: _load_weights(model, Path(folder))
    trainer._load_optimizer_and_scheduler = lambda folder: _load_optimizer(trainer, folder)
    norm = trainer._get_grad_norm
    trainer._get_grad_norm = lambda *args, **kwargs: _over_all(norm(*args, **kwargs))


def is_ours(shared: bool, checkpoint: Path) -> bool:
    """Whether these workers, who have ``shared`` weights or not, can all resume from a checkpoint."""
    if not shared:
        return not is_shared(checkpoint)
    workers = distributed.get_world_size()
    return all((checkpoint / SHARE.format(rank=rank, workers=workers)).is_file() for rank in range(workers))


def _over_all(norm: Any) -> Any:
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def _save(trainer: Any, model: Any, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    state = trainer.optimizer.state_dict()
    state["state"] = {
        number: {key: local(value) if isinstance(value, Tensor) else value for key, value in entry.items()}
        for number, entry in state["state"].items()
    }
    trained = {name: local(p.detach()) for name, p in model.named_parameters() if p.requires_grad}
    torch.save({"weights": trained, "optimizer": state}, _share(folder))
    if trainer.args.should_save:
        torch.save(trainer.lr_scheduler.state_dict(), folder / SCHEDULE)


def _load_weights(model: Any, folder: Path) -> None:
    saved = _read(folder)["weights"]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            local(parameter.detach()).copy_(saved[name])


def _load_optimizer(trainer: Any, checkpoint: str | None) -> None:
    if checkpoint is None:
        return
    folder, optimizer = Path(checkpoint), trainer.optimizer
    state = _read(folder)["optimizer"]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state["state"] = {
        number: {key: _shared_as(parameters[number], value) for key, value in entry.items()}
        for number, entry in state["state"].items()
    }
    optimizer.load_state_dict(state)
    trainer.lr_scheduler.load_state_dict(torch.load(folder / SCHEDULE, weights_only=True))


def _shared_as(parameter: Any, value: Any) -> Any:
    """A worker's share of what the optimizer holds of a parameter; other numbers are everybody's."""
    if not isinstance(value, Tensor) or value.dim() == 0:
        return value
    layout = {"shape": parameter.shape, "stride": parameter.stride(), "run_check": False}
    return DTensor.from_local(value, parameter.device_mesh, parameter.placements, **layout)


def _share(folder: Path) -> Path:
    return folder / SHARE.format(rank=distributed.get_rank(), workers=distributed.get_world_size())


def _read(folder: Path) -> Any:
    return torch.load(_share(folder), map_location="cpu", weights_only=True)
