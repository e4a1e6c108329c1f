"""Seen and stopped from outside: status, logs and stop need a run's folder and nothing else."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeps.cli import app
from sweeps.runs import lock, logs, status
from sweeps.runs.layout import SIGNS
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
    (unfinished,) = reported["unfinished"]
    assert (unfinished["trial_id"], unfinished["cell"], unfinished["step"]) == (f"{4:012x}", "sft-lora", 3)
    lines = {line.split()[0]: line for line in command_output("status", run).splitlines()[1:]}
    assert "1/2" in lines["sft-full"]
    assert "1/2, 1 failed" in lines["sft-lora"]
    assert lines["sft-lora"].endswith(f"{4:012x} trained 3 steps")


def test_an_interrupted_trial_counts_as_unfinished(run: Path) -> None:
    ends(run, 4, "sft-lora", status="interrupted")
    begins(run, 7, "reward-base", ())  # an untrained model, which has no budget
    assert re.search(
        rf"^reward-base +0/1 .*{7:012x} before its first step$", command_output("status", run), re.M
    )
    assert [trial.trial_id for trial in status.run_state(run).unfinished] == [f"{4:012x}", f"{7:012x}"]


def test_no_trial_is_in_training_while_nobody_runs_the_run(run: Path) -> None:
    said = {"trials": {f"{4:012x}": "step 3 of 8, loss 0.3"}, "waits": ["sft-full waits for cores"]}
    files.write_json(run / SIGNS, said)  # by a driver that was killed
    found = status.run_state(run)
    assert (found.training, found.waits) == ((), ())
    assert "in training" not in command_output("status", run)
    with lock.held(run):
        os.utime(run / SIGNS, (0, 0))
        assert [trial.doing for trial in status.run_state(run).training] == [None]  # nothing is known yet
        begins(run, 6, "sft-full", (1,))
        files.write_json(run / SIGNS, said)
        assert [trial.trial_id for trial in status.run_state(run).training] == [f"{4:012x}"]
        printed = command_output("status", run)
        assert f"{4:012x} step 3 of 8, loss 0.3" in printed
        assert f"{6:012x}" not in printed  # it waits
        assert "sft-full waits for cores" in printed


@pytest.mark.parametrize(
    "said",
    [b"", b"[1]", b'{"trials": [1], "waits": 5}', b'{"trials": {"%(id)s": 5}, "waits": [5]}', b"[" * 10**5],
)
def test_a_damaged_file_of_what_trials_do_says_nothing(run: Path, said: bytes) -> None:
    with lock.held(run):
        (run / SIGNS).write_bytes(said.replace(b"%(id)s", f"{4:012x}".encode()))
        found = status.run_state(run)
        assert [trial.doing for trial in found.training] == [None]
        assert found.waits == ()


def test_a_folder_of_try_has_a_state(tmp_path: Path) -> None:
    ends(tmp_path / "tiny-try", 1, "sft-lora", quality=0.5)
    begins(tmp_path / "tiny-try", 2, "sft-full", (1, 2))
    printed = command_output("status", tmp_path / "tiny-try")
    assert re.search(rf"^sft-lora +1 +exact_match 0.500 \({1:012x}\)", printed, re.M)
    assert re.search(rf"^sft-full .* {2:012x} trained 2 steps$", printed, re.M)
    assert printed.splitlines()[-1] == "trials of `paretune try`, outside of any sweep"


def test_a_trial_that_was_stopped_early_says_at_which_step_and_why(run: Path) -> None:
    ends(run, 5, "sft-full", status="stopped", steps=5, config={"train": {"steps": 20}})
    assert "2/2, 1 stopped early" in command_output("status", run)
    assert command_output("logs", run, f"{5:012x}").splitlines()[0] == (
        f"sft-full {5:012x}: stopped early at step 5 of 20: behind the others"
    )


def test_a_log_is_followed_until_nobody_runs_the_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "sweep.log").write_text("10:00:00 one\n")
    holders = ["process 1", "process 1", None, None]

    def line_comes(seconds: float) -> None:
        with (run / "sweep.log").open("a") as log:
            log.write(f"10:00:0{4 - len(holders)} two\n")

    monkeypatch.setattr("sweeps.runs.lock.holder", lambda folder: holders.pop(0))
    monkeypatch.setattr("sweeps.commands.monitor.time.sleep", line_comes)
    lines = ["10:00:00 one", "10:00:01 two", "10:00:02 two"]
    assert command_output("logs", run, "-f").splitlines() == lines
    assert command_output("logs", run).splitlines() == lines


def test_a_state_is_watched_until_nobody_runs_the_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holders = ["process 1", "process 1", None]
    monkeypatch.setattr("sweeps.runs.lock.holder", lambda folder: holders.pop(0))
    monkeypatch.setattr("sweeps.commands.monitor.time.sleep", lambda seconds: ends(run, 4, "sft-lora"))
    (run / ".lock").touch()
    printed = command_output("status", run, "--watch")
    assert re.findall(r"\d of 4 trials to go", printed) == ["2 of 4 trials to go", "1 of 4 trials to go"]
    assert "stopped; 1 of 4" in printed


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
        list(logs.log_lines(run, "ffff"))


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


def test_a_cell_that_has_nothing_to_start_from_has_no_trials_to_go() -> None:
    error = "it continues from the best trial of sft-lora, and no trial of that cell is done"
    ended = (failed("aaa"), failed("bbb", "dpo", error=error))
    state = RunState("run", None, {"sft-lora": 1, "sft-dpo": 6}, ended, ())
    assert (state.total, state.remaining, state.activity) == (2, 0, "finished")
