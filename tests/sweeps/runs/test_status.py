"""Seen and stopped from outside: status, logs and stop need a run's folder and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeps.cli import app
from sweeps.runs import lock, status
from sweeps.runs.status import NoRun, RunState
from tests.helpers import run_folders
from tests.helpers.run_folders import failed, record
from trainables import results
from trainables.results import Record
from trainables.storage import files


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two cells of two trials: one is done, one has failed, one is in training, one isn't begun."""
    made = tmp_path / "run"
    files.write_json(made / "environment.json", {"plan": {"trials": {"sft-full": 2, "sft-lora": 2}}})
    ends(made, 1, "sft-base", role="base")
    ends(made, 2, "sft-full", quality=0.75)
    ends(made, 3, "sft-lora", status="failed", error="the loss is NaN", quality=None, objective=None)
    begins(made, 4, "sft-lora", (1, 2, 3))
    return made


def begins(run: Path, number: int, cell: str, steps: tuple[int, ...]) -> Path:
    trial = run / "trials" / f"{number:012x}"
    files.write_json(trial / "config.json", {"cell": cell})
    points = [json.dumps({"step": step, "name": "train_loss", "value": 1 / step}) for step in steps]
    (trial / "curve.jsonl").write_text("".join(f"{point}\n" for point in points))
    return trial


def ends(run: Path, number: int, cell: str, **changes: Any) -> None:
    trial = begins(run, number, cell, (1, 2))
    results.write_record(trial, run_folders.record(trial.name, cell=cell, **changes))


def command_output(*arguments: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == code, done.output
    return done.output


def test_a_run_that_nobody_runs_says_what_is_left(run: Path) -> None:
    found = status.run_state(run)
    assert (found.activity, found.holder, found.remaining) == ("stopped", None, 2)
    assert "stopped; 2 of 4 trials to go" in command_output("status", run)


def test_a_run_that_is_held_says_by_whom(run: Path) -> None:
    with lock.held(run):
        found = status.run_state(run)
        assert found.activity == "running"
        assert f"process {__import__('os').getpid()} on " in (found.holder or "")
    assert status.run_state(run).holder is None


def test_a_run_with_nothing_left_is_finished(run: Path) -> None:
    ends(run, 4, "sft-lora")
    ends(run, 5, "sft-full", status="stopped")
    assert status.run_state(run).activity == "finished"
    assert "finished; nothing left to do" in command_output("status", run)


def test_each_cell_tells_its_trials_its_best_and_what_is_in_training(run: Path) -> None:
    reported = json.loads(command_output("status", run, "--json"))
    cells = {cell.pop("cell"): cell for cell in reported["cells"]}
    assert list(cells) == ["sft-base", "sft-full", "sft-lora"]
    assert cells["sft-full"]["done"] == 1
    assert (cells["sft-full"]["best"], cells["sft-full"]["quality"]) == (f"{2:012x}", 0.75)
    assert (cells["sft-lora"]["failed"], cells["sft-lora"]["best"]) == (1, None)
    (training,) = reported["training"]
    assert (training["trial_id"], training["cell"], training["step"]) == (f"{4:012x}", "sft-lora", 3)
    lines = {line.split()[0]: line for line in command_output("status", run).splitlines()[1:]}
    assert "1/2" in lines["sft-full"]
    assert "step 3" in lines["sft-lora"]


def test_an_interrupted_trial_counts_as_unfinished(run: Path) -> None:
    ends(run, 4, "sft-lora", status="interrupted")
    assert [trial.trial_id for trial in status.run_state(run).training] == [f"{4:012x}"]


def test_the_log_of_a_run_and_of_a_trial(run: Path) -> None:
    (run / "sweep.log").write_text("10:00:00 tiny: 4 trials in 2 cells\n")
    assert command_output("logs", run) == "10:00:00 tiny: 4 trials in 2 cells\n"
    assert command_output("logs", run, f"{4:012x}").splitlines() == [
        f"sft-lora {4:012x}: no record yet",
        "step 1: train_loss 1",
        "step 2: train_loss 0.5",
        "step 3: train_loss 0.3333",
    ]
    (run / "trials" / f"{3:012x}" / "error.txt").write_text("Traceback\nNotFinite\n")
    reported = command_output("logs", run, f"{3:012x}").splitlines()
    assert reported[0] == f"sft-lora {3:012x}: failed"
    assert reported[-3:] == ["the loss is NaN", "Traceback", "NotFinite"]


def test_a_trial_is_named_by_how_its_id_begins_if_that_is_enough(run: Path) -> None:
    begins(run, 0xABC << 36, "sft-full", (1,))
    assert command_output("logs", run, "abc").startswith("sft-full abc000000000")
    assert "names several trials" in command_output("logs", run, "0000", code=2)


@pytest.mark.parametrize("command", ["status", "logs", "stop"])
def test_what_is_no_run_is_refused(tmp_path: Path, command: str) -> None:
    assert "is it a run folder" in command_output(command, tmp_path, code=2)


def test_a_trial_that_is_not_there_lists_those_that_are(run: Path) -> None:
    with pytest.raises(NoRun, match="'ffff' is no trial of this run; there are 000000000001"):
        list(status.log_lines(run, "ffff"))


def test_a_run_that_nobody_runs_cannot_be_stopped(run: Path) -> None:
    assert "no process runs it; it is stopped" in command_output("stop", run, code=2)
    assert not lock.stop_requested(run)


def test_a_stop_request_to_the_previous_holder_does_not_stop_the_next_one(run: Path) -> None:
    lock.request_stop(run)
    with lock.held(run):
        assert not lock.stop_requested(run)
        lock.request_stop(run)
    assert not lock.stop_requested(run)


def test_finalists_are_trials_to_go_as_long_as_a_cell_has_a_config_to_train_again(tmp_path: Path) -> None:
    def state(*records: Record) -> RunState:
        budgets = {"sft-lora": 2, "sft-full": 1}
        return RunState("run", None, budgets, records, (), {"seeds": 3, "top": 1})

    assert (state().total, state().remaining) == (9, 9)
    searched = (record("aaa"), failed("bbb"), failed("ccc", "full"))
    assert (state(*searched).total, state(*searched).remaining) == (6, 3)
    ended = (*searched, *(record(f"f{seed}", role="finalist", seed=seed) for seed in (1, 2, 3)))
    assert (state(*ended).activity, state(*ended).remaining) == ("finished", 0)
