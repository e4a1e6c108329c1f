"""Which trials go on after a rung: the best share of all, once all have been there, whenever it is asked."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from sweeps.search.promotion import Standing, Verdicts, verdicts

RUNGS, FACTOR = (4, 12), 3


def at(rung: int, *values: float) -> list[Standing]:
    """Trials that have paused at a rung, named by letters."""
    return [Standing("abcdefghijklmnop"[n], {rung: value}, rung) for n, value in enumerate(values)]


def judged(trials: list[Standing], all_proposed: bool = True) -> Verdicts:
    return verdicts(RUNGS, FACTOR, trials, all_proposed)


def test_the_best_third_goes_on_and_the_others_are_behind() -> None:
    found = judged(at(4, 0.1, 0.9, 0.3, 0.8, 0.2, 0.5))
    assert found.promoted == {"b": 4, "d": 4}
    assert found.behind == set("acef")
    assert found.compared == (4,)


@pytest.mark.parametrize(
    ("trials", "all_proposed"),
    [
        (at(4, 0.1, 0.9, 0.3), False),  # another trial will be proposed
        ([*at(4, 0.1, 0.9), Standing("c", {}, 2)], True),  # one is on its way
        ([], True),
    ],
)
def test_nothing_is_decided_before_all_trials_have_been_there(
    trials: list[Standing], all_proposed: bool
) -> None:
    assert judged(trials, all_proposed) == Verdicts({}, frozenset(), ())


def test_a_trial_that_failed_is_not_waited_for_and_its_place_counts_in_the_budget() -> None:
    failed = Standing("z", {}, 1, ended=True)
    # Of 4 trials 2 go on, although one of them has failed.
    found = judged([*at(4, 0.1, 0.9, 0.3), failed])
    assert (set(found.promoted), found.behind) == ({"b", "c"}, {"a"})


def test_all_go_on_where_more_have_failed_than_would_have_been_stopped() -> None:
    failed = [Standing(name, {}, 1, ended=True) for name in "uvwxyz"]
    found = judged([*at(4, 0.1, 0.9), *failed])
    assert (set(found.promoted), found.behind) == ({"a", "b"}, set())


def test_of_some_equal_values_the_earlier_proposal_goes_on() -> None:
    assert set(judged(at(4, 0.5, 0.5, 0.4)).promoted) == {"a"}


def test_all_go_on_where_all_values_are_equal_to_rounding_and_are_compared_at_the_next_rung() -> None:
    values = (-2.5, -2.5000001, -2.4999999)
    found = judged(at(4, *values))
    assert (set(found.promoted), found.behind) == (set("abc"), set())
    # The same while one is on its way to the next rung, where the best third of all goes on.
    first, *others = at(4, *values)
    assert set(judged([Standing("a", first.values, 7), *others]).promoted) == set("bc")
    later = [Standing(t.trial_id, {**t.values, 12: n / 10}, 12) for n, t in enumerate([first, *others])]
    assert (judged(later).promoted, judged(later).behind) == ({"c": 12}, set("ab"))


def test_at_the_second_rung_those_compare_that_went_on_after_the_first() -> None:
    behind = [
        Standing(name, {4: value}, 4, ended=True) for name, value in (("c", 0.3), ("d", 0.2), ("e", 0.1))
    ]
    ahead = [Standing("a", {4: 0.5, 12: 0.6}, 12), Standing("b", {4: 0.4, 12: 0.7}, 12)]
    found = judged([*ahead, *behind])
    assert (found.promoted, found.behind, found.compared) == ({"b": 12}, {"a"}, (4, 12))


def test_a_trial_that_has_gone_on_keeps_its_place_whatever_the_values_of_later_ones() -> None:
    # Another three trials were added to the three of which `a` went on: of six, two go on.
    running = Standing("a", {4: 0.1}, 7)
    stopped = [Standing(name, {4: 0.05}, 4, ended=True) for name in "bc"]
    found = judged(
        [running, *stopped, *[Standing(n, {4: v}, 4) for n, v in (("d", 0.9), ("e", 0.8), ("f", 0.7))]]
    )
    assert (found.promoted, found.behind) == ({"d": 4}, {"e", "f"})


def test_a_trial_that_was_promoted_and_repeats_its_first_steps_is_promoted_again() -> None:
    # Its curve still ends at the rung: nothing tells that it has been handed out.
    trials = at(4, 0.9, 0.1, 0.2)
    stopped = [Standing(trial.trial_id, trial.values, 4, ended=True) for trial in trials[1:]]
    assert judged([trials[0], *stopped]).promoted == judged(trials).promoted == {"a": 4}


def test_a_sweep_that_follows_the_verdicts_in_any_order_has_the_same_budget_and_end() -> None:
    final = {"abcdefghijkl"[n]: random.Random(5).sample(range(12), 12)[n] / 12 for n in range(12)}
    ends = [simulated(final, random.Random(seed)) for seed in range(20)]
    assert all(end == ends[0] for end in ends)
    assert sorted(ends[0].values()) == [4] * 8 + [12] * 2 + [40] * 2


def simulated(worth: Mapping[str, float], order: random.Random) -> dict[str, int]:
    """The step at which each trial ends, where trials train in a random order and are always judged anew."""
    trials = {name: Standing(name) for name in worth}
    ended: dict[str, int] = {}
    while len(ended) < len(trials):
        found = judged(list(trials.values()))
        for name in found.behind:
            ended[name] = trials[name].step
            trials[name] = Standing(name, trials[name].values, trials[name].step, ended=True)
        can_go = [n for n in trials if n not in ended and (not trials[n].values or n in found.promoted)]
        name = order.choice(can_go or [None])  # type: ignore[list-item]
        if name is None:
            continue
        trial = trials[name]
        following = next((rung for rung in RUNGS if rung not in trial.values), 40)
        values = {**trial.values, following: worth[name]} if following in RUNGS else trial.values
        trials[name] = Standing(name, values, following, ended=following == 40)
        if following == 40:
            ended[name] = 40
    return ended
