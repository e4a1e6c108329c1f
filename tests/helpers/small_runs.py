"""A run of four trials, one for each way of loading what was trained, made without Ray in seconds."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.trials import make_config, run, write_rows
from trainables import results
from trainables.trial.config import TrialConfig

METHODS = ("full", "freeze", "lora", "qlora-4bit")


def make_run(folder: Path, model: Path, methods: tuple[str | None, ...] = (None, *METHODS)) -> Path:
    """The folder of a run with a trial of each method, and the base model's (``None``)."""
    rows = write_rows(folder / "rows.jsonl")
    for method in methods:
        run(config_of(model, rows, method), folder / "run", measuring=None)
    results.write_tables(folder / "run")
    return folder / "run"


def config_of(model: Path, rows: Path, method: str | None) -> TrialConfig:
    config = make_config(model, rows, method, steps=4, learning_rate=5e-3, save_steps=2)
    return (
        config
        if method is None
        else config.model_copy(update={"cell": f"sft-{method}", "method_name": method})
    )


def trial_of(run: Path, cell: str) -> str:
    return next(record.trial_id for record in results.read(run).records if record.cell == cell)
