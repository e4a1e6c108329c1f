"""Scores test rows that ``data.eval_rows`` left out, with the models that the trials of a run kept.

They go beside a trial's own ``predictions.parquet``, which stays as it is, as does its record.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainables.data import loading
from trainables.data.arrow_rows import Rows
from trainables.data.errors import DataError
from trainables.data.kept_together import group_names
from trainables.evaluation import trial_rows
from trainables.inference.result import Result
from trainables.storage import files

FURTHER_ROWS = "further-predictions.parquet"


def count_further(result: Result) -> int:
    """How many test rows there are beyond a trial's own. Raises ``DataError`` for data that have changed."""
    return len(_further(result))


def score_further(result: Result, rows: int) -> None:
    """Scores a trial's model on so many test rows beyond its own, except for those that it was scored on already.

    Raises ``ModelError``, ``DataError``, and ``ArithmeticError`` for a score that is not finite: nothing is written.
    """
    from trainables.inference.model_pool import ModelPool

    assert result.run is not None
    assert result.record is not None
    trial_id = result.record.trial_id
    path = result.run / "trials" / trial_id / FURTHER_ROWS
    before = pq.read_table(path) if path.exists() else None
    done = 0 if before is None else before.num_rows
    further = _further(result)[done:rows]
    if not len(further):
        return
    data = trial_rows.load_rows(result)
    stage, cutoff = result.config.stage, result.config.data.scored_cutoff
    own = len(data.test)
    added = _as_rows(data.test, further)
    with ModelPool().load(result).active() as policy:
        scores = stage.score(policy, data, added, cutoff).in_groups(group_names(result.config.data, added))
    values = [row.score for row in scores.rows]
    if not np.isfinite(values).all():
        raise ArithmeticError(f"trial {trial_id}: a score of the further test rows is not finite")
    numbered = replace(scores, rows=tuple(replace(row, row=own + done + row.row) for row in scores.rows))
    table = pa.table(numbered.columns())
    both = table if before is None else pa.concat_tables([before, table], promote_options="permissive")
    with files.atomic(path) as temporary:
        pq.write_table(both, temporary)


def _further(result: Result) -> np.ndarray:
    """The numbers, in the table of the data, of the test rows beyond the trial's own, in their order.

    None where answers are judged by a function of the spec's: what a run folder names is not run.
    """
    config = trial_rows.local_config(result)
    data = trial_rows.load_rows(result)
    if config.data.eval_rows is None or config.data.is_judged_by_function:
        return np.array([], dtype=int)
    unlimited = config.data.model_copy(update={"eval_rows": None})
    every = loading.load(unlimited, config.stage.row_type).test
    assert isinstance(every, Rows)
    assert isinstance(data.test, Rows)
    own = len(data.test)
    if not np.array_equal(every.indices[:own], data.test.indices):
        raise DataError(f"{data.name}: its test rows are not the first of those that are held out")
    return every.indices[own:]


def _as_rows(test: Any, indices: np.ndarray) -> Rows[Any]:
    return Rows(test.table, indices, test.row_type, test.sha256)
