"""Verifies on a GPU what tests on CPUs can't: ``make gpu``, or ``python -m tests.gpu``.

Needs one CUDA device, and neither Ray nor a network: the models are made by the script, and SmolLM2-135M is used where
it is cached. Prints a table and writes it, with versions and the GPU's name, to ``gpu-report.json``.
"""

from __future__ import annotations

import argparse
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.gpu.report import Report, Row, row_lines
from tests.gpu.schedule import CHECKS, NAMES, chosen
from tests.gpu.supervisor import PATIENCE, Supervisor, WorkerProcess, worker_command

BUDGET_SECONDS = 460  # a little less than eight minutes, of which the start and the end take some
DRY_SECONDS = 3600  # a busy CPU takes longer than a GPU


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes the checks. Returns 0, also where some were skipped, 1 where one failed, 2 without a CUDA device."""
    options = _parser().parse_args(arguments)
    if not options.dry and not _has_gpu():
        print("There is no NVIDIA GPU. --dry makes all checks with tiny shapes on a CPU.", file=sys.stderr)
        return 2
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="paretune-gpu-", dir=options.folder))
    try:
        report = _made(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{report.summary()}\n{time.monotonic() - began:.0f} s; {options.out}")
    return 0 if report.succeeded else 1


def _made(options: argparse.Namespace, folder: Path) -> Report:
    def start(seconds: float) -> WorkerProcess:
        return WorkerProcess(worker_command(folder, options.dry, seconds), folder / "worker.log")

    supervisor = Supervisor(
        chosen(options.only),
        options.budget_seconds or (DRY_SECONDS if options.dry else BUDGET_SECONDS),
        start,
        options.out,
        _show,
        Report({"mode": "dry" if options.dry else "real", "driver": _driver()}),
        math.inf if options.dry else PATIENCE,
    )
    return supervisor.run()


def _show(row: Row) -> None:
    print("\n".join(row_lines(row)), flush=True)


def _parser() -> argparse.ArgumentParser:
    checks = "\n".join(f"  {check.name:<16} {check.purpose}" for check in CHECKS)
    parser = argparse.ArgumentParser(
        prog="python -m tests.gpu",
        description=f"{__doc__}\nChecks:\n{checks}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--dry", action="store_true", help="all checks with tiny shapes, on a CPU, too")
    add("--only", nargs="+", choices=NAMES, default=[], metavar="CHECK", help="these checks alone")
    budget = f"checks that don't fit in are skipped; default: {BUDGET_SECONDS}, {DRY_SECONDS} with --dry"
    add("--budget-seconds", type=float, help=budget)
    add("--out", type=Path, default=Path("gpu-report.json"), help="default: %(default)s")
    add("--folder", type=Path, help="where models and runs are for the time, about 10 GB; default: TMPDIR")
    return parser


def _driver() -> str | None:
    return next(iter(_nvidia_smi("driver_version")), None)


def _has_gpu() -> bool:
    # Containers may have the devices without the command.
    return Path("/dev/nvidiactl").exists() or bool(_nvidia_smi("name"))


def _nvidia_smi(query: str) -> list[str]:
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.strip().splitlines() if done.returncode == 0 else []


if __name__ == "__main__":
    sys.exit(main())
