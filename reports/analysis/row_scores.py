"""The scores of a configuration's test rows, from which intervals and tests follow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from math import isclose
from typing import Any

from reports.statistics.estimates import Estimate, auc_estimate, mean_estimate
from reports.statistics.macro_f1 import macro_f1_estimate
from trainables.data.thinking import without_thinking
from trainables.results import Record, Run, reading, set_file

OWN_ROWS = "predictions.parquet"
# Beside it, with the same columns: held-out rows that the trial was scored on later (paretune settle).
FURTHER_ROWS = "further-predictions.parquet"
PAIR_ACCURACY = "pair_accuracy"
COLUMNS = (
    *("row", "prompt", "reference", "score", "weight", "good_worth", "bad_worth"),
    *("exact_match", PAIR_ACCURACY, "group"),
)
FRACTION = "fraction"
MACRO_F1 = "macro_f1"  # of the labels that rows have and were given
NO_PROMPT = ("", "[]", None)  # of running text


def estimate(run: Run, records: Sequence[Record], further: int = 0) -> Estimate | None:
    """The estimate of one configuration's quality from its trials, which differ in their seed alone.

    From the trials' ``predictions.parquet``; of a single trial whose quality is a share of rows also without it.
    ``None`` where a file is missing, doesn't give its trial's quality, or has other rows than the first. ``further``:
    how many of the rows that the trials were scored on later are counted, too.
    """
    own = _own_estimate(run, records)
    if own is None or not further:
        return own
    files = [[_scored_rows(run, record, file) for file in (OWN_ROWS, FURTHER_ROWS)] for record in records]
    if any(rows is None for pair in files for rows in pair):
        return own
    scored = [[*(rows or ()), *(later or ())[:further]] for rows, later in files]
    return _estimate(records[0], _keys(scored[0]), scored) if _same_rows(scored) else own


def set_estimate(run: Run, records: Sequence[Record], name: str) -> Estimate | None:
    """The estimate of one configuration's quality on a further evaluation set; ``None`` where one of the trials was
    not scored on it, and as of :func:`estimate`.
    """
    if not records or any(name not in record.sets for record in records):
        return None
    judged = []
    for record in records:
        found = record.sets[name]
        changes = {"quality": found.quality, "quality_name": found.quality_name, "test_rows": found.rows}
        judged.append(record.model_copy(update={**changes, "quality_unit": found.quality_unit}))
    return _own_estimate(run, judged, set_file(name))


def count_further(run: Run, records: Sequence[Record]) -> int:
    """The rows beyond their own that all of the trials were scored on."""
    import pyarrow.parquet as pq

    paths = [run.folder / "trials" / record.trial_id / FURTHER_ROWS for record in records]
    return min((pq.read_metadata(path).num_rows if path.exists() else 0 for path in paths), default=0)


def _own_estimate(run: Run, records: Sequence[Record], file: str = OWN_ROWS) -> Estimate | None:
    scored = [_scored_rows(run, record, file) for record in records]
    if not records or any(rows is None for rows in scored):
        return _from_counts(records[0]) if len(records) == 1 else None
    trials = [rows for rows in scored if rows is not None]
    if not _same_rows(trials):
        return None
    found = _estimate(records[0], _keys(trials[0]), trials)
    # A quality of another kind (one that is neither a mean nor an AUC) has no error to give.
    same = found is not None and all(
        isclose(value, record.quality or 0.0, rel_tol=1e-3, abs_tol=1e-6)
        for value, record in zip(found.qualities, records, strict=True)
    )
    return found if same else (_from_counts(records[0]) if len(records) == 1 else None)


def _keys(rows: Sequence[dict[str, Any]]) -> tuple[Any, ...]:
    return tuple((row["row"], row["prompt"], row["reference"]) for row in rows)


def _same_rows(trials: Sequence[Sequence[dict[str, Any]]]) -> bool:
    return all(_keys(rows) == _keys(trials[0]) for rows in trials[1:])


def _scored_rows(run: Run, record: Record, file: str) -> list[dict[str, Any]] | None:
    import pyarrow.parquet as pq

    path = run.folder / "trials" / record.trial_id / file
    if record.quality is None or not path.exists():
        return None
    with reading(path):
        # The files are small: to open one takes longer than to read it, and to wake other threads, too.
        with pq.ParquetFile(path) as opened:
            known = set(opened.schema_arrow.names)
            wanted = (*COLUMNS, "prediction") if record.quality_name == MACRO_F1 else COLUMNS
            table = opened.read([name for name in wanted if name in known], use_threads=False)
        rows = [row for row in table.to_pylist() if row["score"] is not None]
    return rows or None


def _estimate(record: Record, keys: Sequence[Any], trials: Sequence[list[dict[str, Any]]]) -> Estimate | None:
    found = _measured_estimate(record, keys, trials)
    grouped = (record.config.get("data") or {}).get("group") is not None and "group" in trials[0][0]
    return replace(found, cluster_noun="groups") if grouped and found is not None else found


def _measured_estimate(
    record: Record, keys: Sequence[Any], trials: Sequence[list[dict[str, Any]]]
) -> Estimate | None:
    # A measure that has a column of its own is not the one that `score` and `weight` are of; some rows may have none.
    column = str(record.quality_name) if record.quality_name in trials[0][0] else "score"
    kept = [number for number, row in enumerate(trials[0]) if row.get(column) is not None]
    trials, keys = [[rows[number] for number in kept] for rows in trials], [keys[number] for number in kept]
    rows = trials[0]
    prompts = [_cluster(row, index) for index, row in enumerate(rows)]
    if record.quality_name == "auc":
        good, bad = (
            [[row.get(name) for row in each] for each in trials] for name in ("good_worth", "bad_worth")
        )
        return auc_estimate(good, bad, keys, prompts=prompts)
    if record.quality_name == MACRO_F1:
        several = bool((record.config.get("stage") or {}).get("multi_label"))
        has = [labels_of(row["reference"], several) for row in rows]
        if not any(has):
            return None  # macro-F1 is a mean over the labels that rows have
        given = [[labels_of(row.get("prediction"), several) for row in each] for each in trials]
        return macro_f1_estimate(has, given, keys, prompts=prompts)
    if record.quality_name == PAIR_ACCURACY:
        # Stages on pairs and on labelled answers show other answers to the prompt, and compare the same two.
        keys = [key[:2] for key in keys]
    weighted = column == "score" and all(row.get("weight") is not None for row in rows)
    return mean_estimate(
        [[float(row[column]) for row in each] for each in trials],
        keys,
        weights=[row["weight"] for row in rows] if weighted else None,
        prompts=prompts,
        proportion=record.quality_unit == FRACTION,
    )


def labels_of(answer: str | None, several: bool) -> set[str]:
    """The labels that a text stands for: what follows a model's thoughts; a JSON list where ``several`` may apply."""
    found = json.loads(answer or "[]") if several else [without_thinking(answer or "")]
    return {label for label in found if label}


def _cluster(row: dict[str, Any], index: int) -> Any:
    """What a row shares with those that it isn't independent of: what the split keeps them together by, or where that
    is not recorded the prompt.
    """
    # Text without a prompt is not shared by its rows.
    return row.get("group") or (index if row["prompt"] in NO_PROMPT else row["prompt"])


def _from_counts(record: Record) -> Estimate | None:
    """Of a share of rows, whose error follows from their number; the rows have keys that no other trial has."""
    if record.quality is None or record.quality_unit != FRACTION or not record.test_rows:
        return None
    right = round(record.quality * record.test_rows)
    keys = [(record.trial_id, number) for number in range(record.test_rows)]
    scores = [1.0] * right + [0.0] * (record.test_rows - right)
    return mean_estimate([scores], keys, proportion=True)
