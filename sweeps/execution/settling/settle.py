"""``paretune settle``: spends a given time on what is most likely to settle a run's open comparisons.

Everything is added beside what the run has: further finalists are trials of their own, further test rows files of their
own. Whatever ends it early, the run is as valid as before, and the same command goes on.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from sweeps.execution.run_folder import add_seconds
from sweeps.execution.settling import further_rows, looks
from sweeps.execution.settling.means import Means
from sweeps.runs.status import run_state
from sweeps.runs.status_text import remaining_text
from sweeps.spec.problems import Problem, SpecError
from trainables import results
from trainables.data.errors import DataError
from trainables.models.folder import ModelError
from trainables.system.signals import handling
from trainables.system.wording import counted
from trainables.training.training_callback import NoControl
from trainables.trial.config import TrialConfig, read_config

Log = Callable[[str], object]


class Training(Protocol):
    """A configuration to train with another seed (``reports.analysis.further_work.spending``)."""

    @property
    def cell(self) -> str: ...
    @property
    def trial_id(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def further_rows(self) -> int: ...
    @property
    def seconds(self) -> float: ...


class Scoring(Protocol):
    """Test rows to score with the models of trials (``reports.analysis.further_work.spending``)."""

    @property
    def trial_ids(self) -> tuple[str, ...]: ...
    @property
    def rows(self) -> int: ...
    @property
    def seconds(self) -> float: ...


class Spending(Protocol):
    """What to spend the time on (``reports.analysis.further_work.spending``)."""

    @property
    def open(self) -> tuple[str, ...]: ...
    @property
    def scorings(self) -> Sequence[Scoring]: ...
    @property
    def trainings(self) -> Sequence[Training]: ...
    @property
    def settled(self) -> float: ...
    @property
    def seconds(self) -> float: ...


class Advice(Protocol):
    """What reports know of a run: what to spend time on, and how each comparison stands."""

    def spend(
        self,
        run: Path,
        seconds: float,
        unused_rows: Callable[[str], int],
        can_train: Callable[[str], bool],
    ) -> Spending: ...

    def outcomes(self, run: Path) -> Mapping[str, str]: ...

    def settled_pairs(self, run: Path) -> Sequence[tuple[str, str]]: ...

    def duration(self, seconds: float) -> str: ...


def settle(run: Path, seconds: float, advice: Advice, log: Log, trust: Sequence[str] = ()) -> bool:
    """Adds seeds and test rows to a run for at most so long; returns whether there is something new to report.

    Raises ``SpecError`` for a run whose search has not ended, ``ValueError`` for damaged files, and
    ``KeyboardInterrupt`` when it was interrupted, after the run's tables have got what had been added.
    """
    _refuse_unfinished(run)
    means = Means(run, trust)
    found = advice.spend(run, seconds, means.unused_rows, means.can_train)
    if not found.open:
        log("Nothing is open: the report says of every cell how it compares with the best.")
        return False
    log(f"{counted(len(found.open), 'comparison')} {'is' if len(found.open) == 1 else 'are'} open:")
    for text in (*found.open, *means.reasons):
        log(f"  {text}")
    if not found.scorings and not found.trainings:
        log(
            f"In {advice.duration(seconds)} none of them can be expected to be settled"
            f"{f' (about {found.settled:.2f})' if found.settled > 0 else ''}: nothing is trained or scored."
        )
        return False
    log(
        f"To be added: {_what(found)}. That takes about {advice.duration(found.seconds)}, and is expected to settle "
        f"{found.settled:.1f} of {len(found.open)}."
    )
    looks.begin(run, advice.settled_pairs(run))
    started = time.monotonic()
    try:
        with _interruptible(log) as interruption:
            _spend(found, means, Limit(started + seconds, interruption), log)
    finally:
        results.write_tables(run)
        add_seconds(run, time.monotonic() - started)
    looks.mark_reported(run)
    return True


class Interruption:
    """Whether Ctrl-C was pressed, and whether a trial trains now, which then saves itself first."""

    def __init__(self) -> None:
        self.requested = self.training = False


class Limit(NoControl):
    """Ends a trial at its next step, with a checkpoint, once the time is up or Ctrl-C was pressed."""

    def __init__(self, deadline: float, interruption: Interruption) -> None:
        self.deadline, self.interruption = deadline, interruption

    def interrupted(self) -> bool:
        return self.interruption.requested or time.monotonic() > self.deadline

    def has_time_for(self, seconds: float) -> bool:
        return time.monotonic() + seconds <= self.deadline


@contextmanager
def _interruptible(log: Log) -> Iterator[Interruption]:
    """Ctrl-C and SIGTERM have a trial save itself and end the block; the second one ends it at once."""
    interruption = Interruption()

    def leave(number: int, frame: Any) -> None:
        if interruption.requested or not interruption.training:
            raise KeyboardInterrupt
        interruption.requested = True
        log("The trial saves itself at its next step; Ctrl-C again ends it at once.")

    with handling([signal.SIGINT, signal.SIGTERM], leave):
        yield interruption


def _spend(found: Spending, means: Means, limit: Limit, log: Log) -> None:
    """Rows first: they are scored in seconds, and models that are trained afterwards are scored on them at once."""
    for scoring in found.scorings:
        log(f"scoring {counted(scoring.rows, 'test row')} beyond the {len(scoring.trial_ids)} models' own")
        for trial_id in scoring.trial_ids:
            _score(means, trial_id, scoring.rows, log)
    for number, training in enumerate(found.trainings, start=1):
        if not limit.has_time_for(training.seconds):
            left = len(found.trainings) - number + 1
            log(f"The time is up: {counted(left, 'training')} {'is' if left == 1 else 'are'} left out.")
            return
        log(f"{number} of {len(found.trainings)}: {training.cell} with seed {training.seed}")
        _train(training, means, limit, log)


def _train(training: Training, means: Means, limit: Limit, log: Log) -> None:
    from sweeps.console.sweep_progress import describe
    from trainables.runner.run import TrialContext, run_trial

    config = means.config(training.trial_id, training.seed)
    trial_id = config.trial_id()
    means.write_config(config)
    limit.interruption.training = True
    record = run_trial(
        config,
        TrialContext(means.run, handed_over_at=time.time()),
        limit,
        memory_gauge=_kept_measurement(means.run, config),
        local_config=means.local(config),
    )
    limit.interruption.training = False
    log(f"  {describe(record)}")
    if limit.interruption.requested:
        raise KeyboardInterrupt
    if record.status == "done" and training.further_rows:
        _score(means, trial_id, training.further_rows, log)


def _score(means: Means, trial_id: str, rows: int, log: Log) -> None:
    try:
        further_rows.score_further(means.result(trial_id), rows)
    except (ModelError, DataError, ArithmeticError) as error:
        # Its group stays with the rows that all models were scored on.
        log(f"  {error}")


class _KeptMeasurement:
    def measure(self, config: TrialConfig) -> dict[str, Any]:
        raise LookupError("only called where the run has no measurement of this shape")


def _kept_measurement(run: Path, config: TrialConfig) -> _KeptMeasurement | None:
    """Another seed needs the same memory: the run's measurement goes into the record, and none is made."""
    return _KeptMeasurement() if (run / "memory" / f"{config.memory_shape()}.json").exists() else None


def _refuse_unfinished(run: Path) -> None:
    for folder in results.trial_folders(run):
        config = read_config(folder)
        if config.role != "finalist" and not results.has_ended(folder):
            what = f"trial {folder.name} of {config.cell} has not ended; first paretune run SPEC --resume"
            raise SpecError(Problem(str(run), "", what))
    # Trials that were not begun have no folder.
    state = run_state(run)
    if state.remaining:
        raise SpecError(Problem(str(run), "", f"{remaining_text(state)}; first paretune run SPEC --resume"))


def _what(found: Spending) -> str:
    rows = [f"{counted(step.rows, 'test row')} beyond those of each trial" for step in found.scorings]
    seeds: dict[str, int] = {}
    for step in found.trainings:
        seeds[step.cell] = seeds.get(step.cell, 0) + 1
    more = [f"{counted(count, 'more seed')} of {cell}" for cell, count in seeds.items()]
    return ", ".join([*rows, *more])
