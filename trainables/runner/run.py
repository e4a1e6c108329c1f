"""One trial from config to record, with no Ray at all: what a slot's worker runs, and ``paretune try``.

Follow its course, measure memory, write the record. Whatever goes wrong becomes a record that says so.
"""

from __future__ import annotations

import json
import shutil
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from trainables.memory.measurement import is_out_of_memory
from trainables.memory.measuring_process import MeasuringFailed
from trainables.results import Record, Status, write_record
from trainables.runner.lifecycle import follow
from trainables.runner.trial_state import Place, Trial
from trainables.storage import files, outage
from trainables.system import provenance, redaction
from trainables.training.training_callback import Alone, Control
from trainables.training.worker_group import GroupBroken, all_failed, first_rank, is_lost_worker
from trainables.trial.config import TrialConfig

__all__ = ["Place", "end_trial", "is_out_of_memory", "run_trial", "would_retry"]


class Measures(Protocol):
    """What can measure a config's memory: a ``MeasuringProcess``."""

    def measure(self, config: TrialConfig) -> dict[str, Any]: ...


def run_trial(
    config: TrialConfig,
    place: Place,
    control: Control | None = None,
    evaluate_at: frozenset[int] = frozenset(),
    measuring: Measures | None = None,
    halved: bool = False,
    here: TrialConfig | None = None,
) -> Record:
    """Runs a trial, or resumes it from its last complete checkpoint, and returns the record it wrote.

    ``evaluate_at``: steps at which the validation result is reported to ``control``, besides ``eval_steps``
    and the last. ``halved``: memory ran out before, so half the rows are taken at a time. ``here`` is the config with
    paths that are on this machine, where its own are not. Never raises for what goes wrong inside the trial: the
    record's status and error say it. Raises what it meets when the run folder can't be written to
    (``trouble.of_storage``): called again, it goes on. :class:`GroupBroken` leaves it where another worker is lost to
    this one.
    """
    trial = Trial(config, here or config, place, control or Alone(), {"started_at": provenance.now()})
    if first_rank():
        files.write_json(trial.folder / "config.json", config.model_dump(mode="json"))
    if halved:
        record = _ended(_smaller(trial) or trial, evaluate_at, measuring)
    else:
        record = _ended(trial, evaluate_at, measuring)
        if (smaller := _to_be_retried(trial, record)) is not None:
            record = _ended(smaller, evaluate_at, measuring)
    if first_rank():
        write_record(trial.folder, record)
        _clear_checkpoints(config, trial.folder, record)
    return record


def _ended(trial: Trial, evaluate_at: frozenset[int], measuring: Measures | None) -> Record:
    """Runs a trial to its end, whatever that is."""
    try:
        return _with_memory(trial, follow(trial, evaluate_at), measuring)
    except Exception as error:
        if trial.together and is_lost_worker(error):
            raise GroupBroken(str(error)) from error
        if outage.of_storage(error, trial.folder) is not None:
            raise
        trace = redaction.redacted(traceback.format_exc())
        (trial.folder / "error.txt").write_text(trace, encoding="utf-8", errors="backslashreplace")
        record = _failed(trial, error)
        if trial.together and not all_failed(str(record.error)):
            raise GroupBroken(record.error, record) from error
        return record


def _failed(trial: Trial, error: Exception) -> Record:
    what = f"{type(error).__name__}: {error}"
    if not is_out_of_memory(error):
        return trial.record("failed", what)
    trial.facts["out_of_memory_in"] = trial.phases.now
    return trial.record("out_of_memory", what)


def _to_be_retried(trial: Trial, record: Record) -> Trial | None:
    """The trial with half the rows at a time, where the config allows it and fewer rows would help."""
    return _smaller(trial) if would_retry(trial.config, record, trial.place.workers) else None


def would_retry(config: TrialConfig, record: Record, workers: int) -> bool:
    """Whether a trial that ended so is to be tried once more with half the rows."""
    again = config.train.retry_out_of_memory and record.retried_batch_size is None
    return again and record.out_of_memory_in in ("forward", "backward") and config.halved(workers) is not None


def _smaller(trial: Trial) -> Trial | None:
    """The trial with half the rows at a time; ``None`` where that can't be."""
    halved = trial.config.halved(trial.place.workers)
    if halved is None:
        return None
    kept = ("started_at", "out_of_memory_in")
    facts = {name: value for name, value in trial.facts.items() if name in kept}
    facts["retried_batch_size"] = halved.train.batch_size
    return Trial(trial.asked, halved, trial.place, trial.control, facts)


def _clear_checkpoints(config: TrialConfig, folder: Path, record: Record) -> None:
    """Removes checkpoints that only served to resume, once there is nothing to resume."""
    if config.train.save_steps is None and record.status in ("done", "stopped"):
        for path in folder.glob("checkpoint-*"):
            shutil.rmtree(path)


def end_trial(config: TrialConfig, place: Place, status: Status, error: str) -> Record:
    """The record of a trial that could not even say what befell it; written and returned."""
    record = Trial(config, config, place, Alone()).record(status, error)
    write_record(place.folder(config), record)
    return record


def _with_memory(trial: Trial, status: Status, measuring: Measures | None) -> Record:
    if measuring is None or status == "interrupted" or not first_rank():
        return trial.record(status)
    shape = trial.config.memory_shape(trial.place.workers)
    trial.facts["memory_shape"] = shape
    try:
        found = once(trial.place.run / "memory" / f"{shape}.json", lambda: _measured(trial, measuring))
    except MeasuringFailed as error:
        if error.told_to_end:
            return trial.record("interrupted", "it was ended while its memory was measured")
        trial.facts |= {"out_of_memory_in": error.phase} if error.phase else {}
        return trial.record(
            "out_of_memory" if error.out_of_memory else "failed", f"measuring memory: {error}"
        )
    trial.facts |= {name: value for name, value in found.items() if name in Record.model_fields}
    return trial.record(status)


def _measured(trial: Trial, measuring: Measures) -> dict[str, Any]:
    return {"memory_trial": trial.asked.trial_id(), **measuring.measure(trial.config)}


def once(path: Path, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """The JSON at ``path``; made and written first if it isn't there. The first to write it is believed."""
    if not path.exists():
        made = make()
        if not path.exists():
            files.write_json(path, made)
    return json.loads(path.read_text(encoding="utf-8"))
