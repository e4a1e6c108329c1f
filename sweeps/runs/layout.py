"""Names of files in a run folder, and which earlier trials the run began with."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.storage.damaged_files import parsed_object, read_bytes, reading

# Which trial a name stands for, by what its model is for: {"CAUSAL_LM": {"runs/sft": "3f2a9c81d0b4"}}.
Settled = Mapping[str, Mapping[str, str]]
LOCK = ".lock"
STOP = ".stop"  # in a run's folder: its driver is to end
STOP_LINE = "`paretune stop` requests the end"  # in sweep.log, by a driver that was asked to
REQUESTS = "requests"  # a folder: which trials people stop or add (`trial_requests`)
# Beside a run's folder, by its name and a token: what a detached driver on another machine executes; it may hold keys.
REQUEST = ".{}.request-{}.json"
REQUEST_INSIDE = ".request-{}.json"  # the same in the run's folder, where no file can be made beside it
DRIVER = ".driver.json"  # in a run's folder: the process of a detached driver that doesn't hold the run yet
TOKEN = "[0-9a-f]" * 8  # the token of a request, as a pattern
SIGNS = ".signs.json"  # what the trials of a run are doing, as its driver knows it
# Folders of trackers' own files. Each has a folder SENT, with a mark for each trial that the tracker has completely.
TRACKERS = ("wandb", "tensorboard", "mlflow", "swanlab", "trackio")
SENT = "sent"
BEGUN = ".begun-{}"  # written by a detached driver once it holds the run and has made its folder


def settled_in(environment: dict[str, Any] | None) -> Settled:
    """Which trials of earlier runs a run began with, by its ``environment.json``, if there is one."""
    return (environment or {}).get("plan", {}).get("settled", {})


def has_begun(run: Path) -> bool:
    """Whether a folder holds a run that has begun. In place of one that was deleted, trials that still write make
    folders alone.
    """
    return (run / "environment.json").exists()


def waiting_requests(run: Path) -> list[Path]:
    """The requests that no detached driver has taken yet."""
    beside = run.parent.glob(REQUEST.format(glob.escape(run.name), TOKEN))
    return sorted([*beside, *run.glob(REQUEST_INSIDE.format(TOKEN))])


def read_environment(run: Path) -> dict[str, Any] | None:
    """A run's ``environment.json``; ``None`` for a folder that is no run yet. Raises ``DamagedFile``."""
    path = run / "environment.json"
    if not path.exists():
        return None
    with reading(path):
        return checked_environment(read_bytes(path), str(path))


def checked_environment(content: bytes, place: str) -> dict[str, Any]:
    """The ``environment.json`` at ``place`` by its content. Raises ``DamagedFile`` unless its plan is one."""
    with reading(place):
        environment = parsed_object(content)
        plan = environment.get("plan", {})
        for numbers in (plan.get("trials", {}), plan.get("finalists") or {}):
            if wrong := [value for value in numbers.values() if not isinstance(value, int)]:
                raise ValueError(f"it has {wrong[0]!r} as a number of trials")
        return environment


LOG = "driver.log"  # in a run's folder: all that detached drivers ever printed
