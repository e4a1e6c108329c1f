"""What people ask of single trials of a run: to stop one, or to add one. Each request is a file of the run folder.

    runs/NAME/requests/stop-3f2a9c81d0b4.json, add-77aa10c2d9e1.json

The files stay: a request is open until its trial has a final record, whichever driver carries it out, and when.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.runs.layout import REQUESTS
from trainables import results
from trainables.config.base import FileName, Frozen
from trainables.storage.damaged_files import DamagedFile, read_bytes, reading
from trainables.system import provenance

if TYPE_CHECKING:
    from trainables.trial.config import TrialConfig

MARK = "trial_requests"  # in `environment.json`: the version that drives the run carries requests out
STOP, ADD = "stop-", "add-"


class StopRequest(Frozen):
    """The trial is to end at its next step, or not to begin."""

    trial_id: FileName
    requested_at: str

    @property
    def name(self) -> str:
        return f"{REQUESTS}/{STOP}{self.trial_id}.json"


class AddRequest(Frozen):
    """The trial of ``config`` is to be trained: that of the trial ``like`` with ``changes``, as ``PATH=VALUE``."""

    trial_id: FileName
    cell: FileName
    like: FileName
    changes: tuple[str, ...]
    requested_at: str
    config: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{REQUESTS}/{ADD}{self.trial_id}.json"

    def trial_config(self) -> TrialConfig:
        """Raises ``DamagedFile`` for what is no config of that trial."""
        from trainables.trial.config import TrialConfig

        with reading(self.name):
            config = TrialConfig.model_validate_json(json.dumps(self.config))
            if (config.trial_id(), config.cell, config.role) != (self.trial_id, self.cell, "added"):
                raise ValueError("its config is that of another trial")
            return config

    def to_json(self) -> dict[str, Any]:
        """What ``--json`` shows of it."""
        return {**self.model_dump(mode="json", exclude={"config", "requested_at"})}


@dataclass(frozen=True)
class OpenRequests:
    """The requests of a run whose trials have no final record. ``damaged``: a sentence for each that can't be read."""

    stops: tuple[str, ...] = ()  # ids of trials
    additions: tuple[AddRequest, ...] = ()
    damaged: tuple[str, ...] = ()


def stop_request(trial_id: str) -> StopRequest:
    return StopRequest(trial_id=trial_id, requested_at=provenance.now())


def content(request: StopRequest | AddRequest) -> dict[str, Any]:
    """What the file of a request holds."""
    return request.model_dump(mode="json")


def stops(run: Path) -> list[str]:
    """The ids of all trials that were ever asked to stop."""
    return [path.stem.removeprefix(STOP) for path in sorted((run / REQUESTS).glob(f"{STOP}*.json"))]


def addition_files(run: Path) -> list[Path]:
    return sorted((run / REQUESTS).glob(f"{ADD}*.json"))


def read_addition(path: Path) -> AddRequest:
    """Raises ``DamagedFile``."""
    with reading(path):
        request = AddRequest.model_validate_json(read_bytes(path))
        if Path(request.name).name != path.name:
            raise ValueError(f"it is of trial {request.trial_id}")
        return request


def open_requests(run: Path) -> OpenRequests:
    """The requests that are still to be carried out."""

    def is_open(trial_id: str) -> bool:
        try:
            return not results.has_ended(run / "trials" / trial_id)
        except DamagedFile:  # the trial is run again
            return True

    additions, damaged = list[AddRequest](), list[str]()
    for path in addition_files(run):
        try:
            additions.append(read_addition(path))
        except DamagedFile as error:
            damaged.append(str(error))
    unfinished = sorted(
        (each for each in additions if is_open(each.trial_id)), key=lambda each: each.requested_at
    )
    return OpenRequests(tuple(filter(is_open, stops(run))), tuple(unfinished), tuple(damaged))


def resuming(environment: Mapping[str, Any]) -> str:
    """The command that resumes a run, as far as its ``environment.json`` tells."""
    command = str(environment.get("command") or "")
    if not command.startswith("paretune run "):  # a driver of its own, or what settles the run
        return "paretune run SPEC --resume"
    return command if " --resume" in command else f"{command} --resume"
