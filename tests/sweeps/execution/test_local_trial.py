"""How the memory of ``paretune try``'s trial is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeps.execution import local_trial
from tests.helpers.specs import plan, spec_folder
from trainables.memory.in_trial import InTrial


class NoProcess:
    """In the place of the process that measures."""

    started = 0

    def __init__(self, threads: int) -> None:
        NoProcess.started += 1

    def begin(self, config: Any, run: Path) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize(("gpus", "processes"), [([24 * 2**30], 0), ([], 1)])
def test_on_a_gpu_memory_is_read_in_the_trial_and_no_process_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: list[int], processes: int
) -> None:
    planned = plan(spec_folder(tmp_path))
    monkeypatch.setattr(NoProcess, "started", 0)
    monkeypatch.setattr(local_trial, "ParallelMeasurement", NoProcess)
    monkeypatch.setattr(local_trial.machine, "gpu_memory_bytes", lambda: gpus)
    gauges: list[Any] = []

    def run_trial(config: Any, context: Any, steps: Any, evaluate_at: Any, gauge: Any) -> None:
        gauges.append(gauge)

    monkeypatch.setattr("trainables.runner.run.run_trial", run_trial)
    local_trial.run_one_trial(planned, "sft-lora", tmp_path / "run", print)
    assert [type(gauge) for gauge in gauges] == [NoProcess if processes else InTrial]
    assert NoProcess.started == processes
