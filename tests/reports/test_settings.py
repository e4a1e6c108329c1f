"""Searched settings in reports: null is a value, a setting that a trial lacks has none, one value may be a search."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from reports.analysis.cell_table import to_csv
from reports.analysis.comparison import compare
from reports.analysis.group import Group
from reports.analysis.search.importance import importance
from reports.pages import tables, trial_tables
from reports.plots import settings
from reports.plots.style import palette
from reports.write import write
from tests.helpers.run_folders import record, write_journal, write_run
from trainables import results

CLIP = "train.max_grad_norm"
RATE = "train.learning_rate"


def group_of(
    folder: Path,
    trains: list[dict[str, Any]],
    domains: dict[str, Any] | None = None,
    **changes: Any,
) -> Group:
    """A cell with a trial for each of these settings of ``train``; the last has the best objective."""
    records = [
        record(f"t{number}", objective=0.5 + number / 100, config={"train": train}, **changes)
        for number, train in enumerate(trains)
    ]
    run = write_run(folder, records)
    if domains:
        study = [
            ({path: train[path.removeprefix("train.")] for path in domains}, 0.5 + number / 100)
            for number, train in enumerate(trains)
        ]
        write_journal(run, "sft-lora", study, domains, [each.trial_id for each in records])
    (group,) = compare([results.read_run(run)])
    return group


def column(table: tables.Table, name: str) -> list[str]:
    return [row[table.columns.index(name)] for row in table.rows]


def test_null_is_a_value_in_tables_and_a_setting_that_a_trial_lacks_is_a_dash(tmp_path: Path) -> None:
    group = group_of(
        tmp_path / "run",
        [{"max_grad_norm": 4}, {"steps": 9}, {"max_grad_norm": None}, {"max_grad_norm": None}],
    )
    assert column(trial_tables.trials(group), "max grad norm") == ["4", "–", "null", "null"]
    assert column(tables.comparison(group), "best settings") == ["max grad norm null"]


def test_null_and_absent_are_different_values(tmp_path: Path) -> None:
    group = group_of(tmp_path / "run", [{"steps": 9}, {"steps": 9, "max_grad_norm": None}])
    assert group.searched == (CLIP,)
    assert column(tables.comparison(group), "best settings") == ["max grad norm null"]


@pytest.mark.parametrize("last", ["first", "second"])
def test_the_settings_of_every_trial_are_columns_whichever_came_last(tmp_path: Path, last: str) -> None:
    trains = [{"warmup_steps": 5}, {"max_grad_norm": 4}]
    group = group_of(tmp_path / "run", trains if last == "second" else trains[::-1])
    table = trial_tables.trials(group)
    assert {"warmup steps", "max grad norm"} <= set(table.columns)
    assert sorted(column(table, "warmup steps")) == ["5", "–"]


def test_null_is_written_in_the_csv_and_a_missing_setting_is_empty(tmp_path: Path) -> None:
    trials = [
        record("a", "lora", config={"train": {"max_grad_norm": 4}}, objective=0.1),
        record("b", "lora", config={"train": {"max_grad_norm": None}}),
        record("c", "full", config={"train": {}}),
    ]
    (group,) = compare([results.read_run(write_run(tmp_path / "run", trials))])
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(to_csv([group])))}
    assert (rows["lora"][CLIP], rows["full"][CLIP]) == ("null", "")


def test_trials_with_null_are_points_of_the_settings_figure(tmp_path: Path) -> None:
    group = group_of(
        tmp_path / "run", [{"max_grad_norm": 4}, {"max_grad_norm": None}, {"max_grad_norm": None}]
    )
    drawing = settings.draw(group, palette([group]), "settings")
    assert drawing is not None
    assert drawing.alt == (
        "Scatter plots of the validation exact match. Against max grad norm, 3 trials: "
        "the best, 0.52, at null (lora)."
    )
    (axes,) = drawing.figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["null", "4"]
    assert sorted(line.get_xdata()[0] for line in axes.lines) == [0, 0, 1]


def test_choices_of_null_numbers_and_texts_stand_side_by_side(tmp_path: Path) -> None:
    group = group_of(
        tmp_path / "run", [{"alpha": "auto"}, {"alpha": None}, {"alpha": 8}, {"alpha": 0.5}, {"alpha": [1]}]
    )
    drawing = settings.draw(group, palette([group]), "settings")
    assert drawing is not None
    labels = [label.get_text() for label in drawing.figure.axes[0].get_xticklabels()]
    assert labels == ["null", "0.5", "8", "[1]", "auto"]


def test_without_a_difference_there_is_no_figure_and_the_page_says_so(tmp_path: Path) -> None:
    group = group_of(tmp_path / "run", [{"max_grad_norm": None}] * 2)
    assert settings.draw(group, palette([group]), "settings") is None
    page = write([tmp_path / "run"]).read_text(encoding="utf-8")
    assert "No setting differs between trials that have an objective." in page


@pytest.mark.parametrize("journal", [True, False])
def test_the_importance_of_a_setting_counts_null_among_its_values(tmp_path: Path, journal: bool) -> None:
    trains = [
        {"max_grad_norm": None if number < 5 else 4.0, "warmup_steps": number % 2} for number in range(9)
    ]
    domains = {
        CLIP: CategoricalDistribution([None, 4.0]),
        "train.warmup_steps": CategoricalDistribution([0, 1]),
    }
    group = group_of(tmp_path / "run", trains, domains if journal else None)
    result = importance(group.rows[0].cell)
    assert result.reason is None
    assert list(result.shares) == [CLIP]


def test_a_stopped_trial_with_a_list_among_its_settings_is_known_by_its_id(tmp_path: Path) -> None:
    """Optuna keeps a list as a text, so the settings themselves don't match those of the record."""
    records = [
        record(
            f"t{number}", status="stopped" if number < 6 else "done", config={"method": {"targets": ["q"]}}
        )
        for number in range(7)
    ]
    run = write_run(tmp_path / "run", records)
    domains = {"method.targets": CategoricalDistribution(['["q"]'])}
    study: list[tuple[dict[str, Any], float]] = [({"method.targets": '["q"]'}, 0.1 * n) for n in range(7)]
    write_journal(run, "sft-lora", study, domains, [each.trial_id for each in records])
    (group,) = compare([results.read_run(run)])
    assert importance(group.rows[0].cell).trials == 1


@pytest.mark.parametrize("trials", [1, 3])
def test_a_setting_that_was_searched_is_named_even_if_every_trial_has_the_same(
    tmp_path: Path, trials: int
) -> None:
    domains = {RATE: FloatDistribution(1e-4, 1e-2, log=True)}
    group = group_of(tmp_path / "run", [{"learning_rate": 2e-4, "steps": 40}] * trials, domains)
    assert column(tables.comparison(group), "best settings") == ["learning rate 0.0002"]
    assert column(trial_tables.trials(group), "learning rate") == ["0.0002"] * trials


def test_the_parts_of_a_setting_that_was_searched_as_a_whole_are_named(tmp_path: Path) -> None:
    one = record("a", config={"model": {"rope": {"kind": "yarn", "factor": 2}}})
    run = write_run(tmp_path / "run", [one])
    text = '{"factor":2,"kind":"yarn"}'
    write_journal(
        run, "sft-lora", [({"model.rope": text}, 0.9)], {"model.rope": CategoricalDistribution([text])}
    )
    (group,) = compare([results.read_run(run)])
    assert group.searched == ("model.rope.kind", "model.rope.factor")


def test_what_nobody_searched_is_as_in_the_spec(tmp_path: Path) -> None:
    group = group_of(tmp_path / "run", [{"learning_rate": 2e-4}])
    assert column(tables.comparison(group), "best settings") == ["as in the spec"]
