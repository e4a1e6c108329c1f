"""The test rows that a cell's quality is measured on, and how many there could be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainables.data import arrow_rows
from trainables.data.kept_together import split_keys
from trainables.data.loading import Data, load
from trainables.stages.base import Metric, TrainingStage
from trainables.stages.set_scores import set_scorings
from trainables.trial.config import TrialConfig


@dataclass(frozen=True)
class QualityRows:
    """``rows`` of ``prompts`` different prompts, which are independent: of what the split keeps together, each counts
    once. ``held_out``: the test rows without the limit of ``data.eval_rows``.
    """

    rows: int
    prompts: int
    held_out: int
    metric: Metric


@dataclass(frozen=True)
class SetRows:
    """The rows of a further evaluation set: ``rows`` that are scored, of ``total``, from ``source``."""

    name: str
    source: str
    rows: int
    total: int
    metric: Metric


def evaluation_sets(stage: TrainingStage, data: Data) -> tuple[SetRows, ...]:
    """The further sets that a trial over ``data`` is scored on."""
    return tuple(
        SetRows(each.each.name, each.each.source, len(each.each.rows), each.each.total, each.metric)
        for each in set_scorings(stage, data)
    )


def quality_rows(config: TrialConfig, data: Data) -> QualityRows | None:
    """Those of a trial over ``data``; ``None`` where nothing is held out. Raises ``DataError`` as loading does."""
    rows = data.test
    if not len(rows) or not isinstance(rows, arrow_rows.Rows):
        return None
    keys = split_keys(config.data, rows.table)[rows.indices]
    unlimited = config.data.model_copy(update={"eval_rows": None})
    held_out = (
        len(rows) if config.data.eval_rows is None else len(load(unlimited, config.stage.row_type).test)
    )
    return QualityRows(len(rows), len(np.unique(keys)), held_out, config.stage.quality(data))
