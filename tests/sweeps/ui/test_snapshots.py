"""What the pages know of a run is read from its folder alone, again and again, and never blocks a page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sweeps.runs import lock
from sweeps.runs.layout import LOCK, LOG, REQUEST, SIGNS, STOP, STOP_LINE
from sweeps.ui.run_index import RunEntry, RunIndex
from sweeps.ui.snapshots import store as stores
from sweeps.ui.snapshots.reader import RunReader
from sweeps.ui.snapshots.run_curves import run_curves
from sweeps.ui.snapshots.snapshot import RunSnapshot, changes
from sweeps.ui.snapshots.store import SnapshotStore
from sweeps.ui.snapshots.trial_details import trial_details
from tests.helpers import run_folders
from tests.helpers.run_folders import MIB, failed, record
from trainables import results
from trainables.storage import files

INTERRUPTED = "12:00:09 interrupted: the running trials are saving themselves; all finished trials are kept\n"


def config(rank: int = 8, rate: float = 1e-3, steps: int = 40, **changes: Any) -> dict[str, Any]:
    train = {"learning_rate": rate, "steps": steps, "seed": 0}
    return {
        "cell": "sft-lora", "role": "search", "method_name": "lora", "stage": {"kind": "sft"},
        "method": {"kind": "lora", "rank": rank}, "train": train, "model": {"name": "tiny"}, "data": {"name": "rows"},
    } | changes  # fmt: skip


def begin(run: Path, trial: str, steps: int = 0, **settings: Any) -> Path:
    folder = run / "trials" / trial
    files.write_json(folder / "config.json", config(**settings))
    if steps:
        add_steps(folder, 1, steps)
    return folder


def add_steps(folder: Path, first: int, last: int) -> None:
    with (folder / "curve.jsonl").open("a") as curve:
        for step in range(first, last + 1):
            curve.write(json.dumps({"step": step, "name": "train_loss", "value": 1 / step}) + "\n")


def end(
    run: Path, trial: str, steps: int = 40, settings: dict[str, Any] | None = None, **values: Any
) -> None:
    settings = settings or {}
    folder = begin(run, trial, steps, **settings)
    results.write_record(folder, record(trial, config=config(**settings), **{"steps": steps, **values}))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of one cell of four trials, of which none has begun."""
    made = tmp_path / "runs" / "methods"
    files.write_json(made / "environment.json", {"name": "methods", "plan": {"trials": {"sft-lora": 4}}})
    return made


def read(run: Path) -> RunSnapshot:
    return RunReader("0" * 12, str(run), run).read()


@contextmanager
def driven(run: Path, **said: str) -> Iterator[None]:
    """Holds the run as a driver does, which says what its trials are doing."""
    with lock.held(run):
        if said:
            files.write_json(run / SIGNS, {"trials": said, "waits": ["sft-lora waits for a GPU"]})
        yield


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
    (made / REQUEST.format("1a2b")).touch()
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


def test_a_trial_that_ran_out_of_memory_is_never_shown_as_running(run: Path) -> None:
    trial = "a" * 12
    folder = begin(run, trial, steps=2)
    out = failed(trial, status="out_of_memory", error="CUDA out of memory\nTraceback ...", config=config())
    results.write_record(folder, out)
    with driven(run, **{trial: "step 2 of 40"}):
        row = read(run).rows[trial]
    assert (row["status"], row["error"]) == ("out_of_memory", "CUDA out of memory")


def test_a_row_has_the_settings_that_differ_and_both_memories(run: Path) -> None:
    end(run, "a" * 12, settings={"rank": 4}, predicted_peak_bytes=900 * MIB, tokens_per_second=300.0)
    end(run, "b" * 12, settings={"rank": 16})
    found = read(run)
    assert found.columns == ("method.rank",)
    row = found.rows["a" * 12]
    assert row["settings"] == {"method.rank": 4}
    assert (row["peak_bytes"], row["predicted_bytes"]) == (1000 * MIB, 900 * MIB)
    assert (row["quality"], row["quality_name"], row["tokens_per_second"]) == (0.9, "exact_match", 300.0)


def test_a_stopped_trial_says_at_which_rung_and_against_what(run: Path) -> None:
    for trial, value in (("a", 0.9), ("b", 0.7), ("c", 0.2)):
        status = "stopped" if trial == "c" else "done"
        end(run, trial * 12, steps=10 if trial == "c" else 40, status=status)
        with (run / "trials" / (trial * 12) / "curve.jsonl").open("a") as curve:
            curve.write(json.dumps({"step": 10, "name": "objective", "value": value}) + "\n")
    stop = read(run).rows["c" * 12]["stop"]
    assert stop == {"step": 10, "reason": None, "rung": 10, "value": 0.2, "best": 0.9, "rank": 3, "of": 3}


def test_a_curve_is_read_on_and_half_a_line_waits_for_its_other_half(run: Path) -> None:
    folder = begin(run, "a" * 12, steps=3)
    reader = RunReader("k", str(run), run)
    assert reader.read().rows["a" * 12]["step"] == 3
    with (folder / "curve.jsonl").open("a") as curve:
        curve.write('{"step": 4, "name": "train_loss", ')
    assert reader.read().rows["a" * 12]["step"] == 3
    with (folder / "curve.jsonl").open("a") as curve:
        curve.write('"value": 0.25}\n')
    assert reader.read().rows["a" * 12]["step"] == 4


def test_a_damaged_record_is_a_sentence_and_a_row(run: Path) -> None:
    end(run, "a" * 12)
    end(run, "b" * 12)
    (run / "trials" / ("b" * 12) / "record.json").write_text('{"trial_id": ')
    found = read(run)
    assert found.rows["b" * 12]["status"] == "damaged"
    assert len(found.head["damaged"]) == 1
    assert "record.json is damaged" in found.head["damaged"][0]
    (run / "environment.json").write_text("[]")
    assert any("environment.json is damaged" in each for each in read(run).head["damaged"])


def test_a_pipe_in_place_of_a_record_ends_no_reading(run: Path) -> None:
    folder = begin(run, "a" * 12)
    os.mkfifo(folder / "record.json")
    assert "is no regular file" in read(run).head["damaged"][0]


def test_a_curve_that_cannot_be_read_hides_no_other_trial(run: Path) -> None:
    end(run, "a" * 12, steps=10, status="stopped")
    end(run, "b" * 12)
    for trial in "ab":
        curve = run / "trials" / (trial * 12) / "curve.jsonl"
        curve.unlink()
        os.mkfifo(curve)
    begin(run, "c" * 12)
    (run / "trials" / ("c" * 12) / "curve.jsonl").mkdir()
    reader = RunReader("k", str(run), run)
    rows = reader.read().rows
    assert [rows[trial * 12]["status"] for trial in "abc"] == ["stopped", "done", "damaged"]
    assert run_curves(reader, threading.Lock())["curves"] == []
    assert trial_details(reader, reader.read(), "c" * 12)["curves"] == {}


def test_only_changed_rows_are_sent_again(run: Path) -> None:
    for trial in "ab":
        begin(run, trial * 12, steps=1)
    reader = RunReader("k", str(run), run)
    before = reader.read().to_json()
    assert changes(before, reader.read().to_json()) is None
    add_steps(run / "trials" / ("b" * 12), 2, 2)
    part = changes(before, reader.read().to_json())
    assert part is not None
    assert [row["id"] for row in part["rows"]] == ["b" * 12]
    assert "cells" not in part


def test_secrets_and_control_characters_of_a_run_do_not_reach_a_page(run: Path) -> None:
    trial = "a" * 12
    folder = begin(run, trial)
    wrong = failed(trial, error="GET https://ada:pass-word@hub/x failed\x1b[31m", config=config())
    results.write_record(folder, wrong)
    text = json.dumps(read(run).to_json(), ensure_ascii=False)
    assert "pass-word" not in text
    assert "\x1b" not in text
    assert "␛" in text


def test_a_run_whose_disk_hangs_holds_up_no_page_and_no_other_run(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "runs" / "slow"
    slow.mkdir()
    (slow / "spec.yaml").touch()
    end(run, "a" * 12)
    original = RunReader.read

    def hangs(self: RunReader) -> RunSnapshot:
        if self.folder == slow:
            time.sleep(5)
        return original(self)

    monkeypatch.setattr(RunReader, "read", hangs)
    following = SnapshotStore(RunIndex((str(tmp_path / "runs"),)))
    try:
        other = following.state(RunEntry(str(run)).key, wait=20)
        began = time.monotonic()
        summaries = {each["name"]: each for each in following.summaries()}
        assert time.monotonic() - began < 1
        assert summaries["slow"]["state"] == "reading"
        assert other is not None
        assert summaries["methods"]["ended"] == 1
    finally:
        following.close()


def test_reading_ends_once_nobody_looks(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "LOOKED_AT_SECONDS", 0.2)
    monkeypatch.setattr(stores, "FOLDER_SECONDS", 0.1)
    following = SnapshotStore(RunIndex((str(run.parent),)))
    try:
        known = following.state(RunEntry(str(run)).key, wait=20)
        assert known is not None
        until = time.monotonic() + 10
        while known.thread is not None and time.monotonic() < until:
            time.sleep(0.05)
        assert known.thread is None
        assert following.state(RunEntry(str(run)).key) is known
        assert known.thread is not None
    finally:
        following.close()


def test_a_run_at_a_url_is_read_like_one_in_a_folder(run: Path, tmp_path: Path) -> None:
    end(run, "a" * 12)
    url = f"file://{tmp_path}/runs/methods"
    (tmp_path / "empty").mkdir()
    following = SnapshotStore(RunIndex((url,)))
    try:
        known = following.state(RunEntry(url).key, wait=30)
        assert known is not None
        assert known.problem is None
        assert [row["status"] for row in known.to_json()["rows"]] == ["done"]
    finally:
        following.close()


def test_an_unchanged_run_of_a_thousand_trials_is_looked_at_quickly(run: Path) -> None:
    text = run_folders.record("x", config=config()).model_dump_json()
    for number in range(1000):
        folder = run / "trials" / f"{number:012x}"
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(text)
    reader = RunReader("k", str(run), run)
    assert len(reader.read().rows) == 1000
    began = time.process_time()
    reader.read()
    assert time.process_time() - began < 0.15  # 0.03 s where nothing else runs
