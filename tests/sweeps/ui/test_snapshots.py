"""What the pages know of a run is read from its folder alone, again and again, and never blocks a page."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from sweeps.ui.run_index import RunEntry, RunIndex
from sweeps.ui.snapshots import curves
from sweeps.ui.snapshots import store as stores
from sweeps.ui.snapshots.curves import CurveFile
from sweeps.ui.snapshots.reader import RunReader
from sweeps.ui.snapshots.run_curves import run_curves
from sweeps.ui.snapshots.snapshot import RunSnapshot, changes
from sweeps.ui.snapshots.store import SnapshotStore, pause_after
from sweeps.ui.snapshots.trial_details import trial_details
from tests.helpers import run_folders
from tests.helpers.followed_by_ui import add_steps, begin, config, driven, end, new_run, read
from tests.helpers.run_folders import MIB, failed
from trainables import results


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of one cell of four trials, of which none has begun."""
    return new_run(tmp_path / "runs" / "methods")


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
    assert stop == {
        "step": 10,
        "reason": None,
        "kind": None,
        "rung": 10,
        "value": 0.2,
        "best": 0.9,
        "rank": 3,
        "of": 3,
    }


def test_where_a_stopped_trial_stood_does_not_depend_on_when_it_is_read(run: Path) -> None:
    def reaches(trial: str, value: float) -> None:
        with (run / "trials" / (trial * 12) / "curve.jsonl").open("a") as curve:
            curve.write(json.dumps({"step": 10, "name": "objective", "value": value}) + "\n")

    for trial, value in (("a", 0.5), ("b", 0.2)):
        begin(run, trial * 12, steps=10)
        reaches(trial, value)
    end(run, "b" * 12, steps=10, status="stopped")
    reader = RunReader("k", str(run), run)
    assert reader.read().rows["b" * 12]["stop"]["of"] == 2
    begin(run, "c" * 12, steps=10)
    reaches("c", 0.9)
    stop = reader.read().rows["b" * 12]["stop"]
    assert stop == read(run).rows["b" * 12]["stop"]
    assert (stop["best"], stop["rank"], stop["of"]) == (0.9, 3, 3)


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
        again = following.state(RunEntry(str(run)).key, wait=20)
        assert again is not None
        assert again is not known, "what was known of it is dropped"
        assert again.snapshot is not None
    finally:
        following.close()


def test_a_run_at_a_url_is_read_like_one_in_a_folder(run: Path, tmp_path: Path) -> None:
    end(run, "a" * 12)
    (run / "spec.yaml").write_text("name: methods\n")
    url = f"file://{tmp_path}/runs/methods"
    (tmp_path / "empty").mkdir()
    following = SnapshotStore(RunIndex((url,)))
    try:
        known = following.state(RunEntry(url).key, wait=30)
        assert known is not None
        assert known.problem is None
        assert [row["status"] for row in known.to_json()["rows"]] == ["done"]
        assert read(run).head["spec"]
        assert known.to_json()["spec"], "a draft can be made of it"
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


@pytest.mark.parametrize("name", ["record.json", "config.json", "curve.jsonl", "error.txt"])
def test_a_link_in_place_of_a_trials_file_is_not_read(run: Path, tmp_path: Path, name: str) -> None:
    trial, secret = "a" * 12, "a secret of the machine"
    folder = begin(run, trial, steps=2, method={"kind": "lora", "note": secret})
    results.write_record(tmp_path, failed(trial, error=secret, config=config()))
    (folder / "curve.jsonl").write_text(json.dumps({"step": 1, "name": secret, "value": 1.0}) + "\n")
    (folder / "error.txt").write_text(secret)
    source = tmp_path / name if name == "record.json" else (folder / name).rename(tmp_path / name)
    for other in ("config.json", "curve.jsonl", "error.txt"):
        if other != name:
            (folder / other).write_text("{}\n")
    (folder / name).symlink_to(source)
    reader = RunReader("k", str(run), run)
    snapshot = reader.read()
    assert secret not in json.dumps([snapshot.to_json(), trial_details(reader, snapshot, trial)])


def test_a_curve_is_limited_in_bytes_names_and_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(lines: list[dict[str, object]]) -> CurveFile:
        (tmp_path / "curve.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        curve = CurveFile(tmp_path / "curve.jsonl")
        assert curve.update()
        return curve

    names = written([{"step": 1, "name": f"{number}\ud800" * 300, "value": 1.0} for number in range(500)])
    assert len(names.points) == curves.MAX_NAMES
    assert all(len(name) <= curves.NAME_CHARACTERS and name.isprintable() for name in names.points)
    monkeypatch.setattr(curves, "MAX_POINTS", 100)
    steps = written([{"step": step, "name": "loss", "value": 1.0} for step in (*range(1000), 10**300)])
    assert 50 <= len(steps.points["loss"]) <= 100
    assert steps.last_step == 999
    monkeypatch.setattr(curves, "READ_BYTES", 1000)
    assert (
        min(written([{"step": step, "name": "loss", "value": 1.0} for step in range(1000)]).points["loss"])
        > 900
    )


def test_a_run_is_read_again_soon_after_a_read_that_took_long() -> None:
    """What the first read imports may take a minute on a busy machine: a page would stand still for four."""
    assert pause_after(0.01, 1.0) == 1.0
    assert pause_after(0.5, 1.0) == 2.0
    assert pause_after(4.0, 1.0) == 5.0
    assert pause_after(40.0, 1.0) == 40.0
