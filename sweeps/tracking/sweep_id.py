"""The id of a sweep in trackers, with which its trials' ids begin. A run folder keeps it in ``environment.json``."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from trainables.storage import files
from trainables.storage.damaged_files import reading
from trainables.storage.names import checked_part

BYTES = 3  # of an id; twice as many hexadecimal digits


def keep_or_make(run: Path, environment: dict[str, Any]) -> str:
    """The id in the ``environment.json`` of a run that is resumed; a new one for a new run, which has none yet."""
    return read(run, environment) if environment else secrets.token_hex(BYTES)


def read(run: Path, environment: dict[str, Any]) -> str:
    """The id in a run's ``environment.json``; for a run of an earlier version, which had none, as it was then.

    Raises ``DamagedFile`` for one that trackers, which call files by it, must not get.
    """
    own = environment.get("wandb_id")
    with reading(run / "environment.json"):
        return checked_part(
            str(own or files.sha256([str(run.resolve()), environment.get("plan")])[: 2 * BYTES])
        )
