"""AdamW whose two means have 4 bits a number, with a scale for each block of them.

B. Li, J. Chen, J. Zhu, "Memory Efficient Optimizers with 4-bit States", 2023, arXiv:2309.01507: the first mean by a
signed dynamic map, the second by a linear map without 0, by which updates are divided; both in blocks of 128.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainables.config.optimizers.four_bit_state import BLOCK, has_4_bits, part_size
from trainables.training.optimizers.adam_moments import adam_rate, adamw_step, decay

SMALLEST_SCALE = 1e-12
# A number in [-1, 1] is 0, 1, or a tenth's power times the middle of an interval of equal ones: 4 bits hold a sign,
# and a fraction the finer the larger the number (Dettmers et al., 2022, arXiv:2110.02861, section 2.2).
FIRST = (
    *(-0.8875, -0.6625, -0.4375, -0.2125, -0.0775, -0.0325, -0.0055, 0.0),
    *(0.0055, 0.0325, 0.0775, 0.2125, 0.4375, 0.6625, 0.8875, 1.0),
)
SECOND = tuple(number / 16 for number in range(1, 17))
MEANS = {"exp_avg": FIRST, "exp_avg_sq": SECOND}


class AdamW4bit(Optimizer):
    """Tensors that are small, or can't be divided into blocks, are trained by torch's AdamW."""

    def __init__(
        self, params: Iterable[Any], lr: float, betas: tuple[float, float], eps: float, **options: Any
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0, "fused": True}
        super().__init__(params, {**defaults, **options})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and _has_4_bits(parameter):
                    self._move(parameter, parameter.grad, group)
        adamw_step(self, map(_of_whole_state, self.param_groups))

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state.update(_new_state(parameter))
        state["step"] += 1
        decay(parameter, group)
        weights, gradients = parameter.view(-1), gradient.reshape(-1)
        size = part_size(parameter.device.type)
        # Part by part: the means of all of a large tensor in 32 bits would take more than they do here.
        for begin in range(0, weights.numel(), size):
            part = slice(begin, begin + size)
            update = _update(state, part, gradients[part], group)
            weights[part].add_(update, alpha=-adam_rate(state, group))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """torch brings all state to the types of the parameters, which codes and scales don't have: they come back."""
        super().load_state_dict(state_dict)
        numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for number, parameter in zip(numbers, parameters, strict=True):
            for name, value in state_dict["state"].get(number, {}).items():
                if isinstance(value, Tensor):
                    self.state[parameter][name] = value.to(parameter.device)


def _has_4_bits(parameter: Tensor) -> bool:
    return has_4_bits(parameter.numel()) and parameter.is_contiguous()


def _of_whole_state(group: dict[str, Any]) -> dict[str, Any]:
    """The group with the parameters alone whose means have all their bits."""
    return {**group, "params": [p for p in group["params"] if not _has_4_bits(p)]}


def _new_state(parameter: Tensor) -> dict[str, Any]:
    """Means of 0, each as ``codes`` (numbers / 2,), two in a byte, and ``scales`` (blocks,)."""
    state: dict[str, Any] = {"step": 0}
    for name, values in MEANS.items():
        zero = values.index(0.0) if 0.0 in values else 0
        codes = parameter.new_full((parameter.numel() // 2,), 17 * zero, dtype=torch.uint8)
        state[f"{name}_codes"] = codes
        state[f"{name}_scales"] = parameter.new_zeros(parameter.numel() // BLOCK, dtype=torch.float32)
    return state


def _update(state: dict[str, Any], part: slice, gradient: Tensor, group: dict[str, Any]) -> Tensor:
    """Adam's normalized gradient (numbers,) of a part of a tensor, without bias corrections; keeps the new means."""
    beta1, beta2 = group["betas"]
    gradient = gradient.float()
    second = _read(state, "exp_avg_sq", part).mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    _write(state, "exp_avg_sq", part, second)
    first = _read(state, "exp_avg", part).lerp_(gradient, 1 - beta1)
    _write(state, "exp_avg", part, first)
    return first.div_(second.sqrt_().add_(group["eps"]))


def _read(state: dict[str, Any], name: str, part: slice) -> Tensor:
    """A mean's numbers (numbers,) in 32 bits."""
    codes, scales = _codes_and_scales(state, name, part)
    both = torch.stack((codes >> 4, codes & 15), -1).view(-1)
    numbers = _map(name, codes.device)[0][both.int()].view(-1, BLOCK)
    return numbers.mul_(scales[:, None]).view(-1)


def _write(state: dict[str, Any], name: str, part: slice, numbers: Tensor) -> None:
    """Keeps the nearest numbers that there are codes for."""
    codes, scales = _codes_and_scales(state, name, part)
    blocks = numbers.view(-1, BLOCK)
    torch.amax(blocks.abs(), 1, out=scales)
    scales.clamp_(min=SMALLEST_SCALE)
    found = torch.bucketize(blocks / scales[:, None], _map(name, codes.device)[1], out_int32=True)
    pairs = found.to(torch.uint8).view(-1, 2)
    torch.bitwise_or(pairs[:, 0] << 4, pairs[:, 1], out=codes)


def _codes_and_scales(state: dict[str, Any], name: str, part: slice) -> tuple[Tensor, Tensor]:
    codes = state[f"{name}_codes"][part.start // 2 : part.stop // 2]
    return codes, state[f"{name}_scales"][part.start // BLOCK : part.stop // BLOCK]


@cache
def _map(name: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """The numbers (16,) of the codes of a mean, and the borders (15,) between those that are next to each other."""
    numbers = torch.tensor(MEANS[name], device=device)
    return numbers, (numbers[1:] + numbers[:-1]) / 2
