"""When a trial's own curve says that going on is in vain: it diverged, or it overfits."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from trainables.config.ending import EndingRules
from trainables.training.early_exit import EarlyExit

DIVERGED = EndingRules(early_exit=("diverged",))
OVERFITTED = EndingRules(early_exit=("overfitted",))
FALLING = [4.0, 4.1, 3.6, 3.5, 3.1, 3.2, 2.9, 2.7, 2.6, 2.7]
RISEN = [4.0, 4.1, 7.9, 8.0, 8.1, 8.2, 7.9, 8.0]


def after(
    losses: Iterable[float], rules: EndingRules = DIVERGED, warmup: int = 0, steps: int = 40
) -> EarlyExit:
    curve = EarlyExit(rules, steps, warmup)
    for step, loss in enumerate(losses, start=1):
        curve.add_loss(step, loss)
    return curve


def validated(*objectives: float, rules: EndingRules = OVERFITTED) -> str | None:
    curve = EarlyExit(rules, 40, 0)
    for number, objective in enumerate(objectives, start=1):
        curve.add_objective(5 * number, objective)
    return curve.reason


def test_a_training_loss_that_stays_above_its_start_ends_the_trial_with_the_reason() -> None:
    assert after(RISEN[:-1]).reason is None  # the third report isn't complete
    assert after(RISEN).reason == (
        "its training loss was above that of its start for 3 reports in a row: 7.95 at step 8, 4.05 at the start"
    )


def test_a_curve_is_looked_at_once_for_each_report_and_its_losses_are_sorted_only_above_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert after([*RISEN, 8.1]).reason is None  # was said a step ago
    sorted_at: list[int] = []
    monkeypatch.setattr(EarlyExit, "_spread", lambda self: sorted_at.append(len(self._losses)) or 0.0)
    for losses in (FALLING, RISEN):
        for count in range(1, len(losses) + 1):
            _ = after(losses[:count]).reason
    assert sorted_at == [8]


def test_a_loss_that_falls_or_rises_for_fewer_reports_goes_on() -> None:
    assert after(FALLING).reason is None
    assert after([*RISEN[:6], 3.9, 3.8]).reason is None


def test_a_diverged_trial_goes_on_where_the_search_asks_for_that() -> None:
    assert after(RISEN, EndingRules()).reason is None
    assert after(RISEN, OVERFITTED).reason is None
    assert after(RISEN, EndingRules(early_exit=("diverged",), exit_reports=4)).reason is None


def test_reports_of_the_warm_up_do_not_count() -> None:
    assert after(RISEN, warmup=2).reason is not None  # the three reports begin at step 3
    assert after(RISEN, warmup=3).reason is None


def test_a_report_is_a_twentieth_of_the_steps() -> None:
    assert after(RISEN, steps=80).points_per_report == 4
    assert EarlyExit(DIVERGED, 800, 0, logging_steps=10).points_per_report == 4
    assert after(RISEN, steps=8).points_per_report == 2


def test_noise_around_the_loss_of_the_start_ends_few_trials() -> None:
    """Of 500 trials of 100 steps that learn nothing at all, at most 1 in 100."""
    rng = np.random.default_rng(0)
    ended = 0
    for losses in 2.0 + 0.3 * rng.standard_normal((500, 100)):
        curve = EarlyExit(DIVERGED, 100, 0)
        for step, loss in enumerate(losses, start=1):
            curve.add_loss(step, float(loss))
            if curve.reason is not None:
                ended += 1
                break
    assert ended <= 5


def test_an_objective_that_falls_three_times_in_a_row_is_overfitting() -> None:
    assert validated(-1.0, -0.5, -0.6, -0.7, -0.8) == (
        "it overfits: its validation objective fell 3 times in a row, from -0.5 at step 10 to -0.8 at step 25"
    )
    assert validated(-1.0, -0.5, -0.6, -0.7) is None
    assert validated(-0.5, -0.6, -0.7, -0.6, -0.7) is None
    assert validated(-1.0, -0.5, -0.6, -0.7, -0.8, rules=DIVERGED) is None


def test_a_resumed_trial_decides_by_the_curve_up_to_its_checkpoint() -> None:
    points = [{"step": step, "name": "train_loss", "value": loss} for step, loss in enumerate(RISEN, start=1)]
    points.append({"step": 3, "name": "grad_norm", "value": 9.0})
    resumed = EarlyExit(DIVERGED, 40, 0)
    resumed.replay(points, until=6)
    assert resumed.reason is None
    resumed.add_loss(7, RISEN[6])
    resumed.add_loss(8, RISEN[7])
    assert resumed.reason == after(RISEN).reason
