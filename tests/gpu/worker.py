"""The process that makes the checks, one after the other, as the supervisor names them on standard input.

It answers with JSON lines on standard output: ``{"environment": ...}`` first; for each check ``{"case": name}`` before
a case, ``{"row": ...}`` after it, ``{"done": name, "healthy": ...}`` in the end.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from dataclasses import asdict
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from tests.gpu.bench import Bench
from tests.gpu.check import rows_of
from tests.gpu.process_state import is_healthy
from tests.gpu.schedule import CHECKS

PACKAGES = (
    "torch", "triton", "transformers", "peft", "trl", "accelerate", "datasets", "bitsandbytes", "hqq", "eetq",
    "kernels", "flash-attn", "flash-attn-3", "liger-kernel", "ray",
)  # fmt: skip


def main() -> None:
    """``python -m tests.gpu.worker FOLDER dry|real SECONDS``, with the checks' names on standard input."""
    folder, mode, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to standard error, apart from the answers

    def answer(**message: Any) -> None:
        answers.write(json.dumps(message, default=str) + "\n")
        answers.flush()

    bench = Bench(folder, mode == "dry", time.monotonic() + seconds)
    prepare(folder)
    _warm_up(bench.dry)
    answer(environment=environment())
    checks = {check.name: check for check in CHECKS}
    for line in sys.stdin:
        name = line.strip()
        for row in rows_of(checks[name], bench, lambda case: answer(case=case)):
            answer(row=asdict(row))
        answer(done=name, healthy=is_healthy())
    answers.close()
    os._exit(0)  # an orderly exit of the libraries would take a second or two


def prepare(folder: Path) -> None:
    """Quiets the libraries, and gives the process a cache of its own in which the cached models are."""
    from trainables.storage.home import home
    from trainables.system import allocator, quiet

    quiet.silence()
    allocator.set_default()
    models, own = home() / "models", folder / "home"
    own.mkdir(parents=True, exist_ok=True)
    if models.is_dir() and not (own / "models").exists():
        (own / "models").symlink_to(models, target_is_directory=True)
    os.environ["PARETUNE_HOME"] = str(own)


def _warm_up(dry: bool) -> None:
    """Imports what every trial needs. What has been allocated by then isn't walked through in each collection.

    In a dry run all checks are imported, which shows where one of them needs a package that isn't there.
    """
    import gc

    import peft  # noqa: F401
    from trl import SFTTrainer  # noqa: F401

    from trainables.runner import run  # noqa: F401

    for check in CHECKS if dry else ():
        import_module(f"tests.gpu.checks.{check.name}")
    gc.collect()
    gc.freeze()


def environment() -> dict[str, Any]:
    """What the results depend on: versions of packages, the GPU, its memory and driver."""
    import torch

    from trainables.system import provenance

    found: dict[str, Any] = {
        "commit": provenance.commit(),
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {version}" for name in PACKAGES if (version := _version(name))),
        "not_installed": ", ".join(name for name in PACKAGES if _version(name) is None),
        "cuda": torch.version.cuda,
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "gpu": properties.name,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "gpu_memory_bytes": properties.total_memory,
            "gpus": torch.cuda.device_count(),
        }
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
