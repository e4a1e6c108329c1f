"""Which files of a run at a URL the driver's mirror of it has too, and in which order they are pushed."""

from __future__ import annotations

from sweeps.runs.layout import SENT, TRACKERS

_OF_TRACKERS = tuple(f"{name}/" for name in TRACKERS)
URL_ONLY = ("merged/", "given/", *_OF_TRACKERS)  # folders that the driver doesn't need ...
_MARKS = tuple(f"{name}/{SENT}/" for name in TRACKERS)  # ... except for the marks of what trackers have
_OWN = tuple(f"{name}/own/" for name in TRACKERS)
TRACKER_RANK, LAST_RANK = 4, 5


def needed_by_driver(name: str) -> bool:
    """Whether a file at the URL is pulled: not models, checkpoints, and what only workers use."""
    parts = name.split("/")
    # Only names like trials/ID/FOLDER/FILE are in a folder of a trial; its small files have three parts.
    of_trial = parts[2] if parts[0] == "trials" and len(parts) > 3 else ""
    heavy = of_trial == "model" or of_trial.startswith("checkpoint-")
    url_only = name.startswith(URL_ONLY) and not name.startswith(_MARKS)
    return not heavy and not url_only and not hidden(name)


def belongs_at_url(name: str) -> bool:
    """Whether a file in the mirror is pushed: not what processes write for themselves alone."""
    return not hidden(name) and not name.endswith((".lock", ".tmp")) and not name.startswith(_OWN)


def hidden(name: str) -> bool:
    """Whether a file is hidden or in a hidden folder: ``.lock``, ``.stop``, Ray's own state, unfinished files."""
    return any(part.startswith(".") for part in name.split("/"))


def push_rank(name: str) -> int:
    """What is pushed first has the lowest rank.

    A study knows a trial before its config is at the URL, ``environment.json`` makes it a run once all else is there,
    and the marks of what trackers have follow what they have.
    """
    if name.startswith(_OF_TRACKERS):
        return LAST_RANK if name.startswith(_MARKS) else TRACKER_RANK
    if name == "environment.json":
        return 3
    if not name.startswith("trials/"):
        return 0
    return 1 if name.endswith("/config.json") else 2
