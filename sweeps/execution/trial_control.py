"""Asks a run to stop one of its trials, or to train one more, by its folder or URL alone; its driver carries it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeps.runs import trial_requests
from sweeps.runs.artifacts import MIN_ID_CHARACTERS
from sweeps.runs.layout import read_environment
from sweeps.runs.location import RunLocation, is_status_file
from sweeps.runs.outcomes import outcome
from sweeps.runs.status import NoRun
from sweeps.runs.trial_names import NamedTrial, find_trial
from sweeps.runs.trial_requests import MARK, AddRequest
from sweeps.search.cloned_trial import cloned_trial
from sweeps.spec.problems import Problem, SpecError
from sweeps.spec.settings import ResourcesConfig
from trainables import results
from trainables.results import Record
from trainables.system import provenance
from trainables.trial.config import TrialConfig, read_config

ROLES = ("search", "finalist", "added")  # of trials that train


@dataclass(frozen=True)
class Requested:
    """A request that is in the run folder. ``holder``: the process that carries it out; ``None`` where none lives, so
    that the command ``resume`` does. ``record``: that of the trial once it has ended.
    """

    run: str
    trial_id: str
    cell: str
    holder: str | None
    resume: str
    record: Record | None = None

    def to_json(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        ended = self.record
        return {
            "run": self.run,
            "trial_id": self.trial_id,
            "cell": self.cell,
            "state": "requested" if ended is None else "ended",
            "status": None if ended is None else ended.status,
            "steps": None if ended is None else ended.steps,
            "reason": None if ended is None else ended.stop_reason,
            "holder": self.holder,
            "resume": None if self.holder is not None or ended is not None else self.resume,
        }


def request_stop(location: RunLocation, name: str) -> Requested:
    """Asks for the end of the trial whose id is ``name``, or begins so.

    Raises ``ValueError`` for a trial that has ended, and where the run has no such trial or carries out no requests.
    """
    with location.local_copy(is_status_file) as run:
        requested, trial = _found(location, run, name)
        if trial.role == "base":
            raise ValueError(
                f"{trial} scores the untrained model, with which the cells are compared, and has no steps to stop at"
            )
        record = trial.record
        if record is not None and record.status != "interrupted":
            raise ValueError(f"{trial} has ended already: {outcome(record)}")
        if len(name) < MIN_ID_CHARACTERS:
            raise ValueError(f"{name}: give at least {MIN_ID_CHARACTERS} characters of the id: {trial}")
    request = trial_requests.stop_request(trial.trial_id)
    location.request(request.name, trial_requests.content(request))
    return requested


def request_addition(
    location: RunLocation, like: str, changes: Sequence[str]
) -> tuple[Requested, AddRequest]:
    """Asks for one more trial in the cell of the trial ``like``: that with ``changes``, each a ``PATH=VALUE``.

    Raises ``SpecError`` for changes that a trial of the cell can't have, and ``ValueError`` as :func:`request_stop`.
    """
    with location.local_copy(is_status_file) as run:
        requested, trial = _found(location, run, like)
        if trial.role == "base":
            raise ValueError(f"{trial} scores the untrained model, and has no settings to change")
        config = _config(run, trial)
        made = cloned_trial(config, trial.trial_id, changes, _resources(trial.record))
        if (same := _equal_trial(run, made)) is not None:
            what = "change a setting; --set train.seed=N trains it again with another seed"
            raise SpecError(Problem("--set", "", f"that would be equal to {same}; {what}"))
    request = AddRequest(
        trial_id=made.trial_id(),
        cell=made.cell,
        like=trial.trial_id,
        changes=tuple(changes),
        requested_at=provenance.now(),
        config=made.model_dump(mode="json"),
    )
    location.request(request.name, trial_requests.content(request))
    return replace(requested, trial_id=request.trial_id), request


def progress_of(location: RunLocation, requested: Requested) -> Requested:
    """The same request with the trial's record, if it has ended, and with the process that holds the run now."""
    folder = f"trials/{requested.trial_id}"
    # Asked first: what a driver writes before it leaves is in the record that is read after that.
    holder = location.holder()
    with location.local_copy(lambda name: name == f"{folder}/record.json") as run:
        record = results.read_record(run / folder)
    ended = record is not None and record.status != "interrupted"
    return replace(requested, holder=holder, record=record if ended else None)


def _found(location: RunLocation, run: Path, name: str) -> tuple[Requested, NamedTrial]:
    """The trial, and the request for it. Raises ``ValueError`` where nobody would carry a request out."""
    shown, environment = location.display_name, read_environment(run)
    if environment is None:
        if not results.trial_folders(run):
            raise NoRun(f"{shown}: no environment.json here; is it a run folder (runs/NAME)?")
        raise ValueError(
            f"{shown} holds trials of `paretune try`, which run one at a time, outside of any sweep: Ctrl-C ends one, "
            "and only a run of a sweep (paretune run) takes requests"
        )
    trial, holder = find_trial(run, name, shown), location.holder()
    if holder is not None and not environment.get(MARK):
        raise ValueError(
            f"{shown} is run by an earlier version ({holder}), which takes no requests for single trials: end it by "
            f"paretune stop {shown}, and resume it by this version"
        )
    resume = trial_requests.resuming(environment)
    return Requested(shown, trial.trial_id, trial.cell, holder, resume), trial


def _config(run: Path, trial: NamedTrial) -> TrialConfig:
    """Raises ``DamagedFile``, and ``ValueError`` for a trial whose id this version would not give."""
    if (trial.folder / "config.json").exists():
        config = read_config(trial.folder)
    else:
        path = run / f"{trial_requests.REQUESTS}/{trial_requests.ADD}{trial.trial_id}.json"
        config = trial_requests.read_addition(path).trial_config()
    if config.trial_id() != trial.trial_id:
        raise ValueError(
            f"{trial} was made by an earlier version, which gave its settings another id: a trial like it can't join "
            "its cell. Write its settings in a spec of another name (its config.json has them), and run that"
        )
    return config


def _equal_trial(run: Path, config: TrialConfig) -> NamedTrial | None:
    """The trial of the run, whatever its role, that has the same settings."""
    for role in ROLES:
        trial_id = config.model_copy(update={"role": role}).trial_id()
        asked = run / f"{trial_requests.REQUESTS}/{trial_requests.ADD}{trial_id}.json"
        if asked.exists() or (run / "trials" / trial_id / "config.json").exists():
            return find_trial(run, trial_id, "")
    return None


def _resources(record: Record | None) -> ResourcesConfig:
    """Those that a trial had; where it has not run yet, no limit is known."""
    workers = record.workers if record is not None and record.workers else 1
    return ResourcesConfig(workers=workers, gpus=0 if record is not None and record.device == "cpu" else 1)
