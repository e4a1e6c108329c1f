"""The further evaluation sets of a cell: what planning keeps of them, and what is wrong with their rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sweeps.planning.draft import Draft
from sweeps.planning.quality_rows import evaluation_sets
from sweeps.spec.problems import Problem
from trainables.data.arrow_rows import Rows
from trainables.data.evaluation_sets import EvaluationSet, same_prompts
from trainables.data.loading import Data
from trainables.data.overlaps import find_overlaps
from trainables.stages.base import TrainingStage
from trainables.stages.set_scores import set_scorings
from trainables.system.wording import counted
from trainables.trial.config import TrialConfig

FEW_ROWS = 30  # below which a set's figures mostly show chance


def planned_sets(data: Data) -> dict[str, Any]:
    """The setting ``planned_sets`` of data with further sets; empty without any."""
    found = {each.name: {"sha256": each.sha256, "quality": each.quality} for each in data.sets}
    return {"planned_sets": found} if found else {}


def set_problems(draft: Draft, configs: Sequence[TrialConfig], data: Data | None) -> Iterator[Problem]:
    """Sets that the stage's models can't be scored on."""
    for scoring in set_scorings(configs[0].stage, data) if configs and data is not None else ():
        if (what := scoring.problem()) is not None:
            yield draft.problem(("data", "eval", scoring.each.name), what)


def set_warnings(data: Data, each: EvaluationSet) -> Iterator[str]:
    """Rows of a set that were left out, are trained on or steer the search, and too few of them."""
    for what in each.warnings:
        yield f"evaluation set {each.name}: {what}"
    overlaps = find_overlaps(data.train, each.rows)
    trained_on = overlaps.warning() if overlaps is not None else None
    if trained_on:
        yield f"evaluation set {each.name}: {trained_on}"
    if isinstance(data.validation, Rows) and each.row_type is data.validation.row_type:
        steering = same_prompts(each, data.validation)
        if steering:
            yield (
                f"evaluation set {each.name}: {steering} of {counted(len(each.rows), 'row')} have the prompt of a "
                "validation row, by which the search is steered, so that its figures flatter the best trials"
            )
    if len(each.rows) < FEW_ROWS:
        yield (
            f"evaluation set {each.name} has {counted(len(each.rows), 'row')}: its figures mostly show chance; give "
            f"{FEW_ROWS} rows or more"
        )


def set_notes(stage: TrainingStage, data: Data) -> Iterator[str]:
    """What each set is, and which of its rows look like rows that are trained on."""
    by_name = {each.name: each for each in data.sets}
    for each in evaluation_sets(stage, data):
        rows = counted(each.rows, "row") if each.rows == each.total else f"{each.rows} of {each.total} rows"
        measure = (
            f"{each.metric.name.replace('_', ' ')}{f' ({each.metric.unit})' if each.metric.unit else ''}"
        )
        yield f"evaluation set {each.name}: {rows} of {each.source}, scored by {measure}; it steers nothing"
        overlaps = find_overlaps(data.train, by_name[each.name].rows)
        alike = overlaps.note() if overlaps is not None else None
        if alike is not None:
            yield f"evaluation set {each.name}: {alike}"
