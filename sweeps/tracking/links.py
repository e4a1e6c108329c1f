"""The pages of trackers that show a run, kept in its folder as ``tracking.json``, by the tracker's name.

    {"wandb": {"project": "paretune", ..., "pages": {"W&B report": "https://..."}}}

Besides ``pages``, which reports and commands show, each tracker keeps there what it needs to find its own again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.results import PAGES_FILE
from trainables.storage import files
from trainables.storage.damaged_files import DamagedFile, read_object


def read(run_folder: Path, tracker: str) -> dict[str, Any]:
    """What a tracker has kept; empty without anything, and where the file can't be read."""
    found = _all(run_folder).get(tracker)
    return found if isinstance(found, dict) else {}


def write(run_folder: Path, tracker: str, pages: Mapping[str, str], **kept: str) -> None:
    """Replaces what a tracker has kept. ``pages``: addresses by what they show."""
    files.write_json(run_folder / PAGES_FILE, {**_all(run_folder), tracker: {**kept, "pages": dict(pages)}})


def _all(run_folder: Path) -> dict[str, Any]:
    path = run_folder / PAGES_FILE
    try:
        return read_object(path) if path.exists() else {}
    except DamagedFile:
        return {}  # it is written anew
