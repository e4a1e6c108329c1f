"""What this process can do: packages, quantizers, attention, kernels, precisions, W&B. Nothing else checks these.

Each check computes something with tiny tensors where it can: a package that is installed but fails is no capability.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
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
BF16_CAPABILITY = (8, 0)  # compute capability of Ampere: before it torch only emulates bf16
WANDB_OFFLINE = ("offline", "dryrun")  # values of WANDB_MODE; the second is W&B's former name for it


@dataclass(frozen=True)
class Capability:
    """One thing that a machine can or can't do. ``detail`` describes it, or says what to do about it.

    ``needed``: Paretune does not work without it; everything else is optional.
    """

    name: str
    works: bool
    detail: str
    needed: bool = True


def python() -> Capability:
    """Whether this Python is new enough."""
    version = ".".join(map(str, sys.version_info[:3]))
    oldest = ".".join(map(str, OLDEST_PYTHON))
    works = sys.version_info >= OLDEST_PYTHON
    return Capability("python", works, version if works else f"{version}; install Python {oldest} or later")


def paretune() -> Capability:
    """Paretune's version and a hash of its files: a checkout may contain any code."""
    try:
        version = importlib.metadata.version("paretune")
    except importlib.metadata.PackageNotFoundError:
        version = "checkout, not installed"
    return Capability("paretune", True, f"{version}, code {provenance.code_hash()}")


def packages() -> list[Capability]:
    """Every package that Paretune depends on, compared with the versions it was tested with."""
    return [_package(requirement) for requirement in requirements()]


def requirements() -> list[Requirement]:
    """Paretune's dependencies: of the installed package, or of pyproject.toml in a checkout."""
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires("paretune") or []
    except importlib.metadata.PackageNotFoundError:
        project = Path(__file__).parents[2] / "pyproject.toml"
        lines = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    parsed = [Requirement(line) for line in lines]
    # Packages of extras have a marker that names their extra, which an empty name doesn't match.
    return [r for r in parsed if r.marker is None or r.marker.evaluate({"extra": ""})]


def _package(requirement: Requirement) -> Capability:
    name = requirement.name
    install = f"pip install '{str(requirement).partition(';')[0].strip()}'"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Capability(name, False, f"not installed: {install}")
    if not requirement.specifier.contains(version, prereleases=True):
        return Capability(name, False, f"{version} is not {requirement.specifier}: {install}")
    return Capability(name, True, version)


@lru_cache
def check_capability(name: str) -> Capability:
    """A capability that a config may require by name; checked once per process.

    >>> check_capability("liger").works  # on a machine without a GPU
    False
    """
    return CHECKS[name]()


def quantizers() -> list[Capability]:
    """The quantizers, each tested by the forward and backward pass of one small layer."""
    return [check_capability(name) for name in ("bitsandbytes 4-bit", "bitsandbytes 8-bit", "hqq", "eetq")]


def _bitsandbytes(bits: int) -> Capability:
    return _try_layer(f"bitsandbytes {bits}-bit", _linear_4bit if bits == 4 else _linear_8bit)


def _linear_4bit() -> Any:
    import bitsandbytes

    layer = bitsandbytes.nn.Linear4bit(64, 64, bias=False, compute_dtype=half_dtype(), quant_type="nf4")
    # This CPU kernel is for inference and has no backward pass; trials switch it off, too.
    layer.support_avx512bf16_for_cpu = False
    return layer


def _linear_8bit() -> Any:
    import bitsandbytes

    return bitsandbytes.nn.Linear8bitLt(64, 64, bias=False, has_fp16_weights=False)


def half_dtype() -> Any:
    """The 16-bit type that this machine computes in: bf16, and fp16 on GPUs without it."""
    import torch

    old = torch.cuda.is_available() and torch.cuda.get_device_capability() < BF16_CAPABILITY
    return torch.float16 if old else torch.bfloat16


def _hqq() -> Capability:
    missing = _missing_requirements("hqq", packages={"hqq": "'paretune[hqq]'"}, gpu=False)
    return missing or _try_layer("hqq", _linear_hqq, needed=False)


def _cmaes() -> Capability:
    missing = _missing_requirements("cmaes", packages={"cmaes": "'paretune[cmaes]'"}, gpu=False)
    return missing or Capability("cmaes", True, importlib.metadata.version("cmaes"), False)


def optimizers() -> list[Capability]:
    """The optimizers that need a package of their own."""
    return [check_capability("schedulefree"), check_capability("torch-optimi")]


def _optimizer_package(name: str, module: str) -> Capability:
    missing = _missing_requirements(name, packages={module: "'paretune[optimizers]'"}, gpu=False)
    return missing or Capability(name, True, importlib.metadata.version(name), False)


def _lm_eval() -> Capability:
    missing = _missing_requirements("lm_eval", packages={"lm_eval": "'paretune[harness]'"}, gpu=False)
    return missing or Capability("lm-eval", True, importlib.metadata.version("lm-eval"), False)


def _linear_hqq() -> Any:
    import torch
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = BaseQuantizeConfig(nbits=8, group_size=64, axis=1)
    plain = torch.nn.Linear(64, 64, bias=False)
    layer = HQQLinear(plain, config, del_orig=False, compute_dtype=half_dtype(), device=device)
    layer.weight = plain.weight  # what _relative_error compares with
    return layer


def _eetq() -> Capability:
    missing = _missing_requirements("eetq", packages={"eetq": "eetq", "kernels": "kernels"})
    if missing:
        return missing
    from transformers import EetqConfig

    return _try_model("eetq", {"quantization_config": EetqConfig("int8")})


def _try_model(name: str, options: dict[str, Any]) -> Capability:
    """Whether a model with one small layer can be loaded with these options and gives finite logits."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    small = LlamaConfig(
        vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2
    )
    try:
        # The check may run within a trial, whose random numbers it must not change.
        with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
            LlamaForCausalLM(small).half().save_pretrained(folder)
            model = AutoModelForCausalLM.from_pretrained(folder, device_map={"": device}, **options)
            with torch.no_grad():
                logits = model(torch.arange(8, device=device)[None]).logits
    except Exception as failure:  # a wrong build, a missing kernel: each fails in its own way
        return _failed(name, failure)
    if not torch.isfinite(logits).all():
        return Capability(name, False, f"its logits are not finite numbers; reinstall {name}", needed=False)
    return Capability(name, True, "loads and runs a small model", needed=False)


def _try_layer(name: str, make: Callable[[], Any], needed: bool = True) -> Capability:
    # Libraries fail in ways of their own (a missing kernel, an old driver): each is a result, not an error.
    try:
        error = _relative_error(make)
    except Exception as failure:
        return _failed(name, failure, needed)
    library = name.split()[0]
    if not math.isfinite(error):
        return Capability(name, False, f"its results are not finite numbers; reinstall {library}", needed)
    if error > 0.25:
        return Capability(name, False, f"wrong results, off by {error:.0%}; reinstall {library}", needed)
    return Capability(
        name, True, f"forward and backward pass within {error:.1%} of the unquantized layer", needed
    )


def _failed(name: str, failure: Exception, needed: bool = False) -> Capability:
    """A capability that failed with an exception, whose first line is the detail."""
    first_line = (str(failure).splitlines() or [""])[0]
    return Capability(name, False, f"fails: {type(failure).__name__}: {first_line}", needed)


def _relative_error(make: Callable[[], Any]) -> float:
    """The larger of the errors of x W' and of its gradient, relative to the results of the unquantized weight W.

    Infinite where a result is not finite.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = make()
        plain = layer.weight.detach().float().clone().to(device)
        x = torch.randn(16, 64).to(device, half_dtype()).requires_grad_()
    output = layer.to(device)(x)
    output.float().sum().backward()
    assert x.grad is not None
    # The output (16, 64) and the gradient (16, 64) of its sum, which is the sum of W's rows for each row of x.
    exact = (x.detach().float() @ plain.T, plain.sum(0).expand(16, 64))
    actual = (output.detach().float(), x.grad.float())
    errors = [float((a - e).norm() / e.norm()) for a, e in zip(actual, exact, strict=True)]
    return max(errors) if all(map(math.isfinite, errors)) else math.inf


def _missing_requirements(name: str, packages: dict[str, str], gpu: bool = True) -> Capability | None:
    """Names the missing packages (module -> what to install) and NVIDIA GPU; ``None`` if nothing is missing."""
    install = [package for module, package in packages.items() if find_spec(module) is None]
    missing = [f"`pip install {' '.join(install)}`"] if install else []
    missing += ["an NVIDIA GPU"] if gpu and not _has_gpu() else []
    return Capability(name, False, f"needs {' and '.join(missing)}", needed=False) if missing else None


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def attention() -> list[Capability]:
    """The attention implementations that a model can be loaded with."""
    return [check_capability(name) for name in ("eager", "sdpa", "flash_attention_2", "flash_attention_3")]


def _flash_attention_2() -> Capability:
    missing = _missing_requirements(
        "flash_attention_2", packages={"flash_attn": "flash-attn --no-build-isolation"}
    )
    return missing or _try_flash_attention("flash_attention_2", "flash_attn")


def _flash_attention_3() -> Capability:
    missing = _missing_requirements("flash_attention_3", packages={"flash_attn_interface": "flash-attn-3"})
    return missing or _try_flash_attention("flash_attention_3", "flash_attn_interface")


def _try_flash_attention(name: str, module: str) -> Capability:
    """Whether the function of a flash attention package runs on this GPU, forward and backward."""
    import torch

    try:
        function = importlib.import_module(module).flash_attn_func
        q = torch.randn(1, 16, 2, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        output = function(q, q, q, causal=True)
        (output[0] if isinstance(output, tuple) else output).float().sum().backward()
    except Exception as failure:  # a wrong build, an old GPU: each fails in its own way
        return _failed(name, failure)
    return Capability(name, True, "forward and backward pass of a small attention run", needed=False)


def kernels() -> list[Capability]:
    """Fused kernels, and the compiler of ``train.compile``."""
    return [check_capability(name) for name in ("liger", "unsloth", "compiler")]


def _liger() -> Capability:
    # Without triton or a GPU, Liger can be loaded, and fails only in training.
    missing = _missing_requirements("liger", packages={"liger_kernel": "liger-kernel", "triton": "triton"})
    if missing:
        return missing
    import torch

    try:
        from liger_kernel.transformers import LigerRMSNorm

        layer = LigerRMSNorm(64).to("cuda")
        layer(torch.randn(4, 64, device="cuda", requires_grad=True)).sum().backward()
    except Exception as failure:
        return _failed("liger", failure)
    return Capability("liger", True, "forward and backward pass of a small layer run", needed=False)


def _unsloth() -> Capability:
    missing = _missing_requirements("unsloth", packages={"unsloth": "unsloth"})
    # Importing it would patch transformers in this process for good.
    detail = "installed, and there is a GPU; it is tested only in training"
    return missing or Capability("unsloth", True, detail, needed=False)


def _compiler() -> Capability:
    """Whether torch can compile: on a CPU that takes a C++ compiler, on a GPU triton and a C compiler."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"

    def small(x: Any) -> Any:
        return torch.nn.functional.silu(x) * 2

    try:
        x = torch.linspace(-1, 1, 64, device=device, requires_grad=True)
        output = torch.compile(small)(x)
        output.sum().backward()
        works = torch.allclose(output, small(x), atol=1e-5)
    except Exception as failure:  # no compiler, a header that is missing, an old driver
        return _failed("compiler", failure)
    detail = "forward and backward pass of a small function run" if works else "its results are wrong"
    return Capability("compiler", works, detail, needed=False)


def samplers() -> list[Capability]:
    """The samplers that need a package of their own."""
    return [check_capability("cmaes")]


def precisions() -> list[Capability]:
    """The 16-bit types for training, each tested by the forward and backward pass of one small product."""
    return [check_capability("bf16"), check_capability("fp16")]


def _precision(name: str, needed: bool) -> Capability:
    import torch

    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[name]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "fp16" and device == "cpu":
        return Capability(
            name, False, "needs a GPU, for the scaling of its gradients; use precision: bf16", needed
        )
    if name == "bf16" and device == "cuda" and torch.cuda.get_device_capability() < BF16_CAPABILITY:
        major, minor = torch.cuda.get_device_capability()
        detail = f"this GPU (compute capability {major}.{minor}) has no bf16; use precision: fp16"
        return Capability(name, False, detail, needed=False)
    weight = torch.ones(8, 8, device=device, requires_grad=True)
    try:
        with torch.autocast(device, dtype=dtype):
            product = weight @ weight
        product.float().sum().backward()
    except RuntimeError as error:
        return Capability(
            name, False, f"torch does not support it on this machine: {error}; use precision: fp32", needed
        )
    works = product.dtype == dtype
    return Capability(name, works, f"on {device}" if works else "torch falls back to fp32", needed)


def wandb() -> Capability:
    """Whether W&B can record runs, and whether online; from files and the environment, without network or prompts."""
    if find_spec("wandb") is None:
        return Capability(
            "wandb", False, "not installed: pip install wandb, or set tracking: {wandb: off}", False
        )
    mode = os.environ.get("WANDB_MODE")
    if mode in WANDB_OFFLINE or mode == "disabled":
        return Capability("wandb", True, f"{mode}, as WANDB_MODE is set", needed=False)
    if wandb_key() is None:
        return Capability(
            "wandb",
            True,
            "no API key, so runs stay offline; `wandb login` to record them online",
            needed=False,
        )
    return Capability(
        "wandb", True, "API key found: runs are online if the server can be reached, else offline", False
    )


CHECKS: dict[str, Callable[[], Capability]] = {
    "bitsandbytes 4-bit": lambda: _bitsandbytes(4),
    "bitsandbytes 8-bit": lambda: _bitsandbytes(8),
    "hqq": _hqq,
    "eetq": _eetq,
    "eager": lambda: _try_model("eager", {"attn_implementation": "eager"}),
    "sdpa": lambda: _try_model("sdpa", {"attn_implementation": "sdpa"}),
    "flash_attention_2": _flash_attention_2,
    "flash_attention_3": _flash_attention_3,
    "liger": _liger,
    "unsloth": _unsloth,
    "compiler": _compiler,
    "bf16": lambda: _precision("bf16", needed=True),
    "fp16": lambda: _precision("fp16", needed=False),
    "lm-eval": _lm_eval,
    "cmaes": _cmaes,
    "schedulefree": lambda: _optimizer_package("schedulefree", "schedulefree"),
    "torch-optimi": lambda: _optimizer_package("torch-optimi", "optimi"),
}


def wandb_key() -> str | None:
    """The W&B API key in the environment or in netrc, where wandb looks for it; never prompts for one."""
    if key := os.environ.get("WANDB_API_KEY"):
        return key
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    netrc_path = os.environ.get("NETRC")
    for path in [Path(netrc_path)] if netrc_path else [Path("~/.netrc"), Path("~/_netrc")]:
        try:
            login = netrc.netrc(path.expanduser()).authenticators(host)
        except (OSError, netrc.NetrcParseError):
            continue
        if login is not None:
            return login[2]
    return None
