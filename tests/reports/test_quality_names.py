"""One sign for one thing: a loss is a loss in every figure and table; and a unit that few know is explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reports.analysis.comparison import compare
from reports.analysis.group import Group
from reports.analysis.quality_names import objective_scale, quality_explanation
from reports.pages import trial_tables
from reports.plots import curves, learning_rates, settings
from reports.plots.style import palette
from reports.write import write
from tests.helpers.run_folders import record, write_run
from trainables import results

LOSS: dict[str, Any] = {
    "quality_name": "loss", "quality_unit": "nats per token", "quality_higher_is_better": False,
    "objective_name": "log-probability per token",
}  # fmt: skip


def losses(tmp_path: Path) -> Group:
    trials = [
        record(
            f"t{place}",
            objective=-loss,
            quality=loss,
            config={"method": {"kind": "lora"}, "train": {"learning_rate": rate, "steps": 40}},
            **LOSS,
        )
        for place, (rate, loss) in enumerate([(1e-4, 1.5), (1e-3, 1.25), (1e-2, 1.75)])
    ]
    run = write_run(tmp_path / "run", [*trials, record("base", "base", quality=2.5, **LOSS)])
    (run / "trials" / "t0" / "curve.jsonl").write_text(
        '{"step": 1, "name": "objective", "value": -2.0}\n{"step": 2, "name": "objective", "value": -1.5}\n'
    )
    results.write_tables(run)
    (group,) = compare([results.read_run(run)])
    return group


def test_a_loss_is_a_loss_in_every_figure_and_table(tmp_path: Path) -> None:
    group = losses(tmp_path)
    assert objective_scale(group).name == "loss"
    assert curves.read(group, "objective")["sft-lora"]["t0"] == [(1, 2.0), (2, 1.5)]
    for module, title in ((settings, "validation loss"), (learning_rates, "validation loss")):
        drawing = module.draw(group, palette([group]), "name")
        assert drawing is not None
        assert drawing.figure._supylabel.get_text() == title
        low, high = drawing.figure.axes[0].get_ylim()
        assert 1.0 < low < 1.25 < 1.75 < high < 2.0
    table = trial_tables.trials(group)
    column = table.columns.index("validation loss")
    assert [row[column] for row in table.rows] == ["1.5", "1.25", "1.75", "–"]
    assert "log-probability" not in write([tmp_path / "run"]).read_text()


def test_nats_per_token_are_explained_where_they_are_met_first(tmp_path: Path) -> None:
    group = losses(tmp_path)
    assert quality_explanation(group, group.rows[0]) == (
        "Nats per token say how surprised a model is by the right answers; lower is better. At 1.25, lora gives the "
        "next token of a right answer a probability of 29 % on geometric average, before training 8 %."
    )
    other = tmp_path / "two" / "run"
    write_run(other, [record("a", **LOSS), record("b", cell="orpo-lora", stage="orpo", **LOSS)])
    assert write([other]).read_text().count("Nats per token say") == 1
