"""The machine this process runs on: its processor, memory and GPUs, and where Paretune keeps its models."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from trainables.storage.home import home
from trainables.system.capabilities import Capability

GIB = 2**30
# What makes bfloat16 quick on a CPU.
FAST_BF16 = ("avx512_bf16", "amx_bf16", "bf16")
# What torch's kernels choose by: x86's, then ARM's.
FEATURES = (
    "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "sve", "bf16", "i8mm",
)  # fmt: skip
ROOM_BYTES = 2 * GIB  # a small base model, its download and a run
DRIVER_SECONDS = 5.0  # a driver in trouble lets nvidia-smi wait for ever
RUNS = Path("runs")


def examine(output: Path = RUNS) -> list[Capability]:
    """All of it, in the order a person asks; ``output`` is where runs go."""
    found = [processor(), features(), memory(), *gpus(), *driver()]
    return [*found, peak_memory(), cache_folder(), run_folder(output)]


def processor() -> Capability:
    """Cores this process may use, the processor's name, and whether it multiplies bfloat16 itself."""
    fast = [feature for feature in FAST_BF16 if feature in _cpu_flags()]
    speed = f"bfloat16 in hardware ({', '.join(fast)})" if fast else "no bfloat16 in hardware, so it is slow"
    return Capability("processor", True, f"{cores()} cores, {_cpu_name()}, {speed}", needed=False)


def features() -> Capability:
    """Which of the processor's features that speed training up it has."""
    found = [feature for feature in FEATURES if feature in _cpu_flags()]
    said = ", ".join(found) or "none of those that torch's kernels look for"
    return Capability("CPU features", True, said, needed=False)


def cores() -> int:
    """The processor cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_bytes() -> int:
    """Memory that can be had without swapping; 0 where the system does not say."""
    return _memory_bytes("MemAvailable") or 0


def memory() -> Capability:
    """How much memory there is, and how much of it is free."""
    total, free = _memory_bytes("MemTotal"), _memory_bytes("MemAvailable")
    if total is None or free is None:
        return Capability("memory", True, "this system does not say how much", needed=False)
    return Capability("memory", True, f"{free / GIB:.1f} of {total / GIB:.1f} GiB free", needed=False)


def gpus() -> list[Capability]:
    """One entry per GPU that torch can use; one that says so when there is none."""
    import torch

    if not torch.cuda.is_available():
        return [Capability("GPU", False, "torch sees none; training runs on the CPU", needed=False)]
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [
        Capability(
            f"GPU {index}",
            True,
            f"{gpu.name}, {gpu.total_memory / GIB:.1f} GiB, compute capability {gpu.major}.{gpu.minor}",
            needed=False,
        )
        for index, gpu in enumerate(found)
    ]


def oom_kills() -> int:
    """How many processes the system has ended for want of memory since it was started; 0 where it doesn't say."""
    found = re.search(r"^oom_kill (\d+)$", _proc("vmstat"), re.MULTILINE)
    return int(found[1]) if found else 0


def gpu_bytes() -> list[int]:
    """The memory of each GPU that torch can use; none without any."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [torch.cuda.get_device_properties(index).total_memory for index in range(count)]


def driver() -> list[Capability]:
    """NVIDIA's driver, and whether torch gets through to the GPUs that it sees; nothing where there is none."""
    import torch

    name, seen = "NVIDIA driver", _nvidia_smi()
    if isinstance(seen, str):
        return [Capability(name, False, seen, needed=False)]
    if not seen:
        return []
    versions = ", ".join(sorted({version for _, version in seen}))
    if torch.cuda.is_available():
        return [Capability(name, True, versions, needed=False)]
    gpus = ", ".join(gpu for gpu, _ in seen)
    built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built without CUDA"
    advice = f"torch {torch.__version__} {built} and uses none; install one that is built for this driver"
    return [Capability(name, False, f"{versions} sees {gpus}, but {advice}", needed=False)]


def _nvidia_smi() -> list[tuple[str, str]] | str:
    """(GPU, driver version) for each that nvidia-smi lists, or why it lists none though it is here."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DRIVER_SECONDS)
    except FileNotFoundError:
        return []
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi gives no answer: {error}"
    if done.returncode:
        return f"nvidia-smi fails: {(done.stdout + done.stderr).strip() or done.returncode}"
    return [
        (gpu, version) for gpu, _, version in (line.rpartition(", ") for line in done.stdout.splitlines())
    ]


def peak_memory() -> Capability:
    """Whether the peak resident set can be reset and read, which is how memory is measured without a GPU."""
    import torch

    name, needed = "peak memory on the CPU", not torch.cuda.is_available()
    try:
        Path("/proc/self/clear_refs").write_text("5")
        found = re.search(r"VmHWM:\s+\d+ kB", Path("/proc/self/status").read_text())
    except OSError as error:
        why = (
            f"needs Linux and a writable /proc/self/clear_refs ({error.strerror}); it won't be measured here"
        )
        return Capability(name, False, why, needed)
    if found is None:
        return Capability(name, False, "/proc/self/status has no VmHWM; it won't be measured here", needed)
    return Capability(name, True, "resident set, peak by phase", needed)


def cache_folder() -> Capability:
    """Whether base models can be kept, and how much room there is for them."""
    name, folder = "cache folder", home()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return Capability(name, False, f"{folder}: {error.strerror}; set PARETUNE_HOME to a folder of yours")
    if free < ROOM_BYTES:
        return Capability(name, False, f"{folder}: {free / GIB:.1f} GiB free; make room or set PARETUNE_HOME")
    return Capability(name, True, f"{folder}, {free / GIB:.0f} GiB free")


def run_folder(output: Path) -> Capability:
    """Whether runs can be written to ``output``, and how much room there is; it need not be there yet."""
    name, folder = "run folder", output.absolute()
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        return Capability(name, False, f"{folder}: {error.strerror}; give another --output")
    if free < ROOM_BYTES:
        return Capability(
            name, False, f"{folder}: {free / GIB:.1f} GiB free; make room or give another --output"
        )
    return Capability(name, True, f"{folder}, {free / GIB:.0f} GiB free")


def _cpu_flags() -> set[str]:
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", _proc("cpuinfo"), re.MULTILINE)
    return set(found[1].split()) if found else set()


def _cpu_name() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _proc("cpuinfo"), re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def _memory_bytes(key: str) -> int | None:
    found = re.search(rf"^{key}:\s+(\d+) kB$", _proc("meminfo"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _proc(name: str) -> str:
    path = Path("/proc") / name
    return path.read_text() if sys.platform == "linux" and path.exists() else ""


def describe() -> dict[str, str | int | None]:
    """What a report says of the machine a sweep was driven from."""
    return {
        "host": platform.node(),
        "cpus": cores(),
        "cpu_model": _cpu_name(),
        "memory_bytes": _memory_bytes("MemTotal"),
    }
