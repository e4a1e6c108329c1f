"""Trials to export, and `paretune export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from sweeps import cli
from tests.helpers.trials import make_config, run
from trainables import results
from trainables.trial.config import TrialConfig

LEARNING = {"learning_rate": 2e-2, "steps": 4}
METHODS: dict[str, dict[str, Any] | str] = {
    "full": "full",
    "freeze": "freeze",
    "lora": "lora",
    "dora": {"kind": "lora", "rank": 4, "dora": True},
    "rslora-pissa": {"kind": "lora", "rank": 4, "rslora": True, "init": "pissa"},
    "head": {"kind": "lora", "rank": 4, "modules_to_save": ["lm_head"]},
    "adapted-head": {"kind": "lora", "rank": 4, "targets": ["q_proj", "lm_head"]},
    "qlora-4bit": "qlora-4bit",
    "qlora-8bit": "qlora-8bit",
}


def trial_config(model: Path, rows: Path | str, name: str | None, **leaves: Any) -> TrialConfig:
    """The config of a trial with the method of that name, in a cell that is named after it."""
    config = make_config(model, rows, METHODS[name] if name else None, **{**LEARNING, **leaves})
    cell = f"{config.stage.kind}-{name or 'base'}"
    return config.model_copy(update={"cell": cell, "method_name": name or "base"})


def train_trial(config: TrialConfig, folder: Path) -> str:
    """Runs a trial. Returns the name of its result: RUN:TRIAL."""
    run(config, folder)
    results.write_tables(folder)
    return f"{folder}:{config.trial_id()}"


def export(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["export", *map(str, arguments)])


def export_successfully(*arguments: str | Path) -> Result:
    """An export that is expected to succeed."""
    command = export(*arguments)
    assert command.exit_code == 0, f"{command.output}\n{command.stderr}\n{command.exception!r}"
    return command
