"""What goes wrong on real machines, done to a real sweep: nothing computed is lost, and it comes to its end."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path

import pytest
from sweep_example import METHODS, SPEC, STEPS, Home, finished, in_training, lines, start, write_spec

pytestmark = [pytest.mark.sweep, pytest.mark.slow]


def test_a_worker_that_hangs_is_ended_and_its_trial_goes_on(tmp_path: Path, tiny_model: Path) -> None:
    text = SPEC.replace("concurrent: 2", "concurrent: 1, stall_seconds: 6").replace(
        METHODS, "methods: [{kind: full}]\n"
    )
    run = tmp_path / "runs" / "tiny"
    with tempfile.TemporaryDirectory(prefix="pt-") as temporary:
        spec = write_spec(tmp_path / "spec", tiny_model, text)
        command = start(Home(tmp_path / "home", Path(temporary)), "run", spec, "--output", run.parent)
        (stuck, *_) = command.until(lambda: in_training(run, command))
        (worker,) = command.named("ray::RayTrainWorker")
        worker.send_signal(signal.SIGSTOP)  # it does nothing more, and doesn't die either
        assert command.wait(300) == 0, command.stderr
        assert command.left() == []
    assert "has said nothing for " in (run / "sweep.log").read_text()
    assert {record.status for record in finished(run).values()} == {"done"}
    assert {step for step, _ in lines(run, stuck)} == set(range(1, STEPS + 1))
