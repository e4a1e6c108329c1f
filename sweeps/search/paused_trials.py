"""The trials of searches in breadth that have paused at a rung, until those of their cell are compared there.

A paused trial holds no slot. That it has paused follows from its curve, which ends at a rung; its record, if it has
one, says that it is unfinished. So a sweep that is resumed after any kind of end knows what an undisturbed one knows.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeps.search.promotion import Standing, Verdicts, verdicts
from sweeps.search.study import CellStudy
from trainables import results
from trainables.results import Record
from trainables.system import provenance
from trainables.training.best_validation import BestValidation
from trainables.training.checkpoints import Progress
from trainables.trial.config import TrialConfig


class PausedTrials:
    """``passed``: the rung up to which each trial that goes on has been compared. ``compared``: of each cell, the rungs
    at which all of its trials have been.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.passed: dict[str, int] = {}
        self.compared: dict[str, tuple[int, ...]] = {}
        self._paused: dict[str, dict[str, TrialConfig]] = {}  # by cell and trial
        self._ended: dict[str, Standing] = {}  # by trial: what does not change any more

    def __iter__(self) -> Iterator[TrialConfig]:
        return iter([config for trials in self._paused.values() for config in trials.values()])

    def __bool__(self) -> bool:
        return any(self._paused.values())

    def take(self, study: CellStudy, config: TrialConfig) -> bool:
        """Takes an unfinished trial if it has paused; returns whether it has."""
        if not study.cell.search.breadth_first:
            return False
        standing = self.standing(study, config.trial_id())
        rung = max(standing.values, default=0)
        if not rung or standing.passed(rung) or standing.ended:
            self.passed[config.trial_id()] = rung
            return False
        self._paused.setdefault(study.cell.name, {})[config.trial_id()] = config
        return True

    def decide(self, study: CellStudy) -> tuple[list[TrialConfig], list[TrialConfig]]:
        """The paused trials of a cell that go on now, and those that are behind; neither are paused any more."""
        paused = self._paused.get(study.cell.name, {})
        found = self._verdicts(study)
        self.compared[study.cell.name] = found.compared
        self.passed |= found.promoted
        promoted = [paused.pop(trial_id) for trial_id in list(paused) if trial_id in found.promoted]
        behind = [paused.pop(trial_id) for trial_id in list(paused) if trial_id in found.behind]
        return promoted, behind

    def _verdicts(self, study: CellStudy) -> Verdicts:
        trials = [self.standing(study, trial_id) for trial_id in study.proposed()]
        search = study.cell.search
        return verdicts(study.cell.rungs, search.reduction_factor, trials, not study.has_more())

    def standing(self, study: CellStudy, trial_id: str) -> Standing:
        if trial_id in self._ended:
            return self._ended[trial_id]
        folder = self.run / "trials" / trial_id
        record, points = results.read_record(folder), list(results.read_curve(folder))
        values = results.values_at(points, study.cell.comparisons)
        last = max((point["step"] for point in points), default=0)
        step = max(last, (record.steps or 0) if record is not None else 0)
        final = record is not None and record.status != "interrupted"
        early = (
            record.ended_early if record is not None and final else _is_done_early(study, trial_id, points)
        )
        if early:  # at a rung it was not compared, though it may still be scored
            values.pop(step, None)
        standing = Standing(trial_id, values, step, ended=final or early)
        if final:
            self._ended[trial_id] = standing
        return standing

    def stop(self, study: CellStudy, config: TrialConfig) -> Record:
        """Gives a paused trial that is behind its final record: it trained up to its rung, and is not scored."""
        trial_id = config.trial_id()
        folder = self.run / "trials" / trial_id
        rung, value = max(self.standing(study, trial_id).values.items())
        by = study.cell.comparisons[rung]
        return give_final_record(
            folder, config, status="stopped", steps=rung, objective=value, compared_by=by
        )

    def drop(self, config: TrialConfig) -> None:
        """Forgets a trial that has ended otherwise."""
        self._paused.get(config.cell, {}).pop(config.trial_id(), None)


def _is_done_early(study: CellStudy, trial_id: str, points: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a trial without a final record is done by its curve, as its validations got no better."""
    cell = study.cell
    given = (cell.tree.get("train") or {}).get("early_stopping")
    if given is None and "train.early_stopping" not in cell.space:  # most cells: no config is built
        return False
    train = study.config_of(trial_id).train
    # Of one that trains for epochs the length is not known here. If it is shorter, and the rule holds at its last step,
    # it has nothing left to train either.
    steps = train.steps or cell.steps
    best = BestValidation(train, steps, Progress())
    for point in points:
        if point["name"] == "objective" and point["step"] < steps:
            best.add(point["step"], point["value"])
            if point["step"] in best.counted_steps and best.end_reason is not None:
                return True
    return False


def give_final_record(folder: Path, config: TrialConfig, **ended: Any) -> Record:
    """Gives a trial that has paused, or was interrupted, its final record: it resumes no more, its checkpoints go."""
    # A driver that was killed may have left the trial without a record.
    begun = results.read_record(folder) or Record(**config.identity(), status="interrupted")
    record = begun.model_copy(update={"ended_at": begun.ended_at or provenance.now(), **ended})
    results.write_record(folder, record)
    if config.train.save_steps is None:
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    return record
