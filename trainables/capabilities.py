"""What this process can do: packages, quantizers, attention, kernels, precisions, W&B; asked nowhere else.

What can be tried is tried, with tiny tensors; a package that is there but doesn't work is not a capability.
"""

from __future__ import annotations

import importlib.metadata
import netrc
import os
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Capability:
    """One thing a machine can or can't do. ``detail`` says what was found, or what to do about it.

    ``needed``: Paretune can't do its work without it; the rest is optional.
    """

    name: str
    works: bool
    detail: str
    needed: bool = True


def python() -> Capability:
    """Whether this Python is new enough."""
    found = ".".join(map(str, sys.version_info[:3]))
    wanted = ".".join(map(str, OLDEST_PYTHON))
    works = sys.version_info >= OLDEST_PYTHON
    return Capability("python", works, found if works else f"{found}; install Python {wanted} or later")


def packages() -> list[Capability]:
    """Every package that Paretune depends on, against the versions it was tried with."""
    return [_package(requirement) for requirement in requirements()]


def requirements() -> list[Requirement]:
    """Paretune's dependencies as installed, or as pyproject.toml has them in a checkout."""
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires("paretune") or []
    except importlib.metadata.PackageNotFoundError:
        project = Path(__file__).parents[1] / "pyproject.toml"
        lines = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    found = [Requirement(line) for line in lines]
    return [r for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]


def _package(requirement: Requirement) -> Capability:
    name = requirement.name
    wanted = str(requirement).partition(";")[0].strip()
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Capability(name, False, f"not installed: pip install '{wanted}'")
    if not requirement.specifier.contains(found, prereleases=True):
        return Capability(name, False, f"{found} is not {requirement.specifier}: pip install '{wanted}'")
    return Capability(name, True, found)


def quantizers() -> list[Capability]:
    """bitsandbytes in 4 and 8 bits, each by one small product forwards and backwards."""
    return [_tried("bitsandbytes 4-bit", _linear_4bit), _tried("bitsandbytes 8-bit", _linear_8bit)]


def _linear_4bit() -> Any:
    import bitsandbytes
    import torch

    layer = bitsandbytes.nn.Linear4bit(64, 64, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4")
    # The CPU kernel for inference has no backward pass; a trial switches it off as well.
    layer.support_avx512bf16_for_cpu = False
    return layer


def _linear_8bit() -> Any:
    import bitsandbytes

    return bitsandbytes.nn.Linear8bitLt(64, 64, bias=False, has_fp16_weights=False)


def _tried(name: str, make: Callable[[], Any], needed: bool = True) -> Capability:
    # A library that fails here does so in ways of its own (a missing kernel, a driver): that is the finding.
    try:
        error = _relative_error(make)
    except Exception as failure:
        first_line = (str(failure).splitlines() or [""])[0]
        return Capability(name, False, f"fails: {type(failure).__name__}: {first_line}", needed)
    if error > 0.25:
        return Capability(
            name, False, f"computes wrongly, off by {error:.0%}; reinstall bitsandbytes", needed
        )
    return Capability(name, True, f"a product and its gradient are within {error:.1%}", needed)


def _relative_error(make: Callable[[], Any]) -> float:
    """The largest of the errors of x W' and its gradient, relative to those of the plain weight W."""
    import torch

    torch_device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = make()
        plain = layer.weight.detach().float().clone().to(torch_device)
        x = torch.randn(16, 64).to(torch_device, torch.bfloat16).requires_grad_()
    output = layer.to(torch_device)(x)
    output.float().sum().backward()
    assert x.grad is not None
    wanted = (x.detach().float() @ plain.T, plain.sum(0).expand(16, 64))
    found = (output.detach().float(), x.grad.float())
    return max(float((f - w).norm() / w.norm()) for f, w in zip(found, wanted, strict=True))


def attention() -> list[Capability]:
    """The attention implementations a model can be loaded with."""
    from transformers.utils import is_flash_attn_2_available

    flash = bool(is_flash_attn_2_available())
    detail = "available" if flash else "needs an NVIDIA GPU and `pip install flash-attn`; sdpa is used"
    return [
        Capability("sdpa", True, "part of torch"),
        Capability("flash_attention_2", flash, detail, needed=False),
    ]


def kernels() -> list[Capability]:
    """Fused kernels. Without triton or a GPU, Liger starts and fails only in training: both are asked for."""
    import torch
    from transformers.utils import is_liger_kernel_available

    missing = [
        what
        for what, there in (
            ("`pip install liger-kernel`", is_liger_kernel_available()),
            ("triton", find_spec("triton") is not None),
            ("a GPU", torch.cuda.is_available()),
        )
        if not there
    ]
    detail = f"needs {', '.join(missing)}" if missing else "available"
    return [Capability("liger", not missing, detail, needed=False)]


def precisions() -> list[Capability]:
    """The 16-bit types that training can compute in, each by one small product forwards and backwards."""
    return [_precision("bf16", needed=True), _precision("fp16", needed=False)]


def _precision(name: str, needed: bool) -> Capability:
    import torch

    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[name]
    where = "cuda" if torch.cuda.is_available() else "cpu"
    weight = torch.ones(8, 8, device=where, requires_grad=True)
    try:
        with torch.autocast(where, dtype=dtype):
            product = weight @ weight
        product.float().sum().backward()
    except RuntimeError as error:
        return Capability(name, False, f"torch can't on this machine: {error}; use precision: fp32", needed)
    works = product.dtype == dtype
    return Capability(name, works, f"on {where}" if works else "torch falls back to fp32", needed)


def wandb() -> Capability:
    """Whether W&B can record, and where to; from files and the environment, without network or questions."""
    if find_spec("wandb") is None:
        return Capability(
            "wandb", False, "not installed: pip install wandb, or tracking: {wandb: off}", False
        )
    mode = os.environ.get("WANDB_MODE")
    if mode in ("offline", "disabled"):
        return Capability("wandb", True, f"{mode}, as WANDB_MODE says", needed=False)
    if wandb_key() is None:
        return Capability(
            "wandb", True, "no key, so runs stay offline; `wandb login` for online", needed=False
        )
    return Capability("wandb", True, "there is a key: online where the server answers, else offline", False)


def wandb_key() -> str | None:
    """The W&B key from the environment or from netrc, as wandb looks for it, but without ever asking."""
    if key := os.environ.get("WANDB_API_KEY"):
        return key
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    named = os.environ.get("NETRC")
    for path in [Path(named)] if named else [Path("~/.netrc"), Path("~/_netrc")]:
        try:
            found = netrc.netrc(path.expanduser()).authenticators(host)
        except (OSError, netrc.NetrcParseError):
            continue
        if found is not None:
            return found[2]
    return None
