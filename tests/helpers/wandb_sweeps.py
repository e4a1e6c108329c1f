"""A run folder for the tests of W&B: a base model and two methods, trained for four steps; a trial that was stopped."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.helpers import run_folders, small_runs
from trainables import results
from trainables.storage import files

STOPPED = "5" * 12
ANSWERS = {
    "sft-full": "this",
    "sft-lora": "that",
    "sft-base": "neither",
}  # by cell, as the report orders them


def write(
    folder: Path, model: Path, name: str = "methods", sweep: str = "a1b2c3", tracking: str = ""
) -> Path:
    """Makes the run in a folder of its name. ``tracking``: that section of its spec."""
    folder.mkdir(parents=True)
    run = small_runs.make_run(folder, model, (None, "full", "lora")).rename(folder / name)
    environment = {
        "name": name,
        "question": "Which?",
        "command": f"paretune run {name}",
        "wandb_id": sweep,
        "rungs": {"sft-full": [1, 2], "sft-lora": [1, 2]},
    }
    files.write_json(run / "environment.json", environment)
    files.write_text(run / "spec.yaml", f"name: {name}\n{tracking}")
    _add_answers(run)
    _add_stopped(run)
    results.write_tables(run)
    return run


def _add_answers(run: Path) -> None:
    """Replaces the tiny model's answers, which are empty, by one for each cell."""
    for folder in results.trial_folders(run):
        record = results.read_record(folder)
        assert record is not None
        path = folder / "predictions.parquet"
        rows = pq.read_table(path).to_pylist()
        answered = [{**row, "prediction": ANSWERS[record.cell]} for row in rows]
        pq.write_table(pa.Table.from_pylist(answered), path)


def _add_stopped(run: Path) -> None:
    lora = next(
        each for each in results.trial_folders(run) if "sft-lora" in (each / "config.json").read_text()
    )
    record = results.read_record(lora)
    assert record is not None
    folder = run / "trials" / STOPPED
    files.write_text(folder / "config.json", (lora / "config.json").read_text())
    run_folders.write_curves(run, STOPPED, 0.5, 2)
    nothing = dict.fromkeys(("quality", "quality_name", "quality_unit", "test_rows"))
    stopped = record.model_copy(update={"trial_id": STOPPED, "status": "stopped", "steps": 2, **nothing})
    results.write_record(folder, stopped)
