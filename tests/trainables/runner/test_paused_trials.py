"""Trials that pause where the search compares them: what they are compared by, and that they go on undisturbed."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from tests.helpers.trials import ScriptedControl, curve, make_config, run, write_rows
from trainables.config.ending import EndingRules
from trainables.results import TRAINING_OBJECTIVE, Record, rung_values
from trainables.training import training_callback
from trainables.training.pausing import Pausing
from trainables.trial.config import TrialConfig

SAVES, REPEATS = Pausing(bytes_per_second=1e15), Pausing(bytes_per_second=1e-9)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl")


class RungControl(ScriptedControl):
    """Compares by training loss at ``loss_rungs``."""

    def __init__(
        self, loss_rungs: set[int], pausing: Pausing = SAVES, passed: int = 0, **decisions: Any
    ) -> None:
        super().__init__(**decisions)
        self.loss_rungs, self.pausing, self.passed = frozenset(loss_rungs), pausing, passed


def losses(config: TrialConfig, folder: Path) -> list[float]:
    return [value for _, value in curve(config, folder)]


def test_the_training_loss_is_compared_over_the_later_half_of_the_steps_before(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config, control = make_config(tiny_model, rows, steps=7), RungControl({2, 6})
    run(config, tmp_path, control=control)
    logged = losses(config, tmp_path)
    expected = [(2, -logged[1]), (6, -fmean(logged[3:6]))]
    found = [(step, values["objective"]) for step, values in control.reports if step < 7]
    assert [step for step, _ in found] == [2, 6]
    assert [value for _, value in found] == pytest.approx([value for _, value in expected], rel=1e-6)
    assert curve(config, tmp_path, TRAINING_OBJECTIVE) == found
    # What steers the end of a trial is the validation rows, as ever.
    assert [step for step, _ in curve(config, tmp_path, "objective")] == [7]


def test_losses_are_counted_step_by_step_where_several_are_logged_at_once_and_gradients_accumulate(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"steps": 6, "batch_size": 2, "gradient_accumulation": 2}
    every = RungControl({5})
    run(make_config(tiny_model, rows, **settings), tmp_path / "every", control=every)
    seldom = RungControl({5})
    run(make_config(tiny_model, rows, **settings, logging_steps=4), tmp_path / "seldom", control=seldom)
    values = [control.reports[0][1]["objective"] for control in (every, seldom)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_where_the_validation_rows_are_scored_at_a_comparison_by_training_loss_the_record_has_theirs(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config, control = make_config(tiny_model, rows, steps=6, eval_steps=2), RungControl({2}, step2="stop")
    record = run(config, tmp_path, control=control)
    assert control.reports == [(2, {"objective": curve(config, tmp_path, TRAINING_OBJECTIVE)[0][1]})]
    assert (record.status, record.steps, record.compared_by) == ("stopped", 2, "validation")
    assert (
        record.objective == curve(config, tmp_path, "objective")[0][1] != control.reports[0][1]["objective"]
    )


def test_a_resumed_trial_logs_and_compares_the_mean_of_all_steps_where_several_are_logged_at_once(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config = make_config(tiny_model, rows, steps=8, logging_steps=4)
    run(config, tmp_path / "alone", control=RungControl({7}))
    interrupted = RungControl({7})
    interrupted.interrupt_at = 6  # steps 5 and 6 are neither logged nor compared yet
    assert run(config, tmp_path / "resumed", control=interrupted).steps == 6
    run(config, tmp_path / "resumed", control=RungControl({7}))
    for name in ("train_loss", TRAINING_OBJECTIVE):
        assert curve(config, tmp_path / "resumed", name) == curve(config, tmp_path / "alone", name)
    assert [step for step, _ in curve(config, tmp_path / "resumed")] == [4, 8]


def test_trials_of_a_cell_see_the_same_batches_whatever_is_searched(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    """Before the first update they have the same loss, but for what a method adds at random."""
    first = []
    for number, settings in enumerate(
        ({}, {"learning_rate": 5e-3, "warmup_steps": 2}, {"weight_decay": 0.1})
    ):
        config = make_config(tiny_model, rows, steps=2, **settings)
        run(config, tmp_path / str(number))
        first.append(losses(config, tmp_path / str(number))[0])
    assert len(set(first)) == 1


def test_a_trial_that_is_stopped_by_its_training_loss_says_so(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config, control = make_config(tiny_model, rows, steps=6), RungControl({2}, step2="stop")
    record = run(config, tmp_path, control=control)
    assert (record.status, record.steps, record.compared_by) == ("stopped", 2, "training")
    assert record.objective == control.reports[0][1]["objective"]
    # In supervised fine-tuning both are minus the loss, which another stage's objective is not.
    assert record.comparable_objective == record.objective
    assert record.model_copy(update={"stage": "dpo"}).comparable_objective is None
    assert rung_values(tmp_path / "trials" / config.trial_id(), {2: "training"}) == {2: record.objective}


@pytest.mark.parametrize("scored", [False, True])
def test_a_stopped_trial_saves_itself_only_to_be_scored(
    tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scored: bool
) -> None:
    monkeypatch.setattr(training_callback, "LAST_SAVE_SECONDS", 0)
    control, saved = RungControl({2}, step2="stop"), []
    monkeypatch.setattr(control, "saved", lambda: saved.append(control.step))
    config = make_config(tiny_model, rows, steps=4)
    record = run(config, tmp_path, control=control, ending=EndingRules(score_stopped=scored))
    assert (record.status, record.quality is not None, saved) == ("stopped", scored, [2] * scored)


@pytest.mark.parametrize("kind", ["full", "lora"])
@pytest.mark.parametrize("pausing", [SAVES, REPEATS], ids=["saves", "repeats"])
def test_a_paused_trial_goes_on_bit_for_bit_as_one_that_was_never_paused(
    tiny_model: Path, rows: Path, tmp_path: Path, kind: str, pausing: Pausing
) -> None:
    config = make_config(tiny_model, rows, kind, steps=6)
    alone = run(config, tmp_path / "alone", control=RungControl({2, 4}))

    def attempt(control: ScriptedControl) -> Record:
        return run(config, tmp_path / "paused", control=control)

    at_two = attempt(RungControl({2, 4}, pausing, step2="pause"))
    saved = list((tmp_path / "paused" / "trials" / config.trial_id()).glob("checkpoint-*"))
    at_four = attempt(RungControl({2, 4}, pausing, passed=2, step4="pause"))
    done = attempt(RungControl({2, 4}, pausing, passed=4))
    assert [(r.status, r.steps) for r in (at_two, at_four, done)] == [
        ("interrupted", 2),
        ("interrupted", 4),
        ("done", 6),
    ]
    assert len(saved) == (pausing is SAVES)
    for name in ("train_loss", "grad_norm", TRAINING_OBJECTIVE, "objective"):
        assert curve(config, tmp_path / "paused", name) == curve(config, tmp_path / "alone", name), name
    assert (done.objective, done.quality, done.tokens) == (alone.objective, alone.quality, alone.tokens)


def test_losses_before_a_rung_that_are_in_an_older_checkpoint_are_not_counted_for_the_next_rung(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config = make_config(tiny_model, rows, steps=9, save_steps=3)
    alone = RungControl({4, 8})
    run(config, tmp_path / "alone", control=alone)
    # A checkpoint at step 3, in the window of step 4; the pause at 4 saves nothing.
    run(config, tmp_path / "paused", control=RungControl({4, 8}, REPEATS, step4="pause"))
    again = RungControl({4, 8}, REPEATS, passed=4)
    run(config, tmp_path / "paused", control=again)
    assert [step for step, _ in again.reports] == [8, 9]
    assert again.reports[0] == alone.reports[1]


def test_a_paused_trial_has_its_predicted_memory_and_leaves_no_model(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config = make_config(tiny_model, rows, steps=4)
    record = run(config, tmp_path, control=RungControl({2}, step2="pause"))
    assert record.predicted_peak_bytes is not None
    assert (record.quality, record.compared_by) == (None, "training")
    assert not (tmp_path / "trials" / config.trial_id() / "model").exists()


def test_validation_rows_are_compared_too_where_a_rung_says_so(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config, control = make_config(tiny_model, rows, steps=6), RungControl({2}, step4="pause")
    record = run(config, tmp_path, control=control, evaluate_at=frozenset({4}))
    assert [step for step, _ in control.reports] == [2, 4]
    assert (record.status, record.steps, record.compared_by) == ("interrupted", 4, "validation")
    assert record.model_copy(update={"stage": "dpo"}).comparable_objective == record.objective


def test_only_a_checkpoint_that_is_sooner_written_than_trained_again_is_written() -> None:
    pausing = Pausing(share=1 / 4, bytes_per_second=100)
    # Each of four trials would write for 2 s and one read for as long; that one would train for 10 s again.
    assert pausing.saves(200, train_seconds=10.1)
    assert not pausing.saves(200, train_seconds=9.9)
