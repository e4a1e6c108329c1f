"""One trial from its config to its record, without Ray: what a slot's worker runs, and ``paretune try``.

Trains and scores, measures memory, writes the record. Whatever goes wrong in the trial becomes a record that says so.
"""

from __future__ import annotations

import json
import shutil
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from trainables.config.ending import EndingRules
from trainables.memory.in_trial import InTrial
from trainables.memory.measurement import is_out_of_memory
from trainables.memory.measuring_process import MeasuringFailed
from trainables.results import Record, Status, write_record
from trainables.runner.lifecycle import run_phases
from trainables.runner.trial_state import Trial, TrialContext
from trainables.storage import files, outage
from trainables.system import heap, provenance, redaction
from trainables.training.checkpoints import remove_incomplete
from trainables.training.training_callback import Control, NoControl
from trainables.training.worker_group import (
    WorkerGroupBroken,
    all_workers_failed,
    is_first_worker,
    is_lost_worker,
)
from trainables.trial.config import TrialConfig

__all__ = ["TrialContext", "end_trial", "is_out_of_memory", "run_trial", "would_retry"]


OUTSIDE_OF_SEARCH = EndingRules()


class MemoryGauge(Protocol):
    """Measures the memory of configs apart from their trials; a ``MeasuringProcess`` does."""

    def measure(self, config: TrialConfig) -> dict[str, Any]: ...


def run_trial(
    config: TrialConfig,
    context: TrialContext,
    control: Control | None = None,
    evaluate_at: frozenset[int] = frozenset(),
    memory_gauge: MemoryGauge | InTrial | None = None,
    halved: bool = False,
    local_config: TrialConfig | None = None,
    ending: EndingRules = OUTSIDE_OF_SEARCH,
) -> Record:
    """Runs a trial, or resumes it from its last complete checkpoint, and returns the record it wrote.

    ``evaluate_at``: steps at which the validation result is reported to ``control``, besides ``eval_steps`` and the
    last one. ``memory_gauge`` measures memory after the trial or, if it is an :class:`InTrial`, while it runs; ``None``
    where memory isn't measured. ``halved``: memory ran out before, so the trial runs with half the rows at a time.
    ``local_config`` is the config with paths on this machine, where ``config`` has others. ``ending``: how the trial
    may end early, and whether it is scored and measured then.

    What goes wrong inside the trial is not raised: the record's status and error say it. Raises what it meets when the
    run folder can't be written to (``outage.storage_failure``); called again, it resumes. Raises
    :class:`WorkerGroupBroken` where this worker would wait for another that is lost.
    """
    trial = Trial(
        config,
        local_config or config,
        context,
        control or NoControl(),
        {"started_at": provenance.now()},
        in_trial=memory_gauge if isinstance(memory_gauge, InTrial) else None,
        ending=ending,
    )
    if is_first_worker():
        files.write_json(trial.folder / "config.json", config.model_dump(mode="json"))
        remove_incomplete(trial.folder)
    if halved:
        record = _run_to_end(_with_half_the_rows(trial) or trial, evaluate_at, memory_gauge)
    else:
        record = _run_to_end(trial, evaluate_at, memory_gauge)
        if would_retry(trial.config, record, context.workers):
            smaller = _with_half_the_rows(trial)
            assert smaller is not None  # or it would not be retried
            record = _run_to_end(smaller, evaluate_at, memory_gauge)
    if is_first_worker():
        # The record first: killed between the two, a trial without either would be trained anew.
        write_record(trial.folder, record)
        _clear_checkpoints(config, trial.folder, record)
    return record


def _run_to_end(
    trial: Trial, evaluate_at: frozenset[int], memory_gauge: MemoryGauge | InTrial | None
) -> Record:
    """Runs a trial, and returns its record however it ends."""
    try:
        with heap.kept_heap():
            ended = run_phases(trial, evaluate_at)
        return _record_with_memory(trial, ended, memory_gauge)
    except Exception as error:
        # Before all else: another worker's end is no failure of this trial, and leaves no error.txt.
        if trial.in_lockstep and is_lost_worker(error):
            raise WorkerGroupBroken(str(error)) from error
        # Then a record can't be written either: the trial is resumed once the folder can be written to.
        if outage.storage_failure(error, trial.folder) is not None:
            raise
        trace = redaction.redacted(traceback.format_exc())
        # Its frames hold the model, and would as long as anything refers to the error.
        traceback.clear_frames(error.__traceback__)
        # A trace may quote text that is no Unicode.
        files.write_text(
            trial.folder / "error.txt", trace.encode("utf-8", "backslashreplace").decode("utf-8")
        )
        record = _failure_record(trial, error)
        # The others know of no error, and wait for this worker: the record leaves with the exception.
        if trial.in_lockstep and not all_workers_failed(str(record.error)):
            raise WorkerGroupBroken(record.error, record) from error
        return record


def _failure_record(trial: Trial, error: Exception) -> Record:
    message = f"{type(error).__name__}: {error}"
    if not is_out_of_memory(error):
        return trial.record("failed", message)
    trial.facts["out_of_memory_in"] = trial.phases.current
    return trial.record("out_of_memory", message)


def would_retry(config: TrialConfig, record: Record, workers: int) -> bool:
    """Whether a trial that ended with ``record`` is run once more with half the rows at a time.

    Fewer rows help only where memory ran out in the forward or backward pass.
    """
    allowed = config.train.retry_out_of_memory and record.retried_batch_size is None
    return (
        allowed and record.out_of_memory_in in ("forward", "backward") and config.halved(workers) is not None
    )


def _with_half_the_rows(trial: Trial) -> Trial | None:
    """The trial with half the rows at a time; ``None`` where the batch can't be halved."""
    halved = trial.config.halved(trial.context.workers)
    if halved is None:
        return None
    kept = ("started_at", "out_of_memory_in")
    facts = {name: value for name, value in trial.facts.items() if name in kept}
    facts["retried_batch_size"] = halved.train.batch_size
    return Trial(
        trial.requested,
        halved,
        trial.context,
        trial.control,
        facts,
        in_trial=trial.in_trial,
        ending=trial.ending,
    )


def _clear_checkpoints(config: TrialConfig, folder: Path, record: Record) -> None:
    """Removes checkpoints that only served to resume, once there is nothing to resume."""
    if config.train.save_steps is None and record.status in ("done", "stopped"):
        for path in folder.glob("checkpoint-*"):
            shutil.rmtree(path)


def end_trial(config: TrialConfig, context: TrialContext, status: Status, error: str) -> Record:
    """Writes and returns the record of a trial that ended without writing one itself."""
    record = Trial(config, config, context, NoControl()).record(status, error)
    write_record(context.folder(config), record)
    return record


def _record_with_memory(trial: Trial, status: Status, memory_gauge: MemoryGauge | InTrial | None) -> Record:
    """The trial's record; its memory is measured unless the run has a measurement of the same shape, or the trial is
    not scored either.
    """
    # One worker asks for all: measuring processes form a group of their own; what was read in the trial is shared.
    unfinished = status == "interrupted" and not trial.paused
    if memory_gauge is None or unfinished or not is_first_worker():
        return trial.record(status)
    gauge = trial.meter if isinstance(memory_gauge, InTrial) else memory_gauge
    shape = trial.config.memory_shape(trial.context.workers)
    trial.facts["memory_shape"] = shape
    known = trial.context.run / "memory" / f"{shape}.json"

    def measure() -> dict[str, Any]:
        return {"memory_trial": trial.requested.trial_id(), **gauge.measure(trial.config)}

    if not (trial.is_scored(status) or known.exists()):
        return _record_with_prediction(trial, status, measure if trial.meter.reads else None)
    try:
        measured = read_or_create(known, measure)
    except MeasuringFailed as error:
        if error.terminated:
            return trial.record("interrupted", "it was ended while its memory was measured")
        trial.facts |= {"out_of_memory_in": error.phase} if error.phase else {}
        return trial.record(
            "out_of_memory" if error.out_of_memory else "failed", f"measuring memory: {error}"
        )
    trial.facts |= {name: value for name, value in measured.items() if name in Record.model_fields}
    return trial.record(status)


def _record_with_prediction(
    trial: Trial, status: Status, measure: Callable[[], dict[str, Any]] | None
) -> Record:
    """The record of a trial that was stopped and is not scored, by the first of its memory shape. ``measure``: what was
    read in the trial, where it was.

    What was read is not kept for the shape: scoring, which may take more, has not been in it.
    """
    if measure is None:
        trial.facts["memory_source"] = "predicted"
    else:
        read = {**measure(), "peak_eval_bytes": None}
        trial.facts |= {name: value for name, value in read.items() if name in Record.model_fields}
    return trial.record(status)


def read_or_create(path: Path, create: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """The JSON at ``path``, created and written first if there is none. Of several processes that create it at once,
    the first one's stays.
    """
    if not path.exists():
        created = create()
        if not path.exists():
            files.write_json(path, created)
    return json.loads(path.read_text(encoding="utf-8"))
