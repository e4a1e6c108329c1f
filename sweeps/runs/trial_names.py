"""The trials of a run by their ids, which may be cut short: those that it has, and those that it was asked to add."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.runs import trial_requests
from sweeps.runs.artifacts import split_run
from sweeps.runs.status import NoRun
from trainables import results
from trainables.results import Record
from trainables.storage.damaged_files import read_object, reading

SHOWN_IDS = 12
NEAR_IDS = 3


@dataclass(frozen=True)
class NamedTrial:
    """``config``: as the run has it, unchecked. ``folder``: the trial's, which one that was only asked for lacks."""

    trial_id: str
    cell: str
    config: dict[str, Any]
    folder: Path

    @property
    def role(self) -> str:
        return str(self.config.get("role", "search"))

    @property
    def record(self) -> Record | None:
        """Raises ``DamagedFile``."""
        return results.read_record(self.folder)

    def __str__(self) -> str:
        """``sft-lora 3f2a9c81d0b4``."""
        return f"{self.cell} {self.trial_id}"


def run_and_trial(text: str) -> tuple[str, str | None]:
    """``RUN:TRIAL`` in its parts; ``None`` for a run alone. Raises ``ValueError`` where nothing is behind the colon."""
    run, part = split_run(text)
    if run is None or run == text:
        return text, None
    if not part:
        raise ValueError(f"{text}: no trial stands behind the colon; give RUN or RUN:TRIAL")
    return run, part


def find_trial(run: Path, name: str, display_name: str) -> NamedTrial:
    """The trial whose id is ``name`` or begins so. Raises :class:`NoRun` that says which there are, ``DamagedFile``."""
    asked = {path.stem.removeprefix(trial_requests.ADD): path for path in trial_requests.addition_files(run)}
    ids = sorted({*(folder.name for folder in results.trial_folders(run)), *asked})
    matching = [name] if name in ids else [each for each in ids if each.startswith(name)]
    if len(matching) != 1:
        raise NoRun(_not_one(name, matching, ids, display_name))
    folder = run / "trials" / matching[0]
    path = folder / "config.json"
    if path.exists():
        config = read_object(path)
    else:
        path = asked[matching[0]]
        config = trial_requests.read_addition(path).config
    with reading(path):
        return NamedTrial(matching[0], str(config["cell"]), config, folder)


def _not_one(name: str, matching: list[str], ids: list[str], display_name: str) -> str:
    if matching:
        return f"{display_name}: {name!r} names several trials; there are {', '.join(matching[:SHOWN_IDS])}"
    near = difflib.get_close_matches(name, ids, n=NEAR_IDS)
    nearest = f". Did you mean {' or '.join(near)}?" if near else ""
    shown = f"{', '.join(ids[:SHOWN_IDS])}{', ...' if len(ids) > SHOWN_IDS else ''}" or "none yet"
    there = f" There are {shown}" if near else f"; there are {shown}"
    return f"{display_name}: {name!r} is no trial of this run{nearest}{there}"
