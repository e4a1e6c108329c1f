"""Findings about many cells are one sentence, with their names; about a few, a sentence each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reports import units
from reports.analysis import settling
from reports.analysis.comparison import compare
from reports.analysis.group import Group
from reports.analysis.recommendation.answer import answer
from tests.helpers.run_folders import MIB, record, write_journal, write_run, write_scores
from tests.helpers.simulated_runs import World, simulate
from trainables import results


def group_of(folder: Path, cells: int) -> Group:
    gaps = tuple(0.01 * position for position in range(cells))
    world = World(rows=100, gaps=gaps, seeds=2, seed_spread=0.02)
    return simulate(world, folder / "run", np.random.default_rng(1))[0]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Group:
    return group_of(tmp_path_factory.mktemp("many"), 7)


def test_many_comparisons_that_are_not_settled_are_one_sentence_with_their_ranges(many: Group) -> None:
    best, *others = many.scored_rows
    rows = [row for row in others if many.verdict(row, best).outcome == "not settled"]
    (sentence,) = [each for each in answer(many).questions if f"against {best.name}" in each]
    assert sentence.startswith(f"{len(rows)} cells against {best.name}: ")
    for row in rows:
        assert f" {row.name}" in sentence.partition("(")[0]
    comparisons = [many.verdict(row, best).comparison for row in rows]
    differences = sorted(abs(100 * each.difference) for each in comparisons if each is not None)
    p_values = [p for row in rows if (p := many.verdict(row, best).p) is not None]
    assert f"to -{differences[-1]:.1f} points" in sentence
    assert f"{differences[0]:.1f} to" in sentence
    assert f"p from {min(p_values):.2g} to {max(p_values):.2g}" in sentence


def test_what_would_settle_many_comparisons_has_the_range_of_what_settles_each(many: Group) -> None:
    best, *others = many.scored_rows
    rows = [row for row in others if many.verdict(row, best).outcome == "not settled"]
    needs = [settling.needs(many, row, best) for row in rows]
    seeds = [need.seeds for each in needs for need in each if need.rows is None and need.seeds is not None]
    sentence = next(each for each in answer(many).questions if f"against {best.name}" in each)
    assert f"what would settle them: {min(seeds)} to {max(seeds)} seeds" in sentence
    assert (f"seeds (for {len(seeds)} of them)" in sentence) == (len(seeds) < len(rows))
    nothing = sum(not each for each in needs)
    assert (settling.TOO_MANY in sentence) == (nothing > 0)


def test_what_would_settle_many_comparisons_says_how_long_that_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = group_of(tmp_path, 7)
    best, *others = group.scored_rows

    def sentence() -> str:
        return next(each for each in answer(group).questions if f"against {best.name}" in each)

    assert " each)" not in sentence()  # no training was timed
    minutes = {row.name: 60.0 * (1 + place) for place, row in enumerate(group.scored_rows)}
    monkeypatch.setattr(settling, "trial_seconds", lambda row: minutes[row.name])
    rows = [row for row in others if group.verdict(row, best).outcome == "not settled"]
    needs = [need for row in rows for need in settling.needs(group, row, best) if need.rows is None]
    seconds = [need.seconds for need in needs if need.seconds is not None]
    assert len(set(seconds)) > 1
    low, high = units.duration(min(seconds)), units.duration(max(seconds))
    assert f"about {low} to {high} each)" in sentence()


def test_a_few_comparisons_that_are_not_settled_are_a_sentence_each(tmp_path: Path) -> None:
    group = group_of(tmp_path, 3)
    best, *others = group.scored_rows
    questions = [each for each in answer(group).questions if f"against {best.name}" in each]
    assert [each.partition(" ")[0] for each in questions] == [row.name for row in others]
    assert all("would settle it" in each for each in questions)


def test_what_is_true_of_several_cells_is_said_once_with_their_names(tmp_path: Path) -> None:
    from optuna.distributions import FloatDistribution

    names, rate = ("full", "lora", "freeze"), 1.02e-4
    trials = [
        record(
            f"{name}{role}", name, role=role, seed=seed, status=status, quality=0.9, workers=2,
            peak_train_bytes=1000 * MIB, config={"method": {"kind": name}, "train": {"learning_rate": rate}},
        )
        for name in names
        for role, seed, status in (("search", 0, "done"), ("finalist", 1, "failed"))
    ]  # fmt: skip
    run = write_run(tmp_path / "run", trials)
    for name in names:
        write_scores(run, f"{name}search", [1.0] * 90 + [0.0] * 10)
        domain = {"train.learning_rate": FloatDistribution(1e-4, 5e-3, log=True)}
        write_journal(run, f"sft-{name}", [({"train.learning_rate": rate}, 0.9)] * 2, domain)
    (group,) = compare([results.read_run(run)])
    questions = answer(group).questions
    order = [row.name for row in group.scored_rows]
    joined = f"{order[0]}, {order[1]} and {order[2]}"
    assert f"the memory of {joined} is that of each of their 2 workers" in questions
    assert f"the best learning rates of {joined} lie at the low ends of their search domains" in questions
    lost = f"3 of 3 trainings of {joined} with other seeds did not end, so that their figures may be too good"
    assert lost in questions
