"""Which weights a trial keeps, and when it ends as its validations get no better: the same however often it resumes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from tests.helpers.trials import ScriptedControl, curve, make_config, run, write_rows
from tests.helpers.worker_groups import worker_config
from trainables.config.train import TrainConfig
from trainables.results import Record, read_record
from trainables.training.activity import Activity
from trainables.training.best_validation import BestValidation
from trainables.training.checkpoints import Progress, last_checkpoint
from trainables.trial.config import TrialConfig

# The rate rises until training spoils what it has learned: the third validation is the best, and later ones are worse.
RISING: dict[str, Any] = {
    "steps": 6, "eval_steps": 1, "warmup_steps": 20, "scheduler": "constant", "dtype": "float32", "precision": "fp32",
}  # fmt: skip
RATES = {"full": 0.3, "lora": 3.0}
PATIENT = {"patience": 2}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl")


def rising(model: Path, rows: Path, method: str = "lora", **settings: Any) -> TrialConfig:
    return make_config(model, rows, method, learning_rate=RATES[method], **{**RISING, **settings})


def folder(config: TrialConfig, run_folder: Path) -> Path:
    return run_folder / "trials" / config.trial_id()


def checkpoints(config: TrialConfig, run_folder: Path) -> list[str]:
    return sorted(path.name for path in folder(config, run_folder).glob("checkpoint-*"))


def weights(path: Path) -> dict[str, Tensor]:
    return {name: weight for file in path.glob("*.safetensors") for name, weight in load_file(file).items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(weight, other[name]) for name, weight in one.items()
    )


def fingerprint(config: TrialConfig, run_folder: Path) -> list[Any]:
    """All numbers of a trial that time doesn't enter, to the last bit."""
    record = read_record(folder(config, run_folder))
    assert record is not None
    points = {name: curve(config, run_folder, name) for name in ("train_loss", "grad_norm", "objective")}
    facts = (record.steps, record.kept_step, record.best_step, record.stop_reason, record.tokens)
    saved = weights(folder(config, run_folder) / "model")
    totals = {name: float(weight.double().sum()) for name, weight in saved.items()}
    return [points, record.status, record.objective, record.quality, record.metrics, *facts, totals]


def test_the_settings_are_part_of_a_trials_id_only_where_they_are_given(tiny_model: Path, rows: Path) -> None:
    plain = make_config(tiny_model, rows, eval_steps=1)
    assert plain.trial_id() == make_config(tiny_model, rows, eval_steps=1, keep="last").trial_id()
    ids = {
        make_config(tiny_model, rows, eval_steps=1, **settings).trial_id()
        for settings in ({}, {"keep": "best"}, {"early_stopping": {}}, {"early_stopping": PATIENT})
    }
    assert len(ids) == 4
    assert "keep" not in plain.canonical()["train"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"keep": "best"}, "keep: best needs eval_steps"),
        ({"early_stopping": {}}, "early_stopping needs eval_steps"),
        ({"early_stopping": {}, "keep": "best"}, "early_stopping and keep: best need eval_steps"),
    ],
)
def test_both_need_validations_on_the_way(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TrainConfig(steps=4, learning_rate=1e-3, **settings)


def added(objectives: list[float], **early_stopping: Any) -> BestValidation:
    settings: Any = {"early_stopping": early_stopping, "keep": "best"}
    train = TrainConfig(steps=99, learning_rate=1e-3, eval_steps=1, **settings)
    best = BestValidation(train, 99, Progress())
    for step, objective in enumerate(objectives, start=1):
        assert best.end_reason is None
        best.add(step, objective)
    return best


def test_of_equal_validations_the_first_is_the_best() -> None:
    best = added([-2.0, -1.0, -1.0], patience=3)
    assert (best.progress.best_step, best.progress.validations_since) == (2, 1)


def test_small_improvements_count_once_they_add_up_to_more_than_min_delta() -> None:
    best = added([-2.0, -1.9, -1.8, -1.7, -1.6], patience=3, min_delta=0.25)
    # Better than -2.0 by more than 0.25 is -1.7, from which the next counts; the best is the highest of all.
    assert (best.progress.validations_since, best.progress.best_step) == (1, 5)
    ended = added([-2.0, -1.9, -1.85, -1.8], patience=3, min_delta=0.25)
    assert ended.end_reason == (
        "no validation better by more than 0.25 for 3 validations in a row (train.early_stopping), the best was at "
        "step 4"
    )


@pytest.mark.parametrize(
    ("min_delta", "reason"),
    [
        (0.0, "the last validation was no better (train.early_stopping), the best was at step 1"),
        (
            0.25,
            "the last validation was not better by more than 0.25 (train.early_stopping), the best was at step 1",
        ),
    ],
)
def test_the_reason_of_an_end_after_a_single_validation(min_delta: float, reason: str) -> None:
    assert added([-1.0, -2.0], patience=1, min_delta=min_delta).end_reason == reason


def test_a_trial_whose_validations_get_no_better_is_done_with_its_last_weights(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config, control = rising(tiny_model, rows, early_stopping=PATIENT), ScriptedControl()
    record = run(config, tmp_path, control=control)
    assert (record.status, record.steps, record.best_step, record.kept_step) == ("done", 5, 3, 5)
    assert record.stop_reason == (
        "no better validation for 2 validations in a row (train.early_stopping), the best was at step 3"
    )
    assert record.objective == curve(config, tmp_path, "objective")[-1][1]
    assert record.quality is not None
    # It is done: the search has nothing to decide at its last step.
    assert [step for step, _ in control.reports] == [1, 2, 3, 4]


def test_the_learning_rate_is_that_of_a_trial_which_does_not_end_early(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    # None is better by as much as 100, so that it ends after the second.
    early = rising(
        tiny_model, rows, scheduler="linear", early_stopping={"patience": 1, "min_delta": 100}, warmup_steps=1
    )
    whole = rising(tiny_model, rows, scheduler="linear", eval_steps=None, warmup_steps=1)
    rates = []
    for config in (early, whole):
        run(config, tmp_path)
        rates.append(curve(config, tmp_path, "learning_rate"))
    assert [step for step, _ in rates[0]] == [1, 2]
    assert rates[0] == rates[1][:2]


@pytest.mark.parametrize("method", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_the_best_weights_are_the_model_and_what_is_scored(
    tiny_model: Path, rows: Path, tmp_path: Path, method: str
) -> None:
    every = rising(tiny_model, rows, method, save_steps=1)
    run(every, tmp_path)
    config = rising(tiny_model, rows, method, keep="best")
    record = run(config, tmp_path)
    assert (record.status, record.steps, record.best_step, record.kept_step) == ("done", 6, 3, 3)
    assert record.stop_reason is None
    at = folder(every, tmp_path)
    third, last, model = (weights(at / name) for name in ("checkpoint-3", "checkpoint-6", "model"))
    kept = weights(folder(config, tmp_path) / "model")
    assert same(kept, third)
    assert same(model, last)
    assert not same(kept, last)
    assert record.objective == dict(curve(config, tmp_path, "objective"))[3]
    # What is scored is a trial of three steps, whose learning rates are the same.
    short = run(rising(tiny_model, rows, method, steps=3), tmp_path)
    assert (record.quality, record.metrics) == (short.quality, short.metrics)
    assert checkpoints(config, tmp_path) == []


def ended_otherwise(config: TrialConfig, run_folder: Path, end: str) -> None:
    """Runs a trial until it has its best weights, and later ones, and is interrupted or killed."""
    trial = folder(config, run_folder)
    if end == "killed between two checkpoints":
        run(config, run_folder, control=ScriptedControl(interrupt_at=4))
        shutil.rmtree(trial / "checkpoint-4")
        (trial / "record.json").unlink()
    else:
        assert run(config, run_folder, control=ScriptedControl(interrupt_at=4)).status == "interrupted"
    kept = ["checkpoint-3"] if end == "killed between two checkpoints" else ["checkpoint-3", "checkpoint-4"]
    assert checkpoints(config, run_folder) == kept
    if end == "killed while it saved":
        (trial / "checkpoint-4" / "complete.json").unlink()
    if end == "the best is damaged":
        next((trial / "checkpoint-3").glob("*.safetensors")).unlink()
        assert last_checkpoint(trial) is None


@pytest.fixture(scope="module")
def undisturbed(tiny_model: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a trial that keeps its best weights and was never interrupted."""
    run_folder = tmp_path_factory.mktemp("undisturbed")
    run(rising(tiny_model, rows, early_stopping=PATIENT, keep="best"), run_folder)
    return run_folder


@pytest.mark.parametrize(
    "end",
    [
        "interrupted",
        "killed between two checkpoints",
        pytest.param("killed while it saved", marks=pytest.mark.slow),
        pytest.param("the best is damaged", marks=pytest.mark.slow),
    ],
)
def test_a_trial_resumes_to_the_same_best_weights(
    tiny_model: Path, rows: Path, tmp_path: Path, undisturbed: Path, end: str
) -> None:
    config = rising(tiny_model, rows, early_stopping=PATIENT, keep="best")
    ended_otherwise(config, tmp_path, end)
    record = run(config, tmp_path)
    assert (record.status, record.steps, record.kept_step) == ("done", 5, 3)
    assert fingerprint(config, tmp_path) == fingerprint(config, undisturbed)


def test_a_trial_that_was_killed_while_it_was_scored_trains_no_further_step(
    tiny_model: Path, rows: Path, tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainables.runner import lifecycle
    from trainables.training import training_callback

    monkeypatch.setattr(training_callback, "LAST_SAVE_SECONDS", 0)
    config = rising(tiny_model, rows, early_stopping=PATIENT, keep="best")

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(lifecycle, "score_trial", dies)
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path)
    assert checkpoints(config, tmp_path) == ["checkpoint-3", "checkpoint-5"]
    run(config, tmp_path)
    assert fingerprint(config, tmp_path) == fingerprint(config, undisturbed)


def test_validations_that_a_search_asks_for_decide_nothing(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config = rising(tiny_model, rows, eval_steps=2, early_stopping={"patience": 1}, keep="best")
    record = run(config, tmp_path, evaluate_at=frozenset({3}))
    objectives = dict(curve(config, tmp_path, "objective"))
    assert max(objectives, key=objectives.__getitem__) == 3
    assert [*objectives] == [2, 3, 4]
    assert (record.steps, record.best_step, record.kept_step) == (4, 2, 2)


def test_a_trial_that_the_search_stops_keeps_the_weights_that_it_was_compared_by(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config = rising(tiny_model, rows, keep="best")
    record = run(config, tmp_path, control=ScriptedControl(step4="stop"))
    assert (record.status, record.steps, record.best_step, record.kept_step) == ("stopped", 4, 3, 4)
    assert record.objective == dict(curve(config, tmp_path, "objective"))[4]


def test_a_trial_that_is_compared_at_its_last_step_has_run_its_full_length(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    class Dominated(ScriptedControl):
        def stop_reason(self) -> str | None:
            return "another one is better and smaller"

    # A rung of the longer trials of its cell.
    record = run(make_config(tiny_model, rows), tmp_path, control=Dominated(step2="stop"))
    assert (record.status, record.steps, record.stop_reason) == ("done", 2, None)
    assert not record.ended_early


def test_checkpoints_that_were_asked_for_stay_beside_the_best(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config = rising(tiny_model, rows, save_steps=2, keep="best")
    assert run(config, tmp_path).kept_step == 3
    # Those of steps 1 and 2 were the best in their turn.
    assert checkpoints(config, tmp_path) == [f"checkpoint-{step}" for step in (2, 3, 4, 6)]


def test_a_best_that_there_is_no_time_to_save_is_trained_again(
    tiny_model: Path, rows: Path, tmp_path: Path, undisturbed: Path
) -> None:
    class EndsSoon(ScriptedControl):
        def may_save(self) -> bool:
            return self.step != 3

    config = rising(tiny_model, rows, early_stopping=PATIENT, keep="best")
    record = run(config, tmp_path, control=EndsSoon())
    assert (record.status, record.steps) == ("interrupted", 3)
    run(config, tmp_path)
    assert fingerprint(config, tmp_path) == fingerprint(config, undisturbed)


def test_at_most_the_best_and_two_more_checkpoints_are_there_at_a_time(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    class Watching(ScriptedControl):
        most = 0

        def follow(self, activity: Activity) -> None:
            super().follow(activity)
            self.most = max(self.most, len(checkpoints(config, tmp_path)))

    config, control = rising(tiny_model, rows, keep="best"), Watching()
    run(config, tmp_path, control=control)
    assert 2 <= control.most <= 3


def check_kept(config: TrialConfig, tmp_path: Path, before_the_last: bool = True) -> Record:
    """That a trial which keeps its best weights is the same as one that stops with them, also where it resumes."""
    record = run(config, tmp_path / "whole")
    best, steps = record.kept_step, record.steps
    assert best is not None
    assert steps is not None
    assert best == record.best_step
    assert best < steps or not before_the_last, "its best step was its last"
    if best < steps:
        there = run(config, tmp_path / "stopped", control=ScriptedControl(**{f"step{best}": "stop"}))
        assert (there.status, there.steps) == ("stopped", best)
        assert (there.objective, there.quality, there.metrics) == (
            record.objective,
            record.quality,
            record.metrics,
        )
        models = [weights(folder(config, tmp_path / name) / "model") for name in ("whole", "stopped")]
        assert same(*models)
        assert run(config, tmp_path, control=ScriptedControl(interrupt_at=best + 1)).status in (
            "interrupted",
            "done",
        )
        run(config, tmp_path)
        assert fingerprint(config, tmp_path) == fingerprint(config, tmp_path / "whole")
    return record


METHODS: dict[str, dict[str, Any]] = {
    "qlora": {"kind": "qlora", "rank": 4},
    "freeze": {"kind": "freeze", "layers": 1},
    "lisa": {"kind": "lisa", "every": 2},
    "badam": {"kind": "badam", "every": 2},
    "adalora": {"kind": "peft", "type": "adalora", "init_r": 6, "target_r": 2},
    "pissa": {"kind": "lora", "rank": 4, "init": "pissa"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_every_kind_of_method_keeps_its_best_weights(
    tiny_model: Path, rows: Path, tmp_path: Path, name: str
) -> None:
    rate = {"qlora": 3.0, "freeze": 1.0, "lisa": 0.3, "badam": 0.3, "adalora": 3.0, "pissa": 0.1}[name]
    check_kept(
        make_config(tiny_model, rows, METHODS[name], learning_rate=rate, keep="best", **RISING), tmp_path
    )


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["ppo", "dpo", "reward"])
def test_stages_with_models_beside_the_policy_keep_the_best_weights(
    tiny_model: Path, tmp_path: Path, stage: str
) -> None:
    rising = {**RISING, "eval_rows": 6}
    config = worker_config(tiny_model, stage, "lora", learning_rate=30.0, keep="best", **rising)
    check_kept(config, tmp_path, before_the_last=False)


@pytest.mark.slow
def test_where_nothing_is_held_out_the_last_weights_are_kept_and_few_checkpoints(
    tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainables.training import training_callback

    monkeypatch.setattr(training_callback, "AUTOSAVE_SECONDS", 0)
    config = rising(tiny_model, rows, eval_fraction=0, keep="best")
    with monkeypatch.context() as lasting:
        lasting.setattr("trainables.runner.run._clear_checkpoints", lambda *_: None)
        record = run(config, tmp_path)
    assert (record.status, record.steps, record.kept_step, record.best_step) == ("done", 6, 6, None)
    assert checkpoints(config, tmp_path) == ["checkpoint-6"]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["schedule_free", "muon", "adalomo"])
def test_every_kind_of_optimizer_keeps_its_best_weights(
    tiny_model: Path, rows: Path, tmp_path: Path, optimizer: str
) -> None:
    settings: dict[str, Any] = {**RISING, "optimizer": optimizer}
    if optimizer == "schedule_free":
        pytest.importorskip("schedulefree")
        del settings["scheduler"]
    rates = {"schedule_free": 1.0, "muon": 1.0, "adalomo": 3.0}
    check_kept(
        make_config(tiny_model, rows, "full", learning_rate=rates[optimizer], keep="best", **settings),
        tmp_path,
    )
