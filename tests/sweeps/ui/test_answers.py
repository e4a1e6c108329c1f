"""The answer of a run, which a process of its own computes while pages go on."""

from __future__ import annotations

from typing import Any

from tests.helpers.small_ui_runs import write_runs
from tests.helpers.ui_children import wait_for
from tests.sweeps.ui.conftest import UiUnderTest


def test_the_answer_has_the_importance_of_each_cells_settings_or_why_there_is_none(ui: UiUnderTest) -> None:
    run = write_runs(ui.runs, trials=24)

    def answer() -> Any:
        return ui.client.get(f"/runs/{run.key}/answer").json()

    wait_for(lambda: (found := answer()).get("as_of") or found.get("problem"), 120)
    assert answer()["problem"] is None
    cells = {each["cell"]: each for each in answer()["value"]["importance"]}
    assert set(cells) == {"sft-lora", "sft-full"}
    assert all(cell["reason"] or cell["shares"] or cell["like_noise"] for cell in cells.values())
