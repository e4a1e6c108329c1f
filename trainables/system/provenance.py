"""What a record needs so that somebody can repeat it: package versions, commit, host, device."""

from __future__ import annotations

import importlib.metadata
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from trainables.storage import files

PACKAGES = (
    "paretune", "torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate", "datasets", "ray",
    "optuna", "pyarrow", "wandb", "sacrebleu", "rouge-score",
)  # fmt: skip

CODE = ("trainables", "sweeps")  # a slot's and its workers'; reports are written by the driver


@cache
def packages() -> dict[str, str]:
    """Installed versions of the packages that results depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str | None:
    """The commit this code was checked out at, ``-dirty`` if files changed since; ``None`` outside git."""
    here = Path(__file__).resolve().parents[2]
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--match="],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


@cache
def code() -> str:
    """Eight hex digits of a hash of Paretune's own files: processes that work together must have the same."""
    root = Path(__file__).resolve().parents[2]
    found = sorted(path for part in CODE for path in (root / part).rglob("*.py"))
    return files.sha256({str(path.relative_to(root)): files.file_sha256(path) for path in found})[:8]


def now() -> str:
    """The time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
