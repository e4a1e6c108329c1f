"""What a run is doing is one word, and known from its folder alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeps.execution.detached import driver_process
from sweeps.runs.layout import DRIVER, LOCK, LOG, REQUEST, SIGNS, STOP, STOP_LINE
from sweeps.ui.run_index import RunEntry, RunIndex
from sweeps.ui.snapshots.store import SnapshotStore
from tests.helpers.followed_by_ui import begin, driven, end, new_run, read
from trainables.storage import files

INTERRUPTED = "12:00:09 interrupted: the running trials are saving themselves; all finished trials are kept\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of one cell of four trials, of which none has begun."""
    return new_run(tmp_path / "runs" / "methods")


def state(run: Path) -> str:
    return str(read(run).head["state"])


def test_a_run_that_is_driven_is_starting_until_its_driver_says_what_trials_do(run: Path) -> None:
    with driven(run):
        assert state(run) == "starting"
    begin(run, "a" * 12, steps=3)
    with driven(run, **{"a" * 12: "step 3 of 40"}):
        found = read(run)
        assert found.head["state"] == "running"
        assert found.head["waits"] == ["sft-lora waits for a GPU"]
        assert found.rows["a" * 12]["status"] == "running"
        assert (found.rows["a" * 12]["step"], found.rows["a" * 12]["steps"]) == (3, 40)
        (run / STOP).touch()
        assert state(run) == "stopping"


def test_what_ended_a_run_with_trials_left_is_known_by_its_log(run: Path) -> None:
    end(run, "a" * 12)
    with driven(run):
        pass
    assert state(run) == "dead"
    (run / "sweep.log").write_text(f"12:00:00 starts Ray on this machine\n{INTERRUPTED}")
    assert state(run) == "interrupted"
    (run / "sweep.log").write_text(
        f"12:00:00 starts Ray on this machine\n12:00:08 {STOP_LINE}\n{INTERRUPTED}"
    )
    assert state(run) == "stopped"
    with (run / "sweep.log").open("a") as log:
        log.write("13:00:00 starts Ray on this machine\n13:00:05 An error ended the sweep. All is kept.\n")
    found = read(run).head
    assert found["state"] == "dead"
    assert "An error ended the sweep" in found["reason"]


def test_a_log_of_an_earlier_session_says_nothing_of_the_one_that_died(run: Path) -> None:
    (run / "sweep.log").write_text(INTERRUPTED)
    os.utime(run / "sweep.log", (1, 1))
    end(run, "a" * 12)
    with driven(run):
        pass
    assert state(run) == "dead"


def test_a_run_without_anything_left_is_done(run: Path) -> None:
    for trial in "abcd":
        end(run, trial * 12)
    found = read(run).head
    assert (found["state"], found["ended"], found["total"]) == ("done", 4, 4)


def test_a_detached_run_whose_driver_has_not_begun_is_queued(tmp_path: Path) -> None:
    made = tmp_path / "methods"
    made.mkdir()
    (made / LOG).touch()
    assert state(made) == "queued"
    (made / LOG).write_text("spec.yaml:3 unknown key\nended with code 2\n")
    found = read(made).head
    assert (found["state"], found["reason"]) == ("dead", "spec.yaml:3 unknown key")
    (made.parent / REQUEST.format(made.name, "1a2b3c4d")).touch()
    assert state(made) == "queued"


def test_a_driver_that_is_killed_while_it_plans_is_dead_at_once(tmp_path: Path) -> None:
    made = tmp_path / "methods"
    made.mkdir()
    (made / LOG).write_text("of an earlier driver\nended with code 2\n")
    driver = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        driver_process.record(made, driver.pid)
        os.utime(made / LOG, (1, 1))  # it reads a large file, and prints nothing
        assert state(made) == "queued"
    finally:
        driver.kill()
        driver.wait()
    (made / LOG).write_text("loads the data\n")
    found = read(made).head
    assert (found["state"], found["reason"]) == ("dead", "loads the data")


@pytest.mark.parametrize("changed", ["boot", "namespace"])
def test_a_driver_on_another_machine_or_in_another_container_is_queued(tmp_path: Path, changed: str) -> None:
    made = tmp_path / "methods"
    made.mkdir()
    (made / LOG).touch()
    driver_process.record(made, os.getpid())
    recorded = json.loads((made / DRIVER).read_text()) | {"pid": 2**22 + 1}
    files.write_json(made / DRIVER, recorded)
    assert state(made) == "dead"
    files.write_json(made / DRIVER, recorded | {changed: "another"})
    assert state(made) == "queued"
    (made / DRIVER).write_text("{")
    assert state(made) == "queued"


def test_a_driver_that_was_killed_is_dead_within_ten_seconds(run: Path) -> None:
    begin(run, "a" * 12, steps=3)
    holds = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX);"
        "file.write('process 7 on node-1'); file.flush(); print('held', flush=True); time.sleep(60)"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", holds, str(run / LOCK)], stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    driver.stdout.readline()
    files.write_json(run / SIGNS, {"trials": {"a" * 12: "step 3 of 40"}, "waits": []})
    following = SnapshotStore(RunIndex((str(run.parent),)))
    key = RunEntry(str(run)).key
    try:
        known = following.state(key, wait=20)
        assert known is not None
        assert known.to_json()["state"] == "running"
        driver.kill()
        driver.wait()
        until = time.monotonic() + 10
        while known.to_json()["state"] != "dead" and time.monotonic() < until:
            time.sleep(0.1)
        assert known.to_json()["state"] == "dead"
        assert known.to_json()["reason"] == "process 7 on node-1"
        assert known.to_json()["rows"][0]["status"] == "interrupted"
    finally:
        driver.kill()
        driver.stdout.close()
        following.close()
