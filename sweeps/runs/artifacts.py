"""The models of a run by RUN, RUN:CELL, RUN:TRIAL or RUN:TRIAL@STEP: which trial is meant, and where its model is."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.runs.downloads import local_path, store_of
from sweeps.runs.reading import local_copy
from trainables import results
from trainables.models.folder import ModelError
from trainables.results import Record
from trainables.storage.urls import is_url
from trainables.system.suggestions import did_you_mean
from trainables.training.checkpoints import is_complete, step_of
from trainables.trial.config import TrialConfig

# The best trials of a run, as its report has them; that of the last stage first.
BestTrials = Callable[[Path], Sequence[Record]]
CHAT_TASK = "CAUSAL_LM"  # the task of models that generate text
MIN_ID_CHARACTERS = 4  # of a trial's id that is cut short


@dataclass(frozen=True)
class Artifact:
    """The model of a trial of a run, on this machine.

    ``folder`` holds weights or an adapter; for a base model, which nothing was trained for, it is the trial's
    ``config.json``.
    """

    folder: Path
    trial: str  # the trial's id, with @STEP for a checkpoint
    record: Record | None

    @property
    def untrained(self) -> bool:
        return self.record is not None and self.record.role == "base"


def split_run(text: str) -> tuple[str | None, str]:
    """The run that ``text`` begins with, or ``None``, and what follows the run's colon."""
    # The whole text is tried first, because a path or a URL may have a colon of its own.
    if _is_run(text):
        return text, ""
    run, colon, part = text.rpartition(":")
    if colon and _is_run(run):
        return run, part
    return None, ""


def _is_run(text: str) -> bool:
    if is_url(text):
        # A store has no empty folders, so a run is known by the files below its trials.
        return bool(store_of(text).list("trials"))
    return (Path(text).expanduser() / "trials").is_dir()


def names_run(text: str) -> bool:
    """Whether ``text`` names a run, or a cell or trial of one."""
    return split_run(text)[0] is not None


def find_artifact(
    text: str, best_trials: BestTrials | None, task: str, settled: str | None = None
) -> Artifact | None:
    """The trained model that ``text`` names; ``None`` where it names no run.

    For a run as a whole it is the first of its best trials whose model is for ``task``, if any is. ``settled``: the
    trial that ``text`` is already known to stand for, as ID or ID@STEP. Raises ``ModelError`` where there is no model,
    and for a base model.
    """
    run, part = split_run(text)
    if run is None:
        return None
    # A settled trial replaces the name of a run or a cell, whose best trial may be another one by now.
    part = part if settled is None else settled
    if best_trials is None and not part:
        raise ModelError(
            f"{text} does not name a single trial: give RUN:CELL, RUN:TRIAL, or the folder of a trial"
        )
    artifact = artifact_in_run(text, run, part, best_trials or (lambda _: ()), task)
    if artifact.untrained:
        raise ModelError(f"{text} is the untrained base model: name that itself, by model.name or model.path")
    return artifact


def artifact_in_run(text: str, run: str, part: str, best_trials: BestTrials, task: str) -> Artifact:
    """The model that ``part`` names in ``run``: a cell, a trial, TRIAL@STEP, or nothing for the run's best trial.

    ``text`` is what the user wrote. Raises ``ModelError`` where there is no such model.
    """
    name, at, step = part.partition("@")
    if at and not step.isdecimal():
        raise ModelError(f"{text}: {step!r} is no number of a step; give TRIAL@STEP, as 3f2a9c81d0b4@50")
    with local_copy(run) as small_files:
        trial = _trial_id(text, small_files, name, bool(at), best_trials, task)
        record = results.read_record(small_files / "trials" / trial)
        untrained = record is not None and record.role == "base"
        wanted = "config.json" if untrained else f"checkpoint-{step}" if at else "model"
        folder = local_path(run, small_files, trial, wanted)
    if not untrained and not folder.is_dir():
        raise ModelError(f"{text}: {_reason_missing(run, trial, record, wanted)}")
    return Artifact(folder, f"{trial}{at}{step}", record)


def _trial_id(text: str, run: Path, name: str, at_step: bool, best_trials: BestTrials, task: str) -> str:
    """The id of the trial that ``name`` stands for in a run: of the best trial of a cell, or of the one trial whose id
    begins so. Without a name it is the run's best trial, if possible one whose model is for ``task``.
    """
    folders = {folder.name: folder for folder in results.trial_folders(run)}
    if not name:
        candidates = best_trials(run)
        if not candidates:
            raise ModelError(
                f"{text} has no finished trial; `paretune status {shlex.quote(text)}` shows its state"
            )
        # The last stage may have trained a reward model, which a command that generates text can't use.
        return next((best for best in candidates if _task(best) == task), candidates[0]).trial_id
    records = [record for folder in folders.values() if (record := results.read_record(folder)) is not None]
    of_cell = [record for record in records if record.cell == name]
    if of_cell:
        # `results.best` considers search trials only, and the cell of a base model has none.
        best = of_cell[0] if of_cell[0].role == "base" else results.best(of_cell)
        if best is None:
            raise ModelError(f"{text}: no trial of {name} is done")
        if at_step:
            raise ModelError(
                f"{text}: @STEP needs a trial, not a cell; the best trial of {name} is {best.trial_id}"
            )
        return best.trial_id
    # A few characters may be a mistyped cell's name, so a short one counts only as a whole id.
    long_enough = len(name) >= MIN_ID_CHARACTERS
    matching = [trial for trial in folders if trial == name or (long_enough and trial.startswith(name))]
    if len(matching) == 1:
        return matching[0]
    cells = list(dict.fromkeys(record.cell for record in records))
    what = "the ids of several trials begin so" if matching else "no cell or trial of that name"
    raise ModelError(f"{text}: {what}; cells: {', '.join(cells) or 'none'}{did_you_mean(name, cells)}")


def _task(record: Record) -> str:
    return TrialConfig.model_validate(record.config).stage.purpose


def _reason_missing(run: str, trial: str, record: Record | None, wanted: str) -> str:
    """Why a trial does not have the model in ``wanted``, and which checkpoints it has."""
    folder = Path(run) / "trials" / trial
    # A half-written checkpoint can't be used, so only complete ones are offered.
    steps = sorted(step_of(path) for path in folder.glob("checkpoint-*") if is_complete(path))
    checkpoints = f"; its checkpoints: {', '.join(f'{trial}@{step}' for step in steps)}" if steps else ""
    if wanted != "model":
        return (
            f"there is no {wanted}{checkpoints or '; it kept no checkpoints (train.save_steps keeps them)'}"
        )
    return f"trial {trial} {f'ended as {record.status}' if record else 'has not ended'} and left no model{checkpoints}"
