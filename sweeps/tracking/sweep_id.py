"""The id of a sweep in trackers, with which its trials' ids begin. A run folder keeps it in ``environment.json``."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from trainables.storage import files

BYTES = 3  # of an id; twice as many hexadecimal digits


def keep_or_make(run: Path, environment: dict[str, Any]) -> str:
    """The id in the ``environment.json`` of a run that is resumed; a new one for a new run, which has none yet."""
    return read(run, environment) if environment else secrets.token_hex(BYTES)


def read(run: Path, environment: dict[str, Any]) -> str:
    """The id in a run's ``environment.json``; for a run of an earlier version, which had none, as it was then."""
    return str(
        environment.get("wandb_id")
        or files.sha256([str(run.resolve()), environment.get("plan")])[: 2 * BYTES]
    )
