"""Runs that are compared before they have anything to compare."""

from __future__ import annotations

import time
from typing import Any

from sweeps.ui.run_index import run_key
from tests.helpers.followed_by_ui import end, new_run
from tests.helpers.small_ui_runs import write_runs
from trainables.storage import files


def test_a_run_without_a_best_trial_is_waited_for(ui: Any) -> None:
    ended, begun = write_runs(ui.runs, "ended"), new_run(ui.runs / "begun")
    files.write_json(begun / "environment.json", {"name": "first", "plan": {"trials": {"sft-lora": 4}}})
    query = f"run={ended.key}&run={run_key(str(begun))}"
    found = ui.client.get(f"/compare/values?{query}")
    assert (found.status_code, list(found.json())) == (200, ["waiting"])
    assert "first" in found.json()["waiting"]
    assert "first" in ui.client.get(f"/compare/tests?{query}").json()["problem"]
    end(begun, "a" * 12)
    while "waiting" in (found := ui.client.get(f"/compare/values?{query}").json()):
        time.sleep(0.2)
    assert [side["name"] for side in found["sides"]] == ["ended", "first"]
