"""The updates of the optimizers that are Paretune's own, against formulas worked by hand and torch's classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainables.training.optimizers.adamw_4bit import AdamW4bit
from trainables.training.optimizers.apollo import Apollo, random_projection
from trainables.training.optimizers.galore import GaLore
from trainables.training.optimizers.lomo import Lomo
from trainables.training.optimizers.muon import MuonWithAdamW

ADAM: dict[str, Any] = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-12}


def moved(optimizer_of: Any, gradients: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    """How far a parameter of zeros moves with these gradients."""
    parameter = nn.Parameter(torch.zeros(shape))
    optimizer: Optimizer = optimizer_of(parameter)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_galore_s_first_update_is_the_sign_in_the_leading_singular_directions(shape: tuple[int, int]) -> None:
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = moved(
        lambda p: GaLore([{"params": [p], "matrix": True}], rank=2, update_every=5, scale=0.25, **ADAM),
        [gradient],
        shape,
    )
    left, _, right = torch.linalg.svd(gradient, full_matrices=False)
    basis = left[:, :2] if shape[0] < shape[1] else right[:2].T
    # Adam's first direction is the sign of what it is given.
    wide = shape[0] < shape[1]
    sign = (basis.T @ gradient).sign() if wide else (gradient @ basis).sign()
    expected = -0.1 * 0.25 * (basis @ sign if wide else sign @ basis.T)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert torch.linalg.matrix_rank(found) == 2


@pytest.mark.parametrize("by_tensor", [False, True])
def test_apollo_scales_each_channel_or_the_whole_matrix_as_adam_scales_its_projection(
    by_tensor: bool,
) -> None:
    gradient = torch.randn((6, 9), generator=torch.Generator().manual_seed(0))
    found = moved(
        lambda p: Apollo(
            [{"params": [p], "matrix": True}],
            rank=2,
            update_every=5,
            scale=4.0,
            by_tensor=by_tensor,
            seed=3,
            **ADAM,
        ),
        [gradient],
        (6, 9),
    )
    projected = (
        random_projection(gradient, 2, (3, 1, 0)).T @ gradient
    )  # (2, 9): the rows are the shorter side
    size = projected.norm() if by_tensor else projected.norm(dim=0)
    signs = (2 * 9) ** 0.5 if by_tensor else 2**0.5  # the norm of as many signs
    torch.testing.assert_close(found, -0.1 * 2.0 * gradient * signs / size, atol=1e-5, rtol=1e-4)


def test_apollo_limits_how_fast_an_update_grows() -> None:
    gradients = [torch.full((4, 4), size) for size in (1.0, 1.0, 100.0)]
    steps = [moved(_apollo_of_rank_1, gradients[:count], (4, 4)) for count in (1, 2, 3)]
    first, second, third = steps[0].norm(), (steps[1] - steps[0]).norm(), (steps[2] - steps[1]).norm()
    assert second < 1.02 * first
    assert third < 1.02 * second


def _apollo_of_rank_1(parameter: nn.Parameter) -> Optimizer:
    groups = [{"params": [parameter], "matrix": True}]
    return Apollo(
        groups, rank=1, update_every=9, scale=1.0, by_tensor=True, seed=0, **{**ADAM, "betas": (0.0, 0.0)}
    )


@pytest.mark.parametrize("name", ["galore", "apollo", "apollo_mini"])
def test_a_matrix_whose_first_gradients_are_zero_trains_as_if_they_had_not_been(name: str) -> None:
    """A LoRA's A has no gradient before its B has moved."""

    def optimizer_of(parameter: nn.Parameter) -> Optimizer:
        options = {**ADAM, "betas": (0.0, 0.0), "rank": 2, "update_every": 9, "scale": 1.0}
        groups = [{"params": [parameter], "matrix": True}]
        if name == "galore":
            return GaLore(groups, **options)
        return Apollo(groups, **options, by_tensor=name == "apollo_mini", seed=0)

    gradients = [
        torch.randn((6, 9), generator=torch.Generator().manual_seed(seed)) * size
        for seed, size in enumerate((1.0, 1.1, 0.9))
    ]
    zero = torch.zeros(6, 9)
    at_once, later = (moved(optimizer_of, before + gradients, (6, 9)) for before in ([], [zero, zero]))
    assert at_once.norm() > 0.1
    torch.testing.assert_close(later, at_once)
    assert moved(optimizer_of, [zero], (6, 9)).norm() == 0


@pytest.mark.parametrize("matrix", [True, False])
@pytest.mark.parametrize("name", ["galore", "apollo", "muon"])
def test_a_state_that_was_read_to_the_cpu_is_loaded_to_the_device_of_the_weights(
    name: str, matrix: bool
) -> None:
    def optimizer_of(parameter: nn.Parameter) -> Optimizer:
        groups = [{"params": [parameter], "matrix": matrix}]
        if name == "muon":
            return MuonWithAdamW(groups, 0.1, {}, {})
        options = {**ADAM, "rank": 2, "update_every": 9, "scale": 1.0}
        return (
            GaLore(groups, **options)
            if name == "galore"
            else Apollo(groups, **options, by_tensor=False, seed=0)
        )

    weight = nn.Parameter(torch.zeros(6, 9))
    weight.grad = torch.ones(6, 9)
    optimizer = optimizer_of(weight)
    optimizer.step()
    elsewhere = nn.Parameter(torch.zeros(6, 9, device="meta"))
    resumed = optimizer_of(elsewhere)
    resumed.load_state_dict(optimizer.state_dict())
    tensors = {key: value for key, value in resumed.state[elsewhere].items() if isinstance(value, Tensor)}
    assert tensors
    assert {key for key, value in tensors.items() if value.device != elsewhere.device} == set()


def test_muon_and_adamw_move_as_they_do_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn((4, 6), generator=generator) for _ in range(3)]
    options: dict[str, Any] = {"betas": (0.9, 0.99), "eps": 1e-8}
    for matrix in (True, False):
        group = {"matrix": matrix, "weight_decay": 0.1}
        both = moved(
            lambda p, group=group: MuonWithAdamW([{"params": [p], **group}], 0.1, {"momentum": 0.9}, options),
            gradients,
            (4, 6),
        )
        if matrix:
            alone = moved(
                lambda p: torch.optim.Muon([p], lr=0.1, weight_decay=0.1, momentum=0.9), gradients, (4, 6)
            )
        else:
            alone = moved(
                lambda p: torch.optim.AdamW([p], lr=0.1, weight_decay=0.1, fused=True, **options),
                gradients,
                (4, 6),
            )
        assert torch.equal(both, alone)


def test_lomo_updates_in_the_backward_pass_and_keeps_no_gradient_only_while_it_trains() -> None:
    weight = nn.Parameter(torch.ones(2, 3))
    optimizer = Lomo([{"params": [weight], "weight_decay": 0.0}], lr=0.5, adaptive=False)
    optimizer.begin()
    (weight * torch.arange(6.0).view(2, 3)).sum().backward()
    torch.testing.assert_close(weight.detach(), 1 - 0.5 * torch.arange(6.0).view(2, 3))
    assert weight.grad is None
    optimizer.end()
    weight.sum().backward()
    torch.testing.assert_close(weight.detach(), 1 - 0.5 * torch.arange(6.0).view(2, 3))
    assert weight.grad is not None


def test_adalomo_s_first_update_is_the_sign_of_a_rank_one_gradient_times_the_weights_size() -> None:
    weight = nn.Parameter(torch.full((2, 3), 2.0))
    optimizer = Lomo([{"params": [weight]}], lr=0.5, adaptive=True)
    optimizer.begin()
    # Rows' and columns' means give back the squares of such a gradient exactly, so that the update is its sign.
    gradient = torch.tensor([[1.0], [-3.0]]) * torch.tensor([[1.0, 2.0, -4.0]])
    (weight * gradient).sum().backward()
    torch.testing.assert_close(weight.detach(), 2 - 0.5 * 2.0 * gradient.sign(), atol=1e-5, rtol=1e-5)


def test_adamw_in_4_bits_follows_adamw_s_updates_as_far_as_its_means_are_known() -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn((64, 128), generator=generator) for _ in range(4)]
    found = moved(lambda p: AdamW4bit([p], lr=0.1, betas=(0.9, 0.999), eps=1e-8), gradients, (64, 128))
    exact = moved(lambda p: torch.optim.AdamW([p], lr=0.1, weight_decay=0), gradients, (64, 128))
    assert (found - exact).abs().mean() < 0.15 * exact.abs().mean()
    # The first update needs no mean from before.
    first = moved(lambda p: AdamW4bit([p], lr=0.1, betas=(0.9, 0.999), eps=1e-8), gradients[:1], (64, 128))
    torch.testing.assert_close(first, -0.1 * gradients[0].sign(), atol=1e-3, rtol=1e-3)


def test_adamw_in_4_bits_has_the_means_of_small_tensors_in_32() -> None:
    gradients = [torch.full((10, 3), value) for value in (1.0, -0.5, 2.0)]
    found = moved(lambda p: AdamW4bit([p], lr=0.1, betas=(0.9, 0.999), eps=1e-8), gradients, (10, 3))
    exact = moved(lambda p: torch.optim.AdamW([p], lr=0.1, weight_decay=0), gradients, (10, 3))
    assert torch.equal(found, exact)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_state_in_4_bits_is_loaded_as_it_was_saved(dtype: torch.dtype) -> None:
    """By parts of a tensor that is larger than one of them."""
    parameter = nn.Parameter(torch.zeros((4200, 128), dtype=dtype))
    optimizers = [AdamW4bit([parameter], lr=0.1, betas=(0.9, 0.999), eps=1e-8) for _ in range(2)]
    parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    optimizers[0].step()
    optimizers[1].load_state_dict(optimizers[0].state_dict())
    first, second = (optimizer.state[parameter] for optimizer in optimizers)
    assert set(first) == {
        "step",
        *(f"exp_avg{sq}_{part}" for sq in ("", "_sq") for part in ("codes", "scales")),
    }
    for name, value in first.items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(second[name])), name
        assert torch.as_tensor(value).dtype == torch.as_tensor(second[name]).dtype
    assert len(first["exp_avg_codes"].unique()) > 16
