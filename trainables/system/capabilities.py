"""What this process can do: packages, quantizers, attention, kernels, precisions, W&B; asked nowhere else.

What can be tried is tried, with tiny tensors; a package that is there but doesn't work is not a capability.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import netrc
import os
import sys
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from trainables.system import provenance

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


def paretune() -> Capability:
    """Which Paretune this is: its version, and a hash of its files, for a checkout may be any."""
    try:
        version = importlib.metadata.version("paretune")
    except importlib.metadata.PackageNotFoundError:
        version = "not installed, a checkout"
    return Capability("paretune", True, f"{version}, code {provenance.code()}")


def packages() -> list[Capability]:
    """Every package that Paretune depends on, against the versions it was tried with."""
    return [_package(requirement) for requirement in requirements()]


def requirements() -> list[Requirement]:
    """Paretune's dependencies as installed, or as pyproject.toml has them in a checkout."""
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires("paretune") or []
    except importlib.metadata.PackageNotFoundError:
        project = Path(__file__).parents[2] / "pyproject.toml"
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


@lru_cache
def check(name: str) -> Capability:
    """One thing that a config may ask for by name, looked at once in a process.

    >>> check("liger").works  # on a machine without a GPU
    False
    """
    return CHECKS[name]()


def quantizers() -> list[Capability]:
    """Every quantizer that can be tried here, by one small product forwards and backwards."""
    return [check(name) for name in ("bitsandbytes 4-bit", "bitsandbytes 8-bit", "hqq", "eetq")]


def _bitsandbytes(bits: int) -> Capability:
    return _tried(f"bitsandbytes {bits}-bit", _linear_4bit if bits == 4 else _linear_8bit)


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


def _hqq() -> Capability:
    missing = _missing("hqq", packages={"hqq": "'paretune[hqq]'"}, gpu=False)
    return missing or _tried("hqq", _linear_hqq, needed=False)


def _harness() -> Capability:
    missing = _missing("lm_eval", packages={"lm_eval": "'paretune[harness]'"}, gpu=False)
    return missing or Capability("lm-eval", True, importlib.metadata.version("lm-eval"), False)


def _linear_hqq() -> Any:
    import torch
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

    where = "cuda" if torch.cuda.is_available() else "cpu"
    plan = BaseQuantizeConfig(nbits=8, group_size=64, axis=1)
    plain = torch.nn.Linear(64, 64, bias=False)
    layer = HQQLinear(plain, plan, del_orig=False, compute_dtype=torch.bfloat16, device=where)
    layer.weight = plain.weight  # to compare with
    return layer


def _eetq() -> Capability:
    missing = _missing("eetq", packages={"eetq": "eetq", "kernels": "kernels"})
    if missing:
        return missing
    from transformers import EetqConfig

    return _loaded("eetq", {"quantization_config": EetqConfig("int8")})


def _loaded(name: str, options: dict[str, Any]) -> Capability:
    """Whether a model of one small layer can be loaded with these options, and answers."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    where = "cuda" if torch.cuda.is_available() else "cpu"
    small = LlamaConfig(
        vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2
    )
    try:
        with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
            LlamaForCausalLM(small).half().save_pretrained(folder)
            model = AutoModelForCausalLM.from_pretrained(folder, device_map={"": where}, **options)
            with torch.no_grad():
                logits = model(torch.arange(8, device=where)[None]).logits
    except Exception as failure:  # a wrong build, a missing kernel: each fails in its own way
        return _failed(name, failure)
    if not torch.isfinite(logits).all():
        return Capability(name, False, f"gives numbers that are none; reinstall {name}", needed=False)
    return Capability(name, True, "a small model loads with it and answers", needed=False)


def _tried(name: str, make: Callable[[], Any], needed: bool = True) -> Capability:
    # A library that fails here does so in ways of its own (a missing kernel, a driver): that is the finding.
    try:
        error = _relative_error(make)
    except Exception as failure:
        return _failed(name, failure, needed)
    if error > 0.25:
        library = name.split()[0]
        return Capability(name, False, f"computes wrongly, off by {error:.0%}; reinstall {library}", needed)
    return Capability(name, True, f"a product and its gradient are within {error:.1%}", needed)


def _failed(name: str, failure: Exception, needed: bool = False) -> Capability:
    """What a trial's exception says, in a line."""
    first_line = (str(failure).splitlines() or [""])[0]
    return Capability(name, False, f"fails: {type(failure).__name__}: {first_line}", needed)


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


def _missing(name: str, packages: dict[str, str], gpu: bool = True) -> Capability | None:
    """What ``name`` lacks: packages (module: what to install) or an NVIDIA GPU; ``None`` if nothing."""
    import torch

    wanted = [install for module, install in packages.items() if find_spec(module) is None]
    lacks = [f"`pip install {' '.join(wanted)}`"] if wanted else []
    lacks += ["an NVIDIA GPU"] if gpu and not torch.cuda.is_available() else []
    return Capability(name, False, f"needs {' and '.join(lacks)}", needed=False) if lacks else None


def attention() -> list[Capability]:
    """The attention implementations a model can be loaded with."""
    return [check(name) for name in ("eager", "sdpa", "flash_attention_2", "flash_attention_3")]


def _flash_attention_2() -> Capability:
    missing = _missing("flash_attention_2", packages={"flash_attn": "flash-attn --no-build-isolation"})
    return missing or _attends("flash_attention_2", "flash_attn")


def _flash_attention_3() -> Capability:
    missing = _missing("flash_attention_3", packages={"flash_attn_interface": "flash-attn-3"})
    return missing or _attends("flash_attention_3", "flash_attn_interface")


def _attends(name: str, module: str) -> Capability:
    """Whether a flash attention's own function runs, forwards and backwards, on this GPU."""
    import torch

    try:
        function = importlib.import_module(module).flash_attn_func
        q = torch.randn(1, 16, 2, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        found = function(q, q, q, causal=True)
        (found[0] if isinstance(found, tuple) else found).float().sum().backward()
    except Exception as failure:  # a wrong build, an old GPU: each fails in its own way
        return _failed(name, failure)
    return Capability(name, True, "a small attention runs, forwards and backwards", needed=False)


def kernels() -> list[Capability]:
    """Fused kernels."""
    return [check(name) for name in ("liger", "unsloth")]


def _liger() -> Capability:
    # Without triton or a GPU, Liger starts and fails only in training.
    missing = _missing("liger", packages={"liger_kernel": "liger-kernel", "triton": "triton"})
    return missing or _normalizes()


def _normalizes() -> Capability:
    import torch

    try:
        from liger_kernel.transformers import LigerRMSNorm

        layer = LigerRMSNorm(64).to("cuda")
        layer(torch.randn(4, 64, device="cuda", requires_grad=True)).sum().backward()
    except Exception as failure:
        return _failed("liger", failure)
    return Capability("liger", True, "a small layer runs, forwards and backwards", needed=False)


def _unsloth() -> Capability:
    missing = _missing("unsloth", packages={"unsloth": "unsloth"})
    # Importing it changes transformers in this process, for good.
    there = "the package and a GPU are there; it is tried only in training"
    return missing or Capability("unsloth", True, there, needed=False)


def precisions() -> list[Capability]:
    """The 16-bit types that training can compute in, each by one small product forwards and backwards."""
    return [check("bf16"), check("fp16")]


def _precision(name: str, needed: bool) -> Capability:
    import torch

    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[name]
    where = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "fp16" and where == "cpu":
        return Capability(
            name, False, "needs a GPU: its gradients are scaled there; use precision: bf16", needed
        )
    if name == "bf16" and where == "cuda" and torch.cuda.get_device_capability() < (8, 0):
        major, minor = torch.cuda.get_device_capability()
        what = f"this GPU (compute capability {major}.{minor}) has no bf16; use precision: fp16"
        return Capability(name, False, what, needed=False)
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


CHECKS: dict[str, Callable[[], Capability]] = {
    "bitsandbytes 4-bit": lambda: _bitsandbytes(4),
    "bitsandbytes 8-bit": lambda: _bitsandbytes(8),
    "hqq": _hqq,
    "eetq": _eetq,
    "eager": lambda: _loaded("eager", {"attn_implementation": "eager"}),
    "sdpa": lambda: _loaded("sdpa", {"attn_implementation": "sdpa"}),
    "flash_attention_2": _flash_attention_2,
    "flash_attention_3": _flash_attention_3,
    "liger": _liger,
    "unsloth": _unsloth,
    "bf16": lambda: _precision("bf16", needed=True),
    "fp16": lambda: _precision("fp16", needed=False),
    "lm-eval": _harness,
}


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
