"""The shipped spec on the real SmolLM2-135M: minutes, so `make slow` runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from trainables import results
from trainables.memory.measuring_process import MeasuringProcess
from trainables.results import Record
from trainables.trial.config import TrialConfig

pytestmark = pytest.mark.slow

METHODS = ("full", "freeze", "lora", "qlora-4bit")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    output = tmp_path_factory.mktemp("runs")
    for method in METHODS:
        command = [sys.executable, "-m", "sweeps.cli", "try", "methods", "--method", method]
        options = ["--output", str(output), "--set", "train.steps=3", "--set", "data.eval_rows=8"]
        subprocess.run([*command, *options], check=True, timeout=600, env={**os.environ})
    found = [results.read_record(folder) for folder in results.trial_folders(output / "methods-try")]
    return {record.method: record for record in found if record is not None}


def test_every_method_of_the_demo_trains_and_is_scored(records: dict[str, Record]) -> None:
    assert set(records) == set(METHODS)
    assert all(record.status == "done" and record.quality is not None for record in records.values())


def test_memory_is_ordered_as_physics_says(records: dict[str, Record]) -> None:
    peak = {method: record.peak_train_bytes or 0 for method, record in records.items()}
    assert peak["full"] > peak["lora"] > peak["qlora-4bit"] > 0
    assert peak["lora"] > peak["freeze"]  # its backward pass ends early
    weights = {method: record.weight_bytes or 0 for method, record in records.items()}
    assert weights["full"] == pytest.approx(4 * 134_515_008, abs=1024)  # and the rotary frequencies
    assert weights["qlora-4bit"] < weights["lora"] / 2


def test_an_optimizer_state_is_eight_bytes_per_trained_parameter(records: dict[str, Record]) -> None:
    for record in records.values():
        assert record.optimizer_bytes == pytest.approx(8 * (record.trainable_params or 0), rel=1e-3)


@pytest.mark.parametrize("method", ["lora", "qlora-4bit"])
def test_a_warm_process_measures_the_real_model_as_a_fresh_one_does(
    records: dict[str, Record], method: str
) -> None:
    configs = {name: TrialConfig.model_validate(record.config) for name, record in records.items()}
    other = {"lora": "qlora-4bit", "qlora-4bit": "lora"}[method]
    warm = measured_in_turn([configs["full"], configs[other], configs[method]])[-1]
    fresh = measured_in_turn([configs[method]])[-1]
    for peak in ("peak_load_bytes", "peak_train_bytes", "peak_eval_bytes"):
        assert warm[peak] == pytest.approx(fresh[peak], rel=0.02), peak


def measured_in_turn(configs: list[TrialConfig]) -> list[dict[str, Any]]:
    """What one process measures of them, one after another."""
    process = MeasuringProcess()
    try:
        return [process.measure(config) for config in configs]
    finally:
        process.close()
