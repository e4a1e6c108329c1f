"""Muon for the matrices between the embedding and the head, with AdamW for all else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from trainables.training.optimizers.adam_moments import adamw_step, step_with


class MuonWithAdamW(Optimizer):
    """torch's Muon for groups whose ``matrix`` is true, and torch's AdamW for the others, as one optimizer.

    Both share this optimizer's groups and state, so that schedules and checkpoints see one. ``matrix_options``: those
    of ``torch.optim.Muon`` beside learning rate and decay; ``options``: the same of ``torch.optim.AdamW``.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float,
        matrix_options: dict[str, Any],
        options: dict[str, Any],
    ) -> None:
        self.matrix_options, self.options = matrix_options, options
        super().__init__(params, {"lr": lr, "weight_decay": 0.0, "matrix": False, "fused": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        matrices = [group for group in self.param_groups if group["matrix"]]
        step_with(torch.optim.Muon, self, matrices, **self.matrix_options)
        adamw_step(self, [group for group in self.param_groups if not group["matrix"]], **self.options)
