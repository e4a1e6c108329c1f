"""Sweeps whose trials are trained by two workers that share the weights: through Ray, in peace and with faults."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.faults import all_steps, assert_same_results, training, undisturbed_run
from tests.helpers.paths import ROOT
from tests.helpers.sweeps import METHODS, SPEC, Home, finished, paretune, start, write_spec
from trainables.results import Record
from trainables.runner.run import TrialContext, run_trial
from trainables.trial.config import TrialConfig

pytestmark = [pytest.mark.sweep, pytest.mark.slow, pytest.mark.timeout(1200)]

SHARED = (
    SPEC.replace(METHODS, "methods: [{kind: full}]\n")
    .replace("train: {", "train: {precision: fp32, sharding: fsdp, ")
    .replace("trials: 3", "trials: 2")
    .replace("concurrent: 2", "workers: 2, concurrent: 1")
)
# Memory runs out in the second worker alone; the module is imported where it is needed, so this waits for that.
FAULT = """\
import importlib.abc, importlib.util, os, sys

class Fault(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "trainables.training.training_callback":
            return None
        sys.meta_path.remove(self)
        found = importlib.util.find_spec(name)
        execute = found.loader.exec_module
        def changed(module):
            execute(module)
            usual = module.TrialCallback.on_step_end
            def on_step_end(self, args, state, control, **rest):
                if os.environ.get("RANK") == "1" and state.global_step == 3:
                    raise MemoryError("none left")
                return usual(self, args, state, control, **rest)
            module.TrialCallback.on_step_end = on_step_end
        found.loader.exec_module = changed
        return found

sys.meta_path.insert(0, Fault())
"""


@pytest.fixture(scope="module")
def temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def peace(tmp_path_factory: pytest.TempPathFactory, temporary: Path, tiny_model: Path) -> Path:
    return undisturbed_run(tmp_path_factory.mktemp("peace"), temporary, tiny_model, SHARED)


def searched(run: Path) -> list[Record]:
    return [record for record in finished(run).values() if record.role == "search"]


def test_a_sweep_by_workers_that_share_weights_learns_what_one_worker_does(
    peace: Path, tmp_path: Path
) -> None:
    found = searched(peace)
    assert [(record.status, record.workers) for record in found] == [("done", 2)] * 2
    for record in found:
        assert record.peak_train_bytes
        assert record.predicted_peak_bytes
        alone = run_trial(TrialConfig.model_validate(record.config), TrialContext(tmp_path))
        assert record.objective == pytest.approx(alone.objective, rel=1e-3)
        assert record.artifact_bytes == alone.artifact_bytes
        print(f"{record.trial_id}: {record.objective} by two, {alone.objective} by one")


def test_a_worker_of_a_group_is_killed_and_its_trial_resumes(
    peace: Path, tmp_path: Path, temporary: Path, tiny_model: Path
) -> None:
    run = tmp_path / "runs" / "tiny"
    given = write_spec(tmp_path / "given", tiny_model, SHARED)
    command = start(Home(tmp_path / "home", temporary), "run", given, "--output", run.parent)
    (trial, *_) = training(run, command)
    workers = command.named("ray::RayTrainWorker")
    assert len(workers) == 2
    workers[1].kill()
    assert command.wait(400) == 0, command.stderr
    assert command.surviving() == []
    assert all_steps(run, trial)
    assert_same_results(run, peace)


def test_where_memory_runs_out_in_one_worker_that_is_the_trials_row(
    tmp_path: Path, temporary: Path, tiny_model: Path
) -> None:
    ours = tmp_path / "fault"
    ours.mkdir()
    (ours / "sitecustomize.py").write_text(FAULT)
    path = f"{ours}:{ROOT}"
    given = write_spec(tmp_path / "given", tiny_model, SHARED.replace("trials: 2", "trials: 1"))
    home = Home(tmp_path / "home", temporary)
    command = paretune(
        home, "run", given, "--output", tmp_path / "runs", PYTHONPATH=path, timeout=400, cwd=tmp_path
    )
    assert command.process.returncode == 0, command.stderr
    (record,) = searched(tmp_path / "runs" / "tiny")
    assert (record.status, record.error) == ("out_of_memory", "MemoryError: none left")
