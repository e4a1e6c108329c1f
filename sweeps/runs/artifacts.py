"""A run's models by RUN:CELL or RUN:TRIAL: which trial that is, and whether its model is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.runs.downloads import here, store_of
from sweeps.runs.reading import copied
from trainables import results
from trainables.models.folder import ModelError
from trainables.results import Record
from trainables.storage.urls import is_url
from trainables.system.suggestions import did_you_mean
from trainables.training.checkpoints import is_complete, step_of
from trainables.trial.config import TrialConfig

# A run's best trials, as its report answers, the first the last stage's.
Answers = Callable[[Path], Sequence[Record]]


SPEAKS = "CAUSAL_LM"  # the task of what one can talk to


LEAST = 4  # characters of a trial's id


@dataclass(frozen=True)
class Found:
    """What a trial of a run left: ``folder`` holds weights or an adapter, or, where nothing was trained, is a
    ``config.json``."""

    folder: Path
    trial: str  # its id, with @STEP for a checkpoint
    record: Record | None

    @property
    def untrained(self) -> bool:
        return self.record is not None and self.record.role == "base"


def _split(text: str) -> tuple[str | None, str]:
    """The run that ``text`` begins with, if any, and what follows its colon."""
    if _is_run(text):
        return text, ""
    run, colon, part = text.rpartition(":")
    if colon and _is_run(run):
        return run, part
    return None, ""


def _is_run(text: str) -> bool:
    if is_url(text):
        return bool(store_of(text).list("trials"))
    return (Path(text).expanduser() / "trials").is_dir()


def in_run(text: str) -> bool:
    """Whether ``text`` names a run, or what is in one."""
    return _split(text)[0] is not None


def left(text: str, answers: Answers | None, task: str, settled: str | None = None) -> Found | None:
    """What ``text`` names of a run, by the trial's id and its folder; ``None`` where it names no run.

    Of the best trials of a run as a whole it is the first whose model is for ``task``, if any is. ``settled``: the
    trial that ``text`` is known to stand for (an id, or ID@STEP). Raises ``ModelError`` where nothing was left.
    """
    run, part = _split(text)
    if run is None:
        return None
    part = part if settled is None else settled
    if answers is None and not part:
        raise ModelError(f"{text} names no one trial: give RUN:CELL, RUN:TRIAL, or the folder of a trial")
    found = _in(text, run, part, answers or (lambda _: ()), task)
    if found.untrained:
        raise ModelError(
            f"{text} is the base model as it comes: give that itself, by model.name or model.path"
        )
    return found


def _in(text: str, run: str, part: str, answers: Answers, task: str) -> Found:
    name, at, step = part.partition("@")
    with copied(run) as looked_at:
        trial = _trial(text, looked_at, name, bool(at), answers, task)
        record = results.read_record(looked_at / "trials" / trial)
        untrained = record is not None and record.role == "base"
        wanted = "config.json" if untrained else f"checkpoint-{step}" if at else "model"
        folder = here(run, looked_at, trial, wanted)
    if not untrained and not folder.is_dir():
        raise ModelError(f"{text}: {_lacks(run, trial, record, wanted)}")
    return Found(folder, f"{trial}{at}{step}", record)


def _trial(text: str, run: Path, name: str, at_step: bool, answers: Answers, task: str) -> str:
    """The id of the trial that ``name`` names in a run: a cell, or how a trial's id begins; without one the best, of
    a model for ``task`` if there is one."""
    folders = {folder.name: folder for folder in results.trial_folders(run)}
    if not name:
        answering = answers(run)
        if not answering:
            raise ModelError(f"{text} has no finished trial; `paretune status {text}` says what it is doing")
        return next((best for best in answering if _task(best) == task), answering[0]).trial_id
    records = [record for folder in folders.values() if (record := results.read_record(folder)) is not None]
    of_cell = [record for record in records if record.cell == name]
    if of_cell:
        best = of_cell[0] if of_cell[0].role == "base" else results.best(of_cell)
        if best is None:
            raise ModelError(f"{text}: no trial of {name} is done")
        if at_step:
            raise ModelError(f"{text}: a step is one of a trial; the best of {name} is {best.trial_id}")
        return best.trial_id
    found = [trial for trial in folders if trial == name or (len(name) >= LEAST and trial.startswith(name))]
    if len(found) == 1:
        return found[0]
    cells = list(dict.fromkeys(record.cell for record in records))
    said = "several trials begin so" if found else "no cell or trial of that name"
    raise ModelError(f"{text}: {said}; cells: {', '.join(cells) or 'none'}{did_you_mean(name, cells)}")


def _task(record: Record) -> str:
    return TrialConfig.model_validate(record.config).stage.task


def _lacks(run: str, trial: str, record: Record | None, wanted: str) -> str:
    """Why a trial has no such model, and which it has."""
    folder = Path(run) / "trials" / trial
    steps = sorted(step_of(path) for path in folder.glob("checkpoint-*") if is_complete(path))
    kept = f"; its checkpoints: {', '.join(f'{trial}@{step}' for step in steps)}" if steps else ""
    if wanted != "model":
        return f"there is no {wanted}{kept or '; it kept no checkpoints (train.save_steps keeps them)'}"
    return (
        f"trial {trial} {f'ended as {record.status}' if record else 'has not ended'} and left no model{kept}"
    )
