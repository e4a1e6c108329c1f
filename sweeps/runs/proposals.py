"""Which run a text probably means that names none: the run folder of that name in ``runs``, or that of a spec."""

from __future__ import annotations

from pathlib import Path

from trainables.system.machine import RUNS
from trainables.system.suggestions import nearest

SPEC_SUFFIXES = (".yaml", ".yml")


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's: it has the record of its start, or trials."""
    return (folder / "environment.json").is_file() or (folder / "trials").is_dir()


def proposed_run(text: str) -> str:
    """``. Did you mean runs/home?``, to append to a sentence; an empty text without an idea.

    ``text``: what was given for a run, perhaps with a cell or a trial behind a colon.
    """
    name, colon, part = text.partition(":")
    path = Path(name).expanduser()
    candidates = [RUNS / path.name]
    if path.suffix in SPEC_SUFFIXES:
        candidates.append(RUNS / path.stem)  # the name of a run is that of its spec's file by default
    try:
        for folder in candidates:
            if is_run(folder) and folder != path:
                return f". Did you mean {folder}{colon}{part}?"
        names = [folder.name for folder in RUNS.iterdir() if is_run(folder)] if RUNS.is_dir() else []
    except OSError:  # a text that no file can be called, a folder that may not be listed
        return ""
    near = nearest(path.stem, names)
    return f". Did you mean {RUNS / near}{colon}{part}?" if near and RUNS / near != path else ""
