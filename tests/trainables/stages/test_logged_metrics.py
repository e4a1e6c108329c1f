"""What curves have of a trial that logs every few steps: means of all steps, the last ones too, also after a resume."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.trials import ScriptedControl, curve, make_config, run
from trainables.trial.config import TrialConfig

STEPS = 5


def logging(model: Path, kind: str, every: int) -> TrialConfig:
    return make_config(
        model, "commands", "lora", stage={"kind": kind}, steps=STEPS, batch_size=2, logging_steps=every,
        learning_rate=1e-2, eval_steps=1, eval_rows=4, eval_fraction=0.95, dtype="float32", precision="fp32",
    )  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    [
        "dpo",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("kto", "orpo", "simpo", "reward", "sft")),
    ],
)
def test_a_point_of_a_curve_is_the_mean_of_the_steps_since_the_one_before(
    tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    each, few = (logging(tiny_model, kind, every) for every in (1, 2))
    for config in (each, few):
        run(config, tmp_path, memory_gauge=None)
    run(few, tmp_path / "resumed", control=ScriptedControl(interrupt_at=3), memory_gauge=None)
    assert run(few, tmp_path / "resumed", memory_gauge=None).status == "done"
    for name in ("train_loss", "grad_norm", *few.stage.logged_metrics):
        points = dict(curve(each, tmp_path, name))
        assert name == "train_reward_margin" or len(points) == STEPS
        expected = {}
        for steps in ((1, 2), (3, 4), (5,)):
            if known := [points[step] for step in steps if step in points]:
                expected[steps[-1]] = pytest.approx(sum(known) / len(known), rel=1e-4, abs=1e-6)
        assert dict(curve(few, tmp_path, name)) == expected
        assert dict(curve(few, tmp_path / "resumed", name)) == expected


def test_a_trial_that_ends_by_its_own_curve_logs_its_last_steps(tiny_model: Path, tmp_path: Path) -> None:
    config = logging(tiny_model, "sft", 2)
    run(
        config, tmp_path, control=ScriptedControl(step3="stop"), evaluate_at=frozenset({3}), memory_gauge=None
    )
    assert [step for step, _ in curve(config, tmp_path, "train_loss")] == [2, 3]
