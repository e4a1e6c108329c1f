"""Matrix products of 16-bit tensors on CPUs that have no instructions for them: computed in 32 bits, and rounded.

torch has no fast code for these there (torch 2.13, AVX2: 1 to 10 GFLOP/s in bf16, and 70 in fp32). Sums are of 32 bits
either way, so that the results are the same up to the rounding of the sum.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch
from torch import Tensor

# Numbers of an operand that are cast to 32 bits at a time: 4 MiB, which a processor's cache holds.
PIECE = 2**20
LONG_SUM = 8192  # products that are summed up to one number; more of them in pieces
HALVES = (torch.bfloat16, torch.float16)


@functools.cache
def use_fast_products() -> None:
    """Has this process compute such products in 32 bits, where the CPU has none of its own.

    Products that are written to memory which is given (``out=``), as compiled code has them, stay torch's own.
    """
    if not any(map(multiplies_in_32_bits, HALVES)):
        return
    products = {"mm": _mm, "bmm": _bmm, "addmm": _addmm, "addmm_": _addmm_, "baddbmm": _baddbmm}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, that its kernels are replaced
        for name, product in products.items():
            _replacements().impl(name, product, "CPU")


@functools.cache
def multiplies_in_32_bits(dtype: torch.dtype) -> bool:
    """Whether products of tensors of ``dtype`` are computed in 32 bits on this CPU, and rounded."""
    # oneDNN has them for bf16 from AVX-512 on, with or without its bf16 instructions.
    has_own = {
        torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported,
        torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported,
    }
    return dtype in has_own and not has_own[dtype]()


@functools.cache
def _replacements() -> Any:
    # The replacements last as long as this object.
    return torch.library.Library("aten", "IMPL")


def multiply(one: Tensor, other: Tensor, out: Tensor) -> Tensor:
    """The product (m, k) x (k, n) in 32 bits, written to ``out`` (m, n), which may be of another dtype."""
    if one.shape[1] > LONG_SUM:
        return out.copy_(_long_sum(one, other))
    # The larger operand goes in pieces along the side that isn't summed over.
    if other.numel() >= one.numel():
        rows, size = one.float(), _piece(other.shape[0])
        for start in range(0, other.shape[1], size):
            part = slice(start, start + size)
            out[:, part] = _product(rows, other[:, part].float())
    else:
        columns, size = other.float(), _piece(one.shape[1])
        for start in range(0, one.shape[0], size):
            part = slice(start, start + size)
            out[part] = _product(one[part].float(), columns)
    return out


def _piece(width: int) -> int:
    return max(1, PIECE // max(1, width))


def _long_sum(one: Tensor, other: Tensor) -> Tensor:
    """The product of operands that are cast piece by piece along the side that is summed over."""
    total = one.new_zeros(one.shape[0], other.shape[1], dtype=torch.float32)
    size = _piece(max(total.shape))
    for start in range(0, one.shape[1], size):
        part = slice(start, start + size)
        total.addmm_(one[:, part].float(), other[part].float())
    return total


def _product(one: Tensor, other: Tensor) -> Tensor:
    """torch's own product; the ``mm`` without ``out`` may be the replacement below."""
    return torch.mm(one, other, out=one.new_empty(0))


# The replacements


def _is_replaced(one: Tensor, other: Tensor, *added: Tensor, dimensions: int = 2) -> bool:
    """Whether a product is computed here. What torch refuses, as other shapes or dtypes, goes to torch."""
    return (
        multiplies_in_32_bits(one.dtype)
        and all(tensor.dtype == one.dtype for tensor in (other, *added))
        and one.dim() == other.dim() == dimensions
        and one.shape[:-2] == other.shape[:-2]
        and one.shape[-1] == other.shape[-2]
    )


def _mm(one: Tensor, other: Tensor) -> Tensor:
    # Of one row by a matrix that lies transposed, torch's own is as fast: each weight is read once.
    if not _is_replaced(one, other) or (one.shape[0] == 1 and other.stride(0) == 1):
        return _product(one, other)
    return multiply(one, other, one.new_empty(one.shape[0], other.shape[1]))


def _addmm(bias: Tensor, one: Tensor, other: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    if not _is_replaced(one, other, bias):
        return torch.addmm(bias, one, other, beta=beta, alpha=alpha, out=one.new_empty(0))
    product = multiply(one, other, one.new_empty(one.shape[0], other.shape[1], dtype=torch.float32))
    return _added(bias, product, beta, alpha).to(one.dtype)


def _addmm_(bias: Tensor, one: Tensor, other: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    product_shape = (*one.shape[:1], *other.shape[1:])
    if bias.shape != product_shape:  # which torch's own below would take, and give the bias the other shape
        raise RuntimeError(f"a product of shape {product_shape} is added in place to {tuple(bias.shape)}")
    if not _is_replaced(one, other, bias):
        return torch.addmm(bias, one, other, beta=beta, alpha=alpha, out=bias)
    product = multiply(one, other, one.new_empty(one.shape[0], other.shape[1], dtype=torch.float32))
    return bias.copy_(_added(bias, product, beta, alpha)) if beta != 1 else bias.add_(product, alpha=alpha)


def _bmm(one: Tensor, other: Tensor) -> Tensor:
    if not _is_replaced(one, other, dimensions=3):
        return torch.bmm(one, other, out=one.new_empty(0))
    out = one.new_empty(one.shape[0], one.shape[1], other.shape[2])
    size = max(1, PIECE // max(1, one[0].numel(), other[0].numel(), out[0].numel())) if len(one) else 1
    for start in range(0, len(one), size):
        part = slice(start, start + size)
        in_32_bits = out.new_empty(out[part].shape, dtype=torch.float32)
        out[part] = torch.bmm(one[part].float(), other[part].float(), out=in_32_bits)
    return out


def _baddbmm(bias: Tensor, one: Tensor, other: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    if not _is_replaced(one, other, bias, dimensions=3):
        return torch.baddbmm(bias, one, other, beta=beta, alpha=alpha, out=one.new_empty(0))
    in_32_bits = one.new_empty(one.shape[0], one.shape[1], other.shape[2], dtype=torch.float32)
    product = torch.bmm(one.float(), other.float(), out=in_32_bits)
    return _added(bias, product, beta, alpha).to(one.dtype)


def _added(bias: Tensor, product: Tensor, beta: Any, alpha: Any) -> Tensor:
    """``alpha`` x product + ``beta`` x bias, in the memory of the product; a ``beta`` of 0 leaves the bias unread."""
    if alpha != 1:
        product *= alpha
    return product.add_(bias, alpha=beta) if beta else product
