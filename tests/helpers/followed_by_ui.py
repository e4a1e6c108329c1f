"""Runs that grow and end as those that pages follow, and a driver that holds one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweeps.runs import lock
from sweeps.runs.layout import SIGNS
from sweeps.ui.snapshots.reader import RunReader
from sweeps.ui.snapshots.snapshot import RunSnapshot
from tests.helpers.run_folders import record
from trainables import results
from trainables.storage import files


def new_run(made: Path) -> Path:
    """A run of one cell of four trials, of which none has begun."""
    files.write_json(made / "environment.json", {"name": "methods", "plan": {"trials": {"sft-lora": 4}}})
    return made


def config(rank: int = 8, rate: float = 1e-3, steps: int = 40, **changes: Any) -> dict[str, Any]:
    train = {"learning_rate": rate, "steps": steps, "seed": 0}
    return {
        "cell": "sft-lora", "role": "search", "method_name": "lora", "stage": {"kind": "sft"},
        "method": {"kind": "lora", "rank": rank}, "train": train, "model": {"name": "tiny"}, "data": {"name": "rows"},
    } | changes  # fmt: skip


def begin(run: Path, trial: str, steps: int = 0, **settings: Any) -> Path:
    folder = run / "trials" / trial
    files.write_json(folder / "config.json", config(**settings))
    if steps:
        add_steps(folder, 1, steps)
    return folder


def add_steps(folder: Path, first: int, last: int) -> None:
    with (folder / "curve.jsonl").open("a") as curve:
        for step in range(first, last + 1):
            curve.write(json.dumps({"step": step, "name": "train_loss", "value": 1 / step}) + "\n")


def end(
    run: Path, trial: str, steps: int = 40, settings: dict[str, Any] | None = None, **values: Any
) -> None:
    settings = settings or {}
    folder = begin(run, trial, steps, **settings)
    results.write_record(folder, record(trial, config=config(**settings), **{"steps": steps, **values}))


def read(run: Path) -> RunSnapshot:
    return RunReader("0" * 12, str(run), run).read()


@contextmanager
def driven(run: Path, **said: str) -> Iterator[None]:
    """Holds the run as a driver does, which says what its trials are doing."""
    with lock.held(run):
        if said:
            files.write_json(run / SIGNS, {"trials": said, "waits": ["sft-lora waits for a GPU"]})
        yield
