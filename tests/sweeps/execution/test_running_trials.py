"""The sweep's loop says what trials are doing and what others wait for, and gives back what dead slots hold."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from sweeps.cluster.packing import Machine
from sweeps.console.sweep_progress import SweepProgress
from sweeps.execution.loop_tasks import DeadSlots
from sweeps.execution.running_trials import AGAIN_SECONDS, WAIT_SECONDS, RunningTrials, WaitingTrials
from sweeps.runs.layout import SIGNS
from tests.helpers.specs import SPEC, plan, spec_folder
from tests.sweeps.search.test_searcher import Tune
from tests.sweeps.search.test_trial_queue import Room, admitted, finish
from trainables.training.activity import Activity

ONE_TRIAL = ("finalists.seeds=1", "search.trials=1")


def test_what_each_running_trial_is_doing_is_printed_and_kept_in_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned, run = plan(spec_folder(tmp_path), SPEC, ONE_TRIAL), tmp_path / "run"
    tune = Tune(admitted(planned, run, Room(Machine("a", 3))))
    ids = {config["cell"]: config["trial_id"] for config in tune.all()}
    known: dict[str, Activity | None] = {ids["sft-base"]: None}
    progress = SweepProgress(Console(file=io.StringIO()))
    progress.begin(planned, run, slots=3)
    task = RunningTrials(tune.search, lambda trials: known, {"sft-full": 40}, progress, run)
    task()
    known |= {ids["sft-full"]: Activity("training", 0, 0), ids["sft-lora"]: None}
    task()
    (run / "trials" / ids["sft-full"] / "curve.jsonl").write_text(
        json.dumps({"step": 3, "name": "train_loss", "value": 2.5}) + "\n"
    )
    known[ids["sft-full"]] = Activity("training", 3, 0)
    task()
    printed = [line[9:] for line in capsys.readouterr().err.splitlines()[1:]]
    assert printed == [
        f"sft-base {ids['sft-base']} scores the untrained model",
        f"sft-full {ids['sft-full']} waits for its workers to start, 1 x (1 CPUs)",
        f"sft-lora {ids['sft-lora']} waits for its workers to start, 1 x (1 CPUs)",
        f"sft-full {ids['sft-full']} step 0 of 40",
        f"sft-lora {ids['sft-lora']} loads its model and rows",
    ]
    task._file.seconds = 0
    task()
    kept = json.loads((run / SIGNS).read_text())
    assert list(kept["trials"]) == list(ids.values())
    assert kept["trials"][ids["sft-full"]].startswith("step 3 of 40, loss 2.5, ")
    assert kept["waits"] == []


def test_a_trial_that_goes_on_after_a_pause_is_timed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, run = plan(spec_folder(tmp_path), SPEC, ONE_TRIAL), tmp_path / "run"
    tune = Tune(admitted(planned, run, Room(Machine("a", 3))))
    full = next(config["trial_id"] for config in tune.all() if config["cell"] == "sft-full")
    known: dict[str, Activity | None] = {}
    shown: list[dict[str, float | None]] = []
    progress = SweepProgress(Console(file=io.StringIO()))
    progress.begin(planned, run, slots=3)
    monkeypatch.setattr(
        progress, "show_trials", lambda signs: shown.append({s.trial_id: s.step_seconds for s in signs})
    )
    task = RunningTrials(tune.search, lambda trials: known, {"sft-full": 40}, progress, run)
    admission = tune.search.queue.admission
    for step in (2, 4):
        known[full] = Activity("training", step, 0)
        task()
    size = admission.running[full]
    admission.end(full)
    task()
    admission.begin(full, size)
    task()
    assert [full in signs for signs in shown] == [True, True, False, True]
    assert shown[1][full] is not None
    assert shown[3][full] is None


def test_a_free_place_is_explained_once_it_lasts_and_again_much_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("sweeps.execution.running_trials.time.monotonic", lambda: clock[0])
    run, messages = tmp_path / "run", list[str]()
    tune = Tune(admitted(plan(spec_folder(tmp_path), SPEC, ONE_TRIAL), run, Room(Machine("a", 1))))
    task = WaitingTrials(tune.search, 2, messages.append)

    def turn(seconds: float) -> int:
        clock[0] += seconds
        task()
        return len(messages)

    assert turn(100) == 0  # nothing runs: the watch over the capacity speaks
    first = tune.next()
    assert first is not None
    assert [turn(1), turn(WAIT_SECONDS - 1), turn(1), turn(60), turn(AGAIN_SECONDS)] == [0, 0, 1, 1, 2]
    assert messages[0] == (
        "1 trial runs where 2 could: the next trial of sft-full waits for cores: needs 1, free 0; "
        "the next trial of sft-lora waits for cores: needs 1, free 0"
    )
    finish(tune, run, first["trial_id"])
    assert tune.next() is not None
    assert [turn(1), turn(WAIT_SECONDS)] == [2, 3]  # it waits behind another now
    tune.search.shutdown.request()
    assert turn(1000) == 3


def test_what_dead_slots_hold_is_given_back_without_waiting_for_another_trial() -> None:
    counts, messages = [0, 2, 1], list[str]()
    task = DeadSlots(lambda: counts.pop(0), messages.append)
    task()
    task()  # too soon
    assert (counts, messages) == ([2, 1], [])
    task._throttle.seconds = 0
    task()
    task()
    assert messages == [
        "gave back what 2 slots held that had ended",
        "gave back what 1 slot held that had ended",
    ]
