"""What no run has in its folder, and somebody else's may: links, pipes and devices."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sweeps.runs.layout import REQUESTS, SENT, TRACKERS
from trainables.storage.damaged_files import DamagedFile
from trainables.storage.regular_files import first_endless, links

STUDY_LOCK = ".journal.lock"  # a link by which Optuna locks a study, left behind by a killed driver


def require_readable(run: Path) -> None:
    """Raises ``DamagedFile`` for a run folder with a pipe or a device in it: reading would never end."""
    for folder in _folders(run):
        if (found := first_endless(folder)) is not None:
            raise DamagedFile(f"{found} is neither a file nor a folder: no run has such an entry; remove it")


def require_writable(run: Path) -> None:
    """Raises ``DamagedFile`` for a run folder with a link in it, through which files elsewhere would be written.

    The folder itself may be a link, or lie below one.
    """
    require_readable(run)
    # Of the links in `wandb` itself, W&B makes some.
    own = [folder for folder in _of_wandb(run) if folder.is_symlink()]
    for link in (*own, *(link for folder in _folders(run) for link in links(folder))):
        if not link.name.endswith(STUDY_LOCK):
            what = "is a link: files in the place it leads to would be written over"
            raise DamagedFile(
                f"{link} {what}; put there what it leads to (the run folder itself may be a link)"
            )


def _folders(run: Path) -> Iterator[Path]:
    """The folders of a run in which files have fixed names: its own, those of trials, requests and
    trackers.
    """
    trials = run / "trials"
    yield from filter(Path.is_dir, (run, trials, run / REQUESTS, *_of_wandb(run)))
    for tracker in TRACKERS:
        if tracker != "wandb":
            yield from (Path(folder) for folder, _, _ in os.walk(run / tracker))
    if trials.is_dir():
        with os.scandir(trials) as entries:
            yield from sorted(Path(entry.path) for entry in entries if entry.is_dir())


def _of_wandb(run: Path) -> tuple[Path, ...]:
    return run / "wandb" / "own", run / "wandb" / SENT
