"""What would settle an open comparison, and where time is spent on it, on simulated runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from reports.analysis.further_work.spending import Spending, spend
from reports.analysis.pairs import pair_rows
from reports.analysis.recommendation.answer import answer
from reports.analysis.settling import needs, needs_text, trial_seconds
from reports.pages.next_steps import commands
from reports.pages.tables import cell_pairs
from tests.helpers.settled_runs import SettledRun
from tests.helpers.simulated_runs import World

CLOSE = World(rows=60, gaps=(0.0, 0.1), seeds=3, seed_spread=0.01)
ONCE = World(rows=60, gaps=(0.0, 0.06))


@pytest.fixture
def close(tmp_path: Path) -> SettledRun:
    return SettledRun(CLOSE, 600, tmp_path / "run", np.random.default_rng(7))


@pytest.fixture
def once(tmp_path: Path) -> SettledRun:
    return SettledRun(ONCE, 600, tmp_path / "run", np.random.default_rng(4))


def spent(run: SettledRun, minutes: float, unused: int = 540, trainable: bool = True) -> Spending:
    return spend(run.folder, 60 * minutes, lambda _: unused, lambda _: trainable)


def test_every_open_comparison_says_what_would_settle_it_and_how_long_that_takes(close: SettledRun) -> None:
    group = close.group()
    best, row = group.scored_rows
    assert group.verdict(row, best).outcome == "not settled"
    text = needs_text(group, row, best)
    assert re.fullmatch(
        r"\d+ seeds \(now 3, about \d+ min \d+ s\) or \d+ test rows \(now 60, about \d+ min \d+ s\)", text
    )
    assert f"; {text} would settle it)" in answer(group).text
    # A training takes setup, steps and scoring: 70 s each, of two cells.
    assert trial_seconds(row) == 70
    seeds, rows = needs(group, row, best)
    assert seeds.seeds is not None
    assert seeds.seconds == 2 * 70 * (seeds.seeds - 3)
    (cells,) = cell_pairs(group).rows
    assert cells[-1] == text
    (columns,) = pair_rows([group])
    assert (columns["settled_by_seeds"], columns["settled_by_rows"]) == (seeds.seeds, rows.rows)
    assert columns["settled_by_rows_seconds"] == rows.seconds
    assert not columns["settled_by_both"]
    assert "paretune settle" in " ".join(commands(group))


def test_a_settled_comparison_asks_for_nothing(tmp_path: Path) -> None:
    run = SettledRun(
        World(rows=100, gaps=(0.0, 0.5), seeds=3), 200, tmp_path / "run", np.random.default_rng(0)
    )
    group = run.group()
    assert "would settle" not in answer(group).text
    assert "paretune settle" not in " ".join(commands(group))
    assert spent(run, 60) == Spending((), settled=0.0)


def test_models_that_were_trained_once_are_settled_by_rows_alone(once: SettledRun) -> None:
    group = once.group()
    assert all(need.seeds is None for need in needs(group, group.scored_rows[1], group.scored_rows[0]))
    found = spent(once, 600)
    assert not found.trainings
    (scoring,) = found.scorings
    assert set(scoring.trial_ids) == {"full-0", "lora-0", "base"}
    assert 0 < scoring.rows <= 540
    assert not spent(once, 600, unused=0).scorings


def test_the_time_is_never_planned_beyond_what_is_given(close: SettledRun) -> None:
    for minutes in (3, 10, 30, 100):
        assert spent(close, minutes).seconds <= 60 * minutes
    assert spent(close, 100).settled > spent(close, 10).settled
    assert not spent(close, 0.5, unused=0).trainings
    assert "would settle it" in spent(close, 0.5, unused=0).open[0]


def test_two_cells_get_the_same_further_seeds_after_those_that_they_have(close: SettledRun) -> None:
    trainings = spent(close, 30, unused=0).trainings
    seeds = {
        cell: [each.seed for each in trainings if each.cell == cell] for cell in ("sft-full", "sft-lora")
    }
    assert seeds["sft-full"] == seeds["sft-lora"] == list(range(4, 4 + len(trainings) // 2))
    assert [each.seed for each in trainings] == sorted(each.seed for each in trainings)
    assert not spent(close, 30, unused=0, trainable=False).trainings


def test_what_was_begun_is_finished_first(once: SettledRun) -> None:
    once._write_further("full-0", 100)
    group = once.group()
    assert group.scored_rows[0].cell.further_rows == 0
    (scoring,) = spent(once, 600).scorings
    assert scoring.rows >= 100
    # Even where that alone may settle nothing.
    assert spent(once, 0).scorings


def test_added_rows_and_seeds_count_at_a_later_look(close: SettledRun) -> None:
    close.add(spent(close, 100))
    group = close.group()
    estimate = group.scored_rows[0].cell.estimate
    assert estimate is not None
    assert (estimate.rows, estimate.seeds) > (60, 3)
    assert group.look == 2
    verdict = group.verdict(*group.scored_rows)
    assert verdict.settled is (verdict.p is not None and verdict.p < 0.005)


def test_what_was_settled_is_not_taken_back_because_other_cells_were_looked_at_again(tmp_path: Path) -> None:
    world = World(rows=200, gaps=(0.0, 0.0, 0.12), seeds=3)
    run = SettledRun(world, 200, tmp_path / "run", np.random.default_rng(5))
    before = {pair: verdict for pair, verdict in run.group().verdicts.items() if verdict.settled}
    # Between what is enough at the first look and what is at the second.
    assert any(0.005 < (verdict.p or 0) < 0.04 for verdict in before.values())
    run.add(Spending(()))
    again = run.group()
    assert again.look == 2
    assert {pair: verdict for pair, verdict in again.verdicts.items() if verdict.settled} == before


def test_a_damaged_record_of_looks_is_named(close: SettledRun) -> None:
    (close.folder / "settle.json").write_text(json.dumps([]))
    with pytest.raises(ValueError, match=r"settle\.json: damaged"):
        close.group().verdicts  # noqa: B018
