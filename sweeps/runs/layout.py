"""Names of files in a run folder, and which earlier trials the run began with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.storage.damaged_files import read_object

# Which trial a name stands for, by what its model is for: {"CAUSAL_LM": {"runs/sft": "3f2a9c81d0b4"}}.
Settled = Mapping[str, Mapping[str, str]]
LOCK = ".lock"
STOP = ".stop"  # in a run's folder: its driver is to end
REQUEST = ".request-{}.json"  # what a detached driver on another machine executes; it may hold keys
SIGNS = ".signs.json"  # what the trials of a run are doing, as its driver knows it
BEGUN = ".begun-{}"  # written by a detached driver once it holds the run and has made its folder


def settled_in(environment: dict[str, Any] | None) -> Settled:
    """Which trials of earlier runs a run began with, by its ``environment.json``, if there is one."""
    return (environment or {}).get("plan", {}).get("settled", {})


def read_environment(run: Path) -> dict[str, Any] | None:
    """A run's ``environment.json``; ``None`` for a folder that is no run yet. Raises ``DamagedFile``."""
    path = run / "environment.json"
    return read_object(path) if path.exists() else None


LOG = "driver.log"  # in a run's folder: all that detached drivers ever printed
