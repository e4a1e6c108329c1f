"""Names of files in a run folder, and what they say about how the run began."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Which trial a name stands for, by what its model is for: {"CAUSAL_LM": {"runs/sft": "3f2a9c81d0b4"}}.
Settled = Mapping[str, Mapping[str, str]]
LOCK = ".lock"
STOP = ".stop"  # in a run's folder: its driver is asked to end


def settled(run: Path) -> Settled:
    """Which trials of earlier runs a run began with."""
    return settled_in(_environment(run))


def settled_in(environment: dict[str, Any] | None) -> Settled:
    """What an ``environment.json`` says of that."""
    return (environment or {}).get("plan", {}).get("settled", {})


def _environment(run: Path) -> dict[str, Any] | None:
    path = run / "environment.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


LOG = "driver.log"  # in a run's folder: all that drivers of their own ever printed
