"""What GaLore and APOLLO share: Adam's means of the projected gradients of matrices, and AdamW for all else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainables.training.optimizers.adam_moments import adam_direction, adam_rate, adamw_step, decay


@dataclass(frozen=True)
class Projected:
    """A gradient (rows, columns), what it is projected with, its projected form, and Adam's direction of that."""

    gradient: Tensor
    basis: Tensor
    projected: Tensor
    direction: Tensor


class ProjectedAdam(Optimizer, ABC):
    """Groups whose ``matrix`` is true are of matrices; those with more than ``rank`` rows and columns are projected on
    their shorter side, since less is kept so. All others are trained by AdamW.

    ``update_every``: steps between two projections. ``scale``: of projected updates. ``others``: settings of a
    subclass, which become part of each group.
    """

    scale_power: ClassVar[float] = 1.0  # of ``scale``, by which updates are multiplied

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        rank: int,
        update_every: int,
        scale: float,
        **others: Any,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0, "matrix": False, "fused": True}
        super().__init__(
            params, {**defaults, "rank": rank, "update_every": update_every, "scale": scale, **others}
        )

    @abstractmethod
    def basis(
        self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any], number: int
    ) -> Tensor | None:
        """What a gradient (rows, columns) is projected with, (shorter side, rank); ``None`` where nothing is known yet,
        and the parameter stays where it is.

        ``state["step"]`` counts the steps before this one. ``number``: the parameter's place, the same after a resume.
        """

    @abstractmethod
    def update(self, seen: Projected, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        """The update (rows, columns) of a gradient, by what Adam makes of its projected form."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        number = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                number += 1
                if parameter.grad is not None and _is_projected(parameter, group):
                    self._move(parameter, parameter.grad, group, number)
        adamw_step(self, map(_without_projected, self.param_groups))

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any], number: int) -> None:
        state = self.state[parameter]
        decay(parameter, group)
        basis = self.basis(gradient, state, group, number)
        if basis is None:
            return
        state["step"] = state.get("step", 0) + 1
        projected = gradient @ basis if is_tall(gradient) else basis.T @ gradient
        direction = adam_direction(state, projected, group)
        update = self.update(Projected(gradient, basis, projected, direction), state, group)
        parameter.add_(update, alpha=-adam_rate(state, group) * group["scale"] ** self.scale_power)


def is_tall(matrix: Tensor) -> bool:
    """Whether a matrix has at least as many rows as columns, so that its columns are the shorter side."""
    return matrix.shape[0] >= matrix.shape[1]


def _is_projected(parameter: Tensor, group: dict[str, Any]) -> bool:
    return bool(group["matrix"]) and group["rank"] < min(parameter.shape)


def _without_projected(group: dict[str, Any]) -> dict[str, Any]:
    """The group with the parameters alone whose gradients are not projected."""
    return {**group, "params": [p for p in group["params"] if not _is_projected(p, group)]}
