"""What a record keeps so that its trial can be repeated: package versions, commit, hash of the code, time."""

from __future__ import annotations

import importlib.metadata
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from trainables.storage import files

PACKAGES = (
    "paretune", "torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate", "datasets", "ray",
    "optuna", "pyarrow", "wandb", "sacrebleu", "rouge-score", "regex",
)  # fmt: skip

CODE = ("trainables", "sweeps")  # what slots and workers run; the driver alone writes reports


@cache
def package_versions() -> dict[str, str]:
    """The installed versions of the packages that results depend on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


@cache
def commit() -> str | None:
    """The git commit of this code, with ``-dirty`` if files have changed since; ``None`` outside of a repository."""
    root = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(
            # No tag matches an empty pattern, so the commit itself is described.
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--match="],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


@cache
def code_hash() -> str:
    """Eight hex digits of a hash of Paretune's files, which must be the same in all processes of a sweep."""
    root = Path(__file__).resolve().parents[2]
    paths = sorted(path for part in CODE for path in (root / part).rglob("*.py"))
    return files.sha256({str(path.relative_to(root)): files.file_sha256(path) for path in paths})[:8]


def now() -> str:
    """The current time in UTC, in ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
