"""What a record needs so that somebody can repeat it: package versions, commit, host, device."""

from __future__ import annotations

import importlib.metadata
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

PACKAGES = (
    "paretune", "torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate", "datasets", "ray",
    "optuna", "pyarrow", "wandb",
)  # fmt: skip


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
    here = Path(__file__).resolve().parent.parent
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


def now() -> str:
    """The time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
