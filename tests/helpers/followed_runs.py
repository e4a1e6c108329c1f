"""A run folder for the tests of trackers: two search trials, one that failed, their curves, a report's answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sweeps.tracking.base import Tracker
from sweeps.tracking.follower import RunFollower
from tests.helpers import run_folders
from trainables import results
from trainables.storage import files

SWEEP_ID = "a1b2c3"
WELL, OTHER, FAILED = "a" * 12, "b" * 12, "f" * 12
ANSWER = "# methods\n\n**lora** is enough.\n"


def write(run: Path) -> Path:
    """Three trials: one of rank 8, one of rank 4, one that failed."""
    environment = {
        "name": "methods",
        "question": "Which?",
        "wandb_id": SWEEP_ID,
        "command": "paretune run methods",
    }
    files.write_json(run / "environment.json", environment)
    add(run, WELL)
    add(run, OTHER, rank=4, learning_rate=2e-3)
    add(run, FAILED, record=run_folders.failed(FAILED, error="Something | broke."))
    files.write_text(run / "report" / "summary.md", ANSWER)
    return run


def add(
    run: Path,
    trial: str,
    rank: int = 8,
    learning_rate: float = 1e-3,
    batch_size: int = 8,
    record: results.Record | None = None,
) -> Path:
    """Adds an ended trial with curves of three steps, and writes the run's tables."""
    config: dict[str, Any] = {
        "cell": "sft-lora",
        "method_name": "lora",
        "method": {"kind": "lora", "rank": rank, "targets": ["q_proj", "v_proj"], "alpha": None},
        "stage": {"kind": "sft"},
        "train": {"learning_rate": learning_rate, "steps": 3, "packing": False, "batch_size": batch_size},
    }
    folder = run / "trials" / trial
    files.write_json(folder / "config.json", config)
    add_points(folder, 1, 2, 3)
    found = record or run_folders.record(trial, metrics={"exact_match": 0.9})
    results.write_record(folder, found.model_copy(update={"config": config}))
    results.write_tables(run)
    return folder


def add_points(folder: Path, *steps: int) -> None:
    with (folder / "curve.jsonl").open("a") as curve:
        for step in steps:
            curve.write(json.dumps({"step": step, "name": "train_loss", "value": step + 0.5}) + "\n")
            curve.write(json.dumps({"step": step, "name": "objective", "value": -float(step)}) + "\n")


def follow(run: Path, tracker: Tracker, summary: bool = True) -> None:
    """Has a tracker record the run until its end, in this process."""
    follower = RunFollower(run, tracker)
    follower.update(last=True)
    if summary:
        follower.tracked.summarize()
    follower.tracked.close()


def interrupt(run: Path) -> str:
    """Makes a trial one that was interrupted; returns its id."""
    _set_status(run, OTHER, "interrupted")
    return OTHER


def resume(run: Path, trial: str) -> None:
    """Makes an interrupted trial one that ended."""
    _set_status(run, trial, "done")


def _set_status(run: Path, trial: str, status: str) -> None:
    folder = run / "trials" / trial
    record = results.read_record(folder)
    assert record is not None
    results.write_record(folder, record.model_copy(update={"status": status}))
    results.write_tables(run)
