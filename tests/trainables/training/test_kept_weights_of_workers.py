"""Trials of several workers that keep their best weights: all end at the same step, with those of one worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import equal

from tests.helpers.trials import curve, run
from tests.helpers.worker_groups import job, train_together, worker_config
from tests.trainables.training.test_worker_groups import saved_weights
from trainables import results

# The rate rises until training spoils what it has learned.
RISING: dict[str, Any] = {"steps": 8, "eval_steps": 1, "warmup_steps": 20, "scheduler": "constant"}
KEPT: dict[str, Any] = {"early_stopping": {"patience": 2}, "keep": "best"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{}, {"sharding": "fsdp"}, {"optimizer": "schedule_free", "learning_rate": 1.0}],
    ids=["whole", "sharded", "averaged"],
)
def test_several_workers_keep_the_best_weights_and_resume_to_them(
    tiny_model: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    settings = {"learning_rate": 0.3, **RISING, **KEPT, **settings}
    if settings.get("optimizer") == "schedule_free":
        pytest.importorskip("schedulefree")
        del settings["scheduler"]
    config = worker_config(tiny_model, "sft", "full", **settings)
    one = run(config, tmp_path / "one")
    assert one.steps is not None
    assert one.kept_step is not None
    assert 1 < one.kept_step < one.steps < 8
    together, resumed = tmp_path / "together", tmp_path / "resumed"
    jobs = [
        job(config, together),
        job(config, resumed, interrupt_at=one.kept_step + 1, ends="interrupted"),
        job(config, resumed),
    ]
    train_together(tmp_path, jobs)
    for folder in (together, resumed):
        record = results.read_record(folder / "trials" / config.trial_id())
        assert record is not None
        ended = (record.status, record.steps, record.kept_step, record.stop_reason)
        assert ended == ("done", one.steps, one.kept_step, one.stop_reason)
        assert record.objective == pytest.approx(one.objective, rel=1e-3)
        assert record.quality == pytest.approx(one.quality, rel=1e-3)
    assert curve(config, together, "objective") == curve(config, resumed, "objective")
    first, second = (saved_weights(folder, config) for folder in (together, resumed))
    assert first.keys() == second.keys()
    assert all(equal(weights, second[name]) for name, weights in first.items())
