"""Rows of a run's table follow the files of its trials, whoever read them first and whatever failed meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sweeps.ui.snapshots.reader import RunReader
from sweeps.ui.snapshots.run_curves import run_curves
from sweeps.ui.snapshots.trial_details import trial_details
from tests.helpers.followed_by_ui import add_steps, begin, new_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return new_run(tmp_path / "runs" / "methods")


def test_a_step_that_a_figure_or_a_trials_page_read_first_is_in_the_table_too(run: Path) -> None:
    folder = begin(run, "a" * 12, steps=10)
    reader = RunReader("k", str(run), run)
    assert reader.read().rows["a" * 12]["step"] == 10
    add_steps(folder, 11, 23)
    run_curves(reader, threading.Lock())
    snapshot = reader.read()
    assert snapshot.rows["a" * 12]["step"] == 23
    add_steps(folder, 24, 30)
    trial_details(reader, snapshot, "a" * 12)
    assert reader.read().rows["a" * 12]["step"] == 30


def test_what_changed_before_a_read_that_failed_is_in_the_table_after_the_next(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(run, "a" * 12, steps=10)
    reader = RunReader("k", str(run), run)
    reader.read()
    add_steps(run / "trials" / ("a" * 12), 11, 23)

    def fails(_self: RunReader) -> None:
        raise OSError("stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(RunReader, "_requested", fails)
        with pytest.raises(OSError, match="stale"):
            reader.read()
    assert reader.read().rows["a" * 12]["step"] == 23


def test_a_file_that_could_not_be_read_once_is_not_damaged_for_good(run: Path) -> None:
    folder = begin(run, "a" * 12)
    (folder / "curve.jsonl").mkdir()
    reader = RunReader("k", str(run), run)
    assert reader.read().rows["a" * 12]["status"] == "damaged"
    (folder / "curve.jsonl").rmdir()
    add_steps(folder, 1, 3)
    row = reader.read().rows["a" * 12]
    assert (row["status"], row["step"], row["error"]) == ("interrupted", 3, None)
    assert reader.read().head["damaged"] == []
