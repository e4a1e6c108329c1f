"""The importance of settings, or a sentence that says why it can't be computed; how often noise is taken for it."""

from pathlib import Path
from typing import Any

import pytest

from reports.analysis.cells import Cell, collect_cells
from reports.analysis.search.importance import importance
from tests.helpers.run_folders import record, write_journal, write_run
from trainables import results

RANKS = [4, 8, 16]


def trials(count: int, objective: float | None = None) -> list[tuple[dict[str, Any], float]]:
    """Trials whose objective follows the learning rate alone."""
    rates = [1e-4 * 1.5**position for position in range(count)]
    return [
        ({"method.rank": RANKS[position % 3], "train.learning_rate": rate}, objective or position / 10)
        for position, rate in enumerate(rates)
    ]


def cell_of(
    folder: Path,
    study: list[tuple[dict[str, Any], float]],
    journal: bool = True,
    stopped: int = 0,
    by_hand: bool = False,
) -> Cell:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    records = [
        record(
            f"t{position}",
            objective=value,
            status="stopped" if position < stopped else "done",
            stopped_by_hand=by_hand and position < stopped,
            config={
                "method": {"rank": params["method.rank"]},
                "train": {"learning_rate": params["train.learning_rate"]},
            },
        )
        for position, (params, value) in enumerate(study)
    ]
    run = write_run(folder, records)
    if journal:
        rates = FloatDistribution(1e-5, 1e-1, log=True)
        domains = {"method.rank": CategoricalDistribution(RANKS), "train.learning_rate": rates}
        write_journal(run, "sft-lora", study, domains, [each.trial_id for each in records])
    (cell,) = collect_cells([results.read_run(run)])
    return cell


@pytest.mark.parametrize("journal", [True, False])
def test_the_setting_that_the_objective_follows_is_the_important_one(tmp_path: Path, journal: bool) -> None:
    result = importance(cell_of(tmp_path / "run", trials(9), journal))
    assert result.reason is None
    assert list(result.shares) == ["train.learning_rate"]
    assert result.shares["train.learning_rate"] > 0.9
    assert result.not_explained == pytest.approx(1 - result.shares["train.learning_rate"])
    assert result.like_noise == ("method.rank",)


def test_importance_repeats(tmp_path: Path) -> None:
    cell = cell_of(tmp_path / "run", trials(9))
    assert importance(cell) == importance(cell)


def test_reading_a_journal_leaves_the_run_as_it_was(tmp_path: Path) -> None:
    cell = cell_of(tmp_path / "run", trials(7))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    importance(cell)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_too_few_trials_give_a_reason_instead_of_noise(tmp_path: Path) -> None:
    result = importance(cell_of(tmp_path / "run", trials(4)))
    assert (result.shares, result.reason) == (
        {},
        "4 trials ran to the end, and it takes 7",
    )


def test_a_stopped_trial_does_not_count_although_its_study_holds_it_as_complete(tmp_path: Path) -> None:
    result = importance(cell_of(tmp_path / "run", trials(7), stopped=3))
    assert result.reason == "4 trials ran to the end, and it takes 7"


def test_equal_objectives_have_no_importance(tmp_path: Path) -> None:
    result = importance(cell_of(tmp_path / "run", trials(7, objective=0.5)))
    assert result.reason == "all 7 trials reached the same objective, so no setting made a difference"


def test_a_single_setting_is_compared_with_what_it_does_not_explain(tmp_path: Path) -> None:
    objectives = [0.1, 0.6, 0.9, 0.7, 0.1]
    records = [
        record(f"t{place}", objective=value, config={"train": {"learning_rate": 1e-4 * 3**place}})
        for place, value in enumerate(objectives)
    ]
    (cell,) = collect_cells([results.read_run(write_run(tmp_path / "run", records))])
    result = importance(cell)
    assert list(result.shares) == ["train.learning_rate"]
    assert result.not_explained is not None
    assert 0 < result.not_explained < 0.05


def test_a_cell_without_a_search_gives_a_reason(tmp_path: Path) -> None:
    (cell,) = collect_cells([results.read_run(write_run(tmp_path / "run", [record("aaa")]))])
    assert importance(cell).reason == "nothing was searched in this cell"


def test_where_most_trials_were_stopped_the_best_quarter_of_all_says_what_matters(tmp_path: Path) -> None:
    """Stopped trials have their objective where they stopped, below that of the finished ones."""
    result = importance(cell_of(tmp_path / "run", trials(16), stopped=12))
    assert result.reason is None
    assert result.ranked
    assert (result.trials, result.not_explained) == (16, None)
    assert list(result.shares) == ["train.learning_rate"]
    assert result.like_noise == ("method.rank",)


def test_trials_that_a_person_stopped_are_not_ranked(tmp_path: Path) -> None:
    """They came no further because of somebody's wish, not because others were better."""
    assert importance(cell_of(tmp_path / "run", trials(16), stopped=12, by_hand=True)).shares == {}


def test_without_a_journal_or_with_few_trials_stopped_ones_are_not_ranked(tmp_path: Path) -> None:
    assert importance(cell_of(tmp_path / "no-journal", trials(16), journal=False, stopped=12)).shares == {}
    assert importance(cell_of(tmp_path / "few", trials(7), stopped=5)).shares == {}
