"""The machine that this process runs on: processor, memory, GPUs, and the folders for models and runs."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from trainables.storage.home import home
from trainables.system import container_limits
from trainables.system.byte_sizes import GIB, gib
from trainables.system.capabilities import Capability

# CPU features for bfloat16 arithmetic.
FAST_BF16 = ("avx512_bf16", "amx_bf16", "bf16")
# Those with which torch has products of bfloat16 without features for it.
CONVERTED_BF16 = {"avx512bw", "avx512vl", "avx512dq"}
# CPU features by which torch chooses its kernels: of x86, then of ARM.
FEATURES = (
    "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "sve", "bf16", "i8mm",
)  # fmt: skip
MIN_FREE_BYTES = 2 * GIB  # enough for a small base model, its download and a run
DRIVER_SECONDS = 5.0  # nvidia-smi hangs if the driver has a problem
RUNS = Path("runs")
DEVICES = Path("/dev")
# Files in it: NVIDIA's, AMD's, those of Windows' subsystem for Linux.
NVIDIA_DEVICES = "nvidia[0-9]*"
GPU_DEVICES = (NVIDIA_DEVICES, "kfd", "dxg")


def examine(output: Path = RUNS) -> list[Capability]:
    """Everything that the doctor shows of a machine; ``output`` is the folder for runs."""
    hardware = [processor(), cpu_features(), memory(), *gpus(), *nvidia_driver()]
    return [*hardware, peak_memory(), cache_folder(), run_folder(output)]


def processor() -> Capability:
    """The number of cores for this process, the processor's name, and how it computes products of bfloat16."""
    return Capability(
        "processor", True, f"{cpu_cores()} cores, {_cpu_name()}, {_bf16_products()}", needed=False
    )


def _bf16_products() -> str:
    flags = _cpu_flags()
    if fast := [feature for feature in FAST_BF16 if feature in flags]:
        return f"bfloat16 in hardware ({', '.join(fast)})"
    if flags >= CONVERTED_BF16:
        return "no bfloat16 in hardware: torch converts it to 32 bits, by AVX-512"
    return "no bfloat16 in hardware: Paretune computes products of it in 32 bits"


def multiplies_bf16_in_32_bits() -> bool | None:
    """``models.cpu_products.multiplies_in_32_bits`` of bfloat16, without torch; ``None`` if the system doesn't say."""
    flags = _cpu_flags()
    return not (flags & {*FAST_BF16} or flags >= CONVERTED_BF16) if flags else None


def cpu_features() -> Capability:
    """The features of the processor that speed up training."""
    features = [feature for feature in FEATURES if feature in _cpu_flags()]
    detail = ", ".join(features) or "none of those that torch's kernels use"
    return Capability("CPU features", True, detail, needed=False)


def cpu_cores() -> int:
    """The number of processor cores that this process may run on, by its affinity and its container's limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = container_limits.cpu_limit()
    return cores if limit is None else max(1, min(cores, int(limit)))


def available_memory_bytes() -> int:
    """The bytes of memory available without swapping, by the system and the limit of this process's container.

    0 if the system does not report them.
    """
    free, limit = _memory_bytes("MemAvailable") or 0, container_limits.free_memory_bytes()
    return free if limit is None else min(free, limit)


def total_memory_bytes() -> int:
    """The bytes of memory of this machine; 0 if the system does not report them."""
    return _memory_bytes("MemTotal") or 0


def usable_memory_bytes() -> int:
    """The bytes of memory of this machine, or the limit of this process's container, whatever is free of them now.

    0 if the system does not report them.
    """
    limit = container_limits.memory_limit_bytes()
    return total_memory_bytes() if limit is None else min(total_memory_bytes(), limit)


def memory() -> Capability:
    """The total and the free memory."""
    total, free = _memory_bytes("MemTotal"), _memory_bytes("MemAvailable")
    if total is None or free is None:
        return Capability("memory", True, "not reported by this system", needed=False)
    return Capability("memory", True, f"{free / GIB:.1f} of {gib(total, '.1f')} free", needed=False)


def gpus() -> list[Capability]:
    """One entry per GPU that torch can use; without any, one that says so."""
    import torch

    if not torch.cuda.is_available():
        return [Capability("GPU", False, "none that torch can use; training runs on the CPU", needed=False)]
    properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [
        Capability(
            f"GPU {index}",
            True,
            f"{gpu.name}, {gib(gpu.total_memory, '.1f')}, compute capability {gpu.major}.{gpu.minor}",
            needed=False,
        )
        for index, gpu in enumerate(properties)
    ]


def oom_kills() -> int:
    """How many processes the kernel has killed for lack of memory since it started; 0 if it does not report that."""
    match = re.search(r"^oom_kill (\d+)$", _proc("vmstat"), re.MULTILINE)
    return int(match[1]) if match else 0


def gpu_memory_bytes() -> list[int]:
    """The bytes of memory of each GPU that torch can use."""
    return [properties.total_memory for properties in _gpu_properties()]


def gpu_capabilities() -> list[tuple[int, int]]:
    """The compute capability of each GPU that torch can use."""
    return [(properties.major, properties.minor) for properties in _gpu_properties()]


def gpu_names() -> list[str]:
    """The name of each GPU that torch can use."""
    return [properties.name for properties in _gpu_properties()]


def _gpu_properties() -> list[Any]:
    """Those of each GPU that torch can use. Imports torch only where the system has a device of that kind."""
    if not any(any(DEVICES.glob(pattern)) for pattern in GPU_DEVICES):
        return []
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [torch.cuda.get_device_properties(index) for index in range(count)]


def nvidia_devices(folder: Path = DEVICES) -> list[Path]:
    """The device files of NVIDIA's GPUs, those too that torch can't use."""
    return list(folder.glob(NVIDIA_DEVICES))


def nvidia_driver() -> list[Capability]:
    """The version of NVIDIA's driver, and whether torch can use its GPUs; empty without a driver."""
    import torch

    name, listed = "NVIDIA driver", _nvidia_smi()
    if isinstance(listed, str):
        return [Capability(name, False, listed, needed=False)]
    if not listed:
        return []
    versions = ", ".join(sorted({version for _, version in listed}))
    if torch.cuda.is_available():
        return [Capability(name, True, versions, needed=False)]
    gpus = ", ".join(gpu for gpu, _ in listed)
    built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built without CUDA"
    advice = (
        f"torch {torch.__version__} {built} and can use none; install a torch that is built for this driver"
    )
    return [Capability(name, False, f"{versions} lists {gpus}, but {advice}", needed=False)]


def _nvidia_smi() -> list[tuple[str, str]] | str:
    """(GPU, driver version) for each GPU that nvidia-smi lists; a message if nvidia-smi fails."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DRIVER_SECONDS)
    except FileNotFoundError:
        return []
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi does not answer: {error}"
    if done.returncode:
        return f"nvidia-smi fails: {(done.stdout + done.stderr).strip() or done.returncode}"
    # From the right, since the name of a GPU may contain a comma.
    return [
        (gpu, version) for gpu, _, version in (line.rpartition(", ") for line in done.stdout.splitlines())
    ]


def peak_memory() -> Capability:
    """Whether the peak resident set size can be reset and read: without a GPU, memory is measured that way."""
    import torch

    name, needed = "peak memory on the CPU", not torch.cuda.is_available()
    try:
        # 5 resets VmHWM, the peak of the resident set.
        Path("/proc/self/clear_refs").write_text("5")
        match = re.search(r"VmHWM:\s+\d+ kB", Path("/proc/self/status").read_text())
    except OSError as error:
        detail = f"not measured: needs Linux and a writable /proc/self/clear_refs ({error.strerror})"
        return Capability(name, False, detail, needed)
    if match is None:
        return Capability(name, False, "not measured: /proc/self/status has no VmHWM", needed)
    return Capability(name, True, "measured as the peak resident set size of each phase", needed)


def cache_folder() -> Capability:
    """Whether the cache for base models can be written, and its free space."""
    name, folder = "cache folder", home()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return Capability(
            name, False, f"{folder}: {error.strerror}; set PARETUNE_HOME to a folder that you can write"
        )
    if free < MIN_FREE_BYTES:
        return Capability(
            name, False, f"{folder}: {gib(free, '.1f')} free; free some space or set PARETUNE_HOME"
        )
    return Capability(name, True, f"{folder}, {gib(free, '.0f')} free")


def run_folder(output: Path) -> Capability:
    """Whether runs can be written to ``output``, which need not exist yet, and its free space."""
    name, folder = "run folder", output.absolute()
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        return Capability(name, False, f"{folder}: {error.strerror}; give another --output")
    if free < MIN_FREE_BYTES:
        return Capability(
            name, False, f"{folder}: {gib(free, '.1f')} free; free some space or give another --output"
        )
    return Capability(name, True, f"{folder}, {gib(free, '.0f')} free")


def _cpu_flags() -> set[str]:
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", _proc("cpuinfo"), re.MULTILINE)
    return set(match[1].split()) if match else set()


def _cpu_name() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", _proc("cpuinfo"), re.MULTILINE)
    return match[1] if match else platform.processor() or platform.machine()


def _memory_bytes(key: str) -> int | None:
    match = re.search(rf"^{key}:\s+(\d+) kB$", _proc("meminfo"), re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _proc(name: str) -> str:
    path = Path("/proc") / name
    return path.read_text() if sys.platform == "linux" and path.exists() else ""


def describe_machine() -> dict[str, str | int | None]:
    """The facts about this machine that a run's ``environment.json`` keeps for its report."""
    return {
        "host": platform.node(),
        "cpus": cpu_cores(),
        "cpu_model": _cpu_name(),
        "memory_bytes": _memory_bytes("MemTotal"),
    }
