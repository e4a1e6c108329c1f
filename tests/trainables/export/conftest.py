"""A trained result that the tests of exports share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.exports import train_trial, trial_config
from tests.helpers.trials import write_rows


@pytest.fixture(scope="session")
def lora(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> str:
    """The name of a lora trial's result, RUN:TRIAL, in a run that has the untrained base model's trial too."""
    folder = tmp_path_factory.mktemp("served")
    rows = write_rows(folder / "ro`ws|1.jsonl")
    train_trial(trial_config(tiny_model, rows, None), folder / "run")
    return train_trial(trial_config(tiny_model, rows, "lora"), folder / "run")
