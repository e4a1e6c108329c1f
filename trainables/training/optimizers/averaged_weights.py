"""The weights that a schedule-free optimizer stands for: averages, which differ from those that it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from trainables.config.optimizers.unwrapped import unwrapped


@contextmanager
def averaged_weights(optimizer: Any) -> Iterator[None]:
    """Has a model hold the averages within a block, and exactly what it held before afterwards.

    The optimizer's own switch back and forth rounds the weights, so that a trial would depend on how often it is
    scored. Does nothing for an optimizer without averages.
    """
    inner = unwrapped(optimizer)
    trained: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
    with torch.no_grad():
        for group in inner.param_groups if _averages(inner) else ():
            for parameter in group["params"]:
                if group["train_mode"] and "z" in inner.state[parameter]:
                    trained.append((parameter, parameter.data))
                    parameter.data = parameter.data.lerp(
                        inner.state[parameter]["z"], 1 - 1 / group["betas"][0]
                    )
    try:
        yield
    finally:
        for parameter, weights in trained:
            parameter.data = weights


class AveragingCallback(TrainerCallback):
    """Has a schedule-free optimizer train at each step; trainers with a step of their own (PPO) don't tell it."""

    def on_step_begin(
        self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any
    ) -> None:
        unwrapped(optimizer).train()


def take_averages(optimizer: Any) -> None:
    """Has a model hold the averages for good; training can't go on from there."""
    inner = unwrapped(optimizer)
    if _averages(inner):
        inner.eval()


def load_averages(trainer: Any, checkpoint: Path) -> None:
    """Loads the state of a schedule-free optimizer for a model whose training had ended at ``checkpoint``."""
    if trainer.args.optim.startswith("schedule_free"):
        trainer.create_optimizer()
        saved = torch.load(checkpoint / "optimizer.pt", map_location=trainer.args.device, weights_only=True)
        trainer.optimizer.load_state_dict(saved)


def _averages(optimizer: Any) -> bool:
    return (
        optimizer is not None and bool(optimizer.param_groups) and "train_mode" in optimizer.param_groups[0]
    )
