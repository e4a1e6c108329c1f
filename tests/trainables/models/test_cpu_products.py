"""Products of 16-bit tensors on CPUs without instructions for them are exact up to one rounding."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trainables.models import cpu_products

# The distance of two neighbouring numbers by their size; a rounded number is off by half of it.
SPACING = {torch.bfloat16: 2**-7, torch.float16: 2**-10}


@pytest.fixture(autouse=True)
def _replaced() -> None:
    if not all(map(cpu_products.multiplies_in_32_bits, cpu_products.HALVES)):
        pytest.skip("this CPU has instructions for 16 bits")
    cpu_products.use_fast_products()


def random(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def assert_rounded_once(product: Tensor, exact: Tensor) -> None:
    assert product.shape == exact.shape
    # 32-bit sums of numbers near 1 are off by 1e-4 at most for the lengths below.
    error = (product.double() - exact).abs() - 1e-4
    assert (error <= exact.abs() * SPACING[product.dtype] / 2 * 1.001).all()


@pytest.mark.parametrize("dtype", list(SPACING))
@pytest.mark.parametrize(
    ("rows", "inner", "columns"),
    [(3, 40, 50), (1, 40, 50), (7, 1500, 900), (900, 1500, 7), (3, 9000, 20), (0, 4, 5), (4, 0, 5)],
)
def test_a_product_is_that_of_64_bits_rounded_once(
    rows: int, inner: int, columns: int, dtype: torch.dtype
) -> None:
    one, other = random(rows, inner, dtype=dtype), random(inner, columns, dtype=dtype)
    exact = one.double() @ other.double()
    assert_rounded_once(one @ other, exact)
    assert_rounded_once(one @ other.t().contiguous().t(), exact)
    assert_rounded_once(one.t().contiguous().t() @ other, exact)


def test_a_batch_of_products_and_added_matrices_are_too() -> None:
    one, other, bias = random(5, 30, 40), random(5, 40, 20), random(20)
    exact = one.double() @ other.double()
    assert_rounded_once(one @ other, exact)
    assert_rounded_once(torch.baddbmm(bias, one, other, beta=0.5, alpha=2), 0.5 * bias.double() + 2 * exact)
    assert_rounded_once(torch.addmm(bias, one[0], other[0], beta=3), 3 * bias.double() + exact[0])
    for beta in (1, 0.5):
        into = bias.repeat(30, 1)
        assert into.addmm_(one[0], other[0], beta=beta, alpha=3) is into
        assert_rounded_once(into, beta * bias.double() + 3 * exact[0])
    # As in torch, what is not counted may be infinite.
    unread = torch.full((20,), torch.nan, dtype=torch.bfloat16)
    assert_rounded_once(torch.addmm(unread, one[0], other[0], beta=0), exact[0])


def test_a_layer_and_its_gradients_under_autocast_are_those_of_32_bits() -> None:
    torch.manual_seed(0)
    layer, inputs = torch.nn.Linear(64, 48), torch.randn(4, 9, 64, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(inputs)
    assert output.dtype == torch.bfloat16
    output.float().square().sum().backward()
    found = [layer.weight.grad, layer.bias.grad, inputs.grad]
    layer.zero_grad()
    inputs.grad = None
    functional.linear(inputs, layer.weight, layer.bias).square().sum().backward()
    for gradient, exact in zip(found, [layer.weight.grad, layer.bias.grad, inputs.grad], strict=True):
        assert gradient is not None
        assert exact is not None
        assert (gradient - exact).norm() < 0.01 * exact.norm()


def test_products_of_32_and_64_bits_and_of_integers_are_torchs_own() -> None:
    for dtype in (torch.float32, torch.float64, torch.int64):
        one, other = (
            torch.arange(6).reshape(2, 3).to(dtype),
            torch.arange(12).reshape(3, 4).to(dtype),
        )
        expected = torch.tensor([[20, 23, 26, 29], [56, 68, 80, 92]]).to(dtype)
        assert torch.equal(one @ other, expected)
        assert torch.equal(torch.bmm(one[None], other[None])[0], expected)
        assert torch.equal(torch.addmm(other[0], one, other), expected + other[0])
        assert torch.equal(other[:2].clone().addmm_(one, other), expected + other[:2])
        assert torch.equal(torch.baddbmm(other[0], one[None], other[None])[0], expected + other[0])


def test_where_the_processor_has_instructions_for_one_of_the_dtypes_the_other_one_is_replaced_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        cpu_products, "multiplies_in_32_bits", lambda dtype: dtype == torch.float16
    )  # AVX-512 without fp16
    taken: list[torch.dtype] = []
    own = cpu_products.multiply

    def counting(one: Tensor, other: Tensor, out: Tensor) -> Tensor:
        taken.append(one.dtype)
        return own(one, other, out)

    monkeypatch.setattr(cpu_products, "multiply", counting)
    for dtype in (torch.bfloat16, torch.float16):
        random(3, 4, dtype=dtype) @ random(4, 5, dtype=dtype)
    assert taken == [torch.float16]


REFUSED: dict[str, Callable[[], Tensor]] = {
    "mm of two dtypes": lambda: torch.mm(random(3, 4), random(4, 5).float()),
    "mm of a row by a matrix that lies transposed": lambda: torch.mm(random(1, 4), random(5, 4).float().t()),
    "mm of other lengths": lambda: torch.mm(random(3, 8192 + 4), random(8192 + 8, 5)),
    "mm with a vector": lambda: torch.mm(random(3, 4), random(4)),
    "addmm of two dtypes": lambda: torch.addmm(random(5), random(3, 4), random(4, 5).float()),
    "addmm of a bias in 32 bits": lambda: torch.addmm(random(5).float(), random(3, 4), random(4, 5)),
    "addmm_ into another shape": lambda: random(3, 5).addmm_(random(1, 4), random(4, 5)),
    "addmm_ of 32 bits into another shape": lambda: torch.zeros(3, 5).addmm_(
        torch.zeros(1, 4), torch.zeros(4, 5)
    ),
    "bmm of two dtypes": lambda: torch.bmm(random(2, 3, 4), random(2, 4, 5).float()),
    "bmm of more matrices than the other has": lambda: torch.bmm(random(2, 3, 4), random(3, 4, 5)),
    "bmm of fewer": lambda: torch.bmm(random(3, 3, 4), random(1, 4, 5)),
    "baddbmm of two dtypes": lambda: torch.baddbmm(random(5), random(2, 3, 4), random(2, 4, 5).float()),
    "baddbmm of a bias in 32 bits": lambda: torch.baddbmm(
        random(5).float(), random(2, 3, 4), random(2, 4, 5)
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_torch_refuses_is_refused(case: str) -> None:
    with pytest.raises((RuntimeError, IndexError)):
        REFUSED[case]()
