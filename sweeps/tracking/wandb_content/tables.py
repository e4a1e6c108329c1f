"""The tables of W&B's runs: what a trial answered, trials that did not run to the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import wandb

from sweeps.tracking import run_report
from sweeps.tracking.run_summary import typed_columns
from trainables.results import Run, reading

MAX_ANSWERS = 20
COLUMNS = ("row", "prompt", "reference", "prediction", "score")


def table(rows: list[dict[str, Any]]) -> wandb.Table:
    """A table with the columns of all rows, each of one type; a row may lack some."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = typed_columns([{name: row.get(name) for name in names} for row in rows])
    return wandb.Table(columns=list(columns), data=list(zip(*columns.values(), strict=True)))


def answers(trial_folder: Path) -> Iterator[dict[str, Any]]:
    """The first test rows that a trial generated answers to, with their scores."""
    import pyarrow.parquet as pq

    path = trial_folder / "predictions.parquet"
    if not path.exists():
        return
    with reading(path):
        rows = pq.read_table(path, columns=list(COLUMNS)).to_pylist()
    generated = [row for row in rows if row["prediction"] is not None]
    for row in generated[:MAX_ANSWERS]:
        yield {
            "row": row["row"],
            "prompt": _prompt(row["prompt"]),
            "reference": run_report.shown(row["reference"]),
            "answer": run_report.shown(row["prediction"]),
            "score": row["score"],
        }


def _prompt(text: str | None) -> str:
    """The messages of a prompt, which are kept as JSON."""
    messages = json.loads(text or "[]")
    return run_report.shown_prompt(messages) if messages else ""


def failures(run: Run) -> list[dict[str, Any]]:
    """The trials that did not run to the end, with the reason."""
    return [
        {
            "trial": record.trial_id,
            "cell": run_report.shown(record.cell),
            "status": record.status,
            "steps": record.steps,
            "reason": run_report.shown(run_report.ending(record) or ""),
        }
        for record in run.records
        if record.status != "done"
    ]
