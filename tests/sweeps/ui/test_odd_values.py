"""Event streams survive the values of others: halves of characters, numbers that JSON lacks, and a run that breaks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sweeps.ui.event_stream import event
from sweeps.ui.run_index import RunEntry
from sweeps.ui.snapshots.followed import Followed, unread
from sweeps.ui.snapshots.rows import trial_row
from sweeps.ui.snapshots.trial_files import TrialFiles
from tests.helpers.small_ui_runs import write_runs
from tests.sweeps.ui.conftest import UiUnderTest


def value_of(text: str) -> Any:
    text.encode()
    return json.loads(text.split("data: ")[1], parse_constant=lambda name: pytest.fail(name))


def test_an_event_has_neither_halves_of_characters_nor_nan() -> None:
    value = {"a\ud800": ["b\udfff", float("nan"), float("inf"), 1]}
    assert value_of(event("state", value)) == {"a\ufffd": ["b\ufffd", None, None, 1]}


def test_a_row_and_a_run_that_is_not_read_are_plain_values(ui: UiUnderTest) -> None:
    files = TrialFiles(ui.runs / "x\udcff")
    odd = float("nan"), "\ud800"
    files.config = {"cell": odd[1], "stage": {"kind": odd[1]}, "model": list(odd), "train": {"steps": odd[0]}}
    for value in (trial_row(files, {"a": odd[0]}, "running"), unread(RunEntry(f"/runs/{odd[1]}"), None)):
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


def test_one_run_that_breaks_hides_no_other(ui: UiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    write_runs(ui.runs, "good", trials=1)
    write_runs(ui.runs, "bad", trials=1)
    summary = Followed.summary

    def breaks(followed: Followed) -> dict[str, Any]:
        return {}["missing"] if followed.entry.name == "bad" else summary(followed)

    monkeypatch.setattr(Followed, "summary", breaks)
    found = {each["name"]: each["problem"] for each in ui.state.snapshots.summaries()}
    assert set(found) == {"good", "bad"}
    assert "KeyError" in found["bad"]
