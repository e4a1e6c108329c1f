"""Early stopping on recorded sweeps: what the defaults of a search rest on (``tests/benchmarks/rungs.py``)."""

from __future__ import annotations

import pytest

from sweeps.spec.settings import SearchConfig
from tests.benchmarks.recorded_sweeps import STUDIES, RecordedTrial
from tests.benchmarks.recorded_sweeps import recorded as recorded_sweeps
from tests.benchmarks.rungs import compared_value, left_after, survival_and_regret
from trainables.results import Comparison

SEARCH = SearchConfig(trials=8)
RUNGS = SEARCH.rungs(40)


def by(measure: Comparison, name: str) -> tuple[float, float]:
    values = [compared_value(step, measure) for step in RUNGS]
    return survival_and_regret(recorded_sweeps(name), values, SEARCH.reduction_factor)


def test_trials_are_compared_by_the_mean_loss_over_the_later_half_of_the_steps_before() -> None:
    trial = RecordedTrial((5.0, 4.0, 3.0, 2.0, 1.0), {4: -9.0, 40: -1.0})
    assert compared_value(4, "training")(trial) == -2.5
    assert compared_value(4, "validation")(trial) == -9.0


def test_the_best_third_is_left_after_each_comparison() -> None:
    trials = [RecordedTrial((0.0,), {4: float(n), 40: float(n)}) for n in range(8)]
    left = left_after(trials, [compared_value(4, "validation")], 3)
    assert [trial.final for trial in left] == [7.0, 6.0, 5.0]


def test_the_winner_of_a_supervised_sweep_survives_the_default_rungs_by_training_loss() -> None:
    survived, lost = by("training", "lora")
    assert survived >= 0.95
    assert lost == pytest.approx(0, abs=1e-3)  # nats per token


@pytest.mark.parametrize("step", [4, 8])
def test_an_early_comparison_of_a_preference_stage_is_surer_on_the_validation_rows(step: int) -> None:
    found = {
        measure: survival_and_regret(recorded_sweeps("dpo"), [compared_value(step, measure)], 3)
        for measure in ("training", "validation")
    }
    assert found["validation"] == (1.0, 0.0)
    assert found["training"][0] < 1.0


def test_the_winner_of_full_fine_tuning_surely_survives_a_comparison_at_half_of_the_steps_alone() -> None:
    def survival(step: int) -> float:
        return survival_and_regret(recorded_sweeps("full"), [compared_value(step, "training")], 3)[0]

    assert RUNGS == (20,)
    assert survival(20) == 1.0
    assert survival(4) < 0.5


@pytest.mark.parametrize("name", [path.stem for path in sorted(STUDIES.glob("*.json"))])
def test_the_default_rung_loses_little_of_the_recorded_studies_and_a_ladder_of_early_ones_much(
    name: str,
) -> None:
    sweeps = recorded_sweeps(name, STUDIES)

    def lost(*rungs: int) -> float:
        return survival_and_regret(sweeps, [compared_value(step, "training") for step in rungs], 3)[1]

    assert lost(*SEARCH.rungs(20)) < 0.006
    assert lost(2, 6) > 0.015
