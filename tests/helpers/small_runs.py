"""A run with a trial for each way of loading a result, made without Ray in seconds."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.trials import make_config, run, write_rows
from trainables import results
from trainables.inference.model_pool import LoadedModel, ModelPool
from trainables.inference.result import Result
from trainables.trial.config import TrialConfig

METHODS = ("full", "freeze", "lora", "qlora-4bit")


def make_run(folder: Path, model: Path, methods: tuple[str | None, ...] = (None, *METHODS)) -> Path:
    """Makes a run with a trial of each method; ``None`` is the base model's. Returns the run folder."""
    rows = write_rows(folder / "rows.jsonl")
    for method in methods:
        run(method_config(model, rows, method), folder / "run", memory_gauge=None)
    results.write_tables(folder / "run")
    return folder / "run"


def method_config(model: Path, rows: Path, method: str | None) -> TrialConfig:
    config = make_config(model, rows, method, steps=4, learning_rate=5e-3, save_steps=2)
    if method is None:
        return config
    return config.model_copy(update={"cell": f"sft-{method}", "method_name": method})


def load_untrained(folder: Path, model: Path) -> LoadedModel:
    """The untrained model in 32 bits, so that answers don't depend on rounding by batch; its result is called tiny."""
    config = method_config(model, write_rows(folder / "rows.jsonl"), None)
    float32 = config.model.model_copy(update={"dtype": "float32"})
    return ModelPool().load(Result("tiny", config.model_copy(update={"model": float32})))


def trial_id_of(run: Path, cell: str) -> str:
    return next(record.trial_id for record in results.read_run(run).records if record.cell == cell)
