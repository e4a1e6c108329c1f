"""A trial from its config to its record: every setting does something, nothing depends on what ran before,
and whatever goes wrong is a row that says so."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.helpers.paths import ROOT
from tests.helpers.trials import (
    METHODS,
    ScriptedControl,
    curve,
    encoded,
    make_config,
    make_policy,
    planned_config,
    run,
    write_rows,
)
from trainables.config.train import TrainConfig
from trainables.data import loading
from trainables.memory.measurement import is_out_of_memory
from trainables.methods import LoRA
from trainables.results import Record, read_record
from trainables.runner.run import TrialContext, run_trial
from trainables.training.activity import Activity
from trainables.training.checkpoints import Progress, last_checkpoint
from trainables.training.policy import Policy
from trainables.training.trainer_setup import training_arguments
from trainables.training.training_callback import OVERFLOWS, NotFinite, TrialCallback
from trainables.trial.config import TrialConfig
from trainables.trial.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl")


def folder(config: TrialConfig, run_folder: Path) -> Path:
    return run_folder / "trials" / config.trial_id()


def weights(config: TrialConfig, run_folder: Path) -> dict[str, Tensor]:
    return load_file(folder(config, run_folder) / "model" / "model.safetensors")


def values(config: TrialConfig, run_folder: Path, name: str = "train_loss") -> list[float]:
    return [value for _, value in curve(config, run_folder, name)]


def row_tokens(config: TrialConfig) -> list[int]:
    """Tokens of each training row."""
    from types import SimpleNamespace

    policy: Any = SimpleNamespace(tokenizer=load_tokenizer(config.model.path))  # type: ignore[arg-type]
    return [
        len(row.input_ids) for row in encoded(policy, loading.load(config.data).train, config.data.cutoff)
    ]


# How long


def test_steps_are_steps(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(tiny_model, rows, steps=3)
    record = run(config, tmp_path)
    assert record.steps == 3
    assert [step for step, _ in curve(config, tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("epochs", "batch_size", "accumulation", "steps"),
    [(1, 4, 1, 9), (2, 4, 1, 18), (1, 4, 2, 5), (0.5, 5, 1, 4), (0.01, 4, 1, 1), (3, 100, 1, 2)],
)
def test_epochs_become_steps_of_which_only_the_last_may_be_short(
    epochs: float, batch_size: int, accumulation: int, steps: int
) -> None:
    """35 rows: 9 batches of 4, the last of 3; with accumulation 2, 5 steps, the last of one batch; twice 35: 18."""
    train = TrainConfig(
        epochs=epochs, batch_size=batch_size, gradient_accumulation=accumulation, learning_rate=1e-3
    )
    assert train.total_steps(35) == steps


@pytest.mark.parametrize(("accumulation", "steps"), [(1, 9), (2, 5)])
def test_an_epoch_sees_every_row_once(
    tiny_model: Path, rows: Path, tmp_path: Path, accumulation: int, steps: int
) -> None:
    """35 rows twice in batches of 8, of which the last has 6."""
    config = make_config(tiny_model, rows, epochs=2, batch_size=8, gradient_accumulation=accumulation)
    record = run(config, tmp_path)
    tokens = row_tokens(config)
    assert len(tokens) == 35
    assert record.steps == steps
    assert record.tokens == 2 * sum(tokens)


@pytest.mark.parametrize("lengths", [{}, {"steps": 3, "epochs": 1}])
def test_one_of_steps_and_epochs_is_wanted(lengths: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="give exactly one of steps and epochs"):
        TrainConfig(learning_rate=1e-3, **lengths)  # type: ignore[arg-type]


def test_a_bigger_batch_is_more_tokens_a_step(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    records = [run(make_config(tiny_model, rows, batch_size=size), tmp_path) for size in (2, 8)]
    assert records[1].tokens == pytest.approx(4 * records[0].tokens, rel=0.3)  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_gradient_accumulation_equals_a_bigger_batch(
    tiny_model: Path, rows: Path, tmp_path: Path, kind: str
) -> None:
    big = make_config(tiny_model, rows, kind, steps=3, batch_size=8, precision="fp32")
    small = make_config(
        tiny_model, rows, kind, steps=3, batch_size=2, gradient_accumulation=4, precision="fp32"
    )
    for config in (big, small):
        run(config, tmp_path)
    for name in ("train_loss", "grad_norm", "objective"):
        assert values(small, tmp_path, name) == pytest.approx(values(big, tmp_path, name), rel=1e-4)


# Learning rate


SCHEDULES: list[tuple[dict[str, Any], list[float]]] = [
    ({"scheduler": "constant"}, [1, 1, 1, 1]),
    ({"scheduler": "linear"}, [1, 3 / 4, 2 / 4, 1 / 4]),
    ({"scheduler": "linear", "warmup_steps": 2}, [0, 1 / 2, 1, 1 / 2]),
    ({"scheduler": "constant_with_warmup", "warmup_steps": 2}, [0, 1 / 2, 1, 1]),
    ({"scheduler": "constant", "warmup_steps": 2}, [0, 1 / 2, 1, 1]),
    ({"scheduler": "constant", "warmup_ratio": 0.5}, [0, 1 / 2, 1, 1]),
    ({"scheduler": "linear", "warmup_ratio": 0.5}, [0, 1 / 2, 1, 1 / 2]),
    ({"scheduler": "linear", "warmup_ratio": 0.3}, [0, 1 / 2, 1, 1 / 2]),  # 1.2 of 4 steps, rounded up
    ({"scheduler": "linear", "warmup_ratio": 0.0}, [1, 3 / 4, 2 / 4, 1 / 4]),
    ({"scheduler": "cosine"}, [(1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]),
]


@pytest.fixture(scope="module")
def policy(tiny_model: Path, rows: Path) -> Policy:
    """What the trainers of several tests are made of; nothing trains it."""
    return make_policy(make_config(tiny_model, rows))


@pytest.mark.parametrize(("settings", "shares"), SCHEDULES)
def test_the_learning_rate_follows_its_schedule(
    policy: Policy, tiny_model: Path, rows: Path, settings: dict[str, Any], shares: list[float]
) -> None:
    """The rate that each of four steps is taken with, as a share of the one that was given."""
    config = make_config(tiny_model, rows, steps=4, learning_rate=2e-3, **settings)
    train, found = loading.load(config.data).train, []
    options = training_arguments(config.train, 4, Path("/nonexistent"), 1, "cpu") | {"save_strategy": "no"}
    trainer: Any = config.stage.trainer(policy, train, config.train, config.data.cutoff, options)
    trainer.create_optimizer_and_scheduler(4)
    for _ in shares:
        found.append(trainer.optimizer.param_groups[0]["lr"])
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    assert found == pytest.approx([2e-3 * share for share in shares])


@pytest.mark.parametrize(("settings", "shares"), [SCHEDULES[7], SCHEDULES[9]])
def test_the_learning_rate_of_each_step_is_in_the_curve(
    tiny_model: Path, rows: Path, tmp_path: Path, settings: dict[str, Any], shares: list[float]
) -> None:
    config = make_config(tiny_model, rows, steps=4, learning_rate=2e-3, **settings)
    run(config, tmp_path)
    assert values(config, tmp_path, "learning_rate") == pytest.approx([2e-3 * share for share in shares])


@pytest.mark.parametrize(
    ("ratio", "steps", "expected"), [(0.07, 100, 7), (0.1, 30, 3), (0.03, 40, 2), (1, 8, 8)]
)
def test_a_warmup_ratio_is_a_share_of_the_steps_rounded_up(ratio: float, steps: int, expected: int) -> None:
    train = TrainConfig(steps=steps, learning_rate=1e-3, warmup_ratio=ratio)
    assert train.total_warmup(steps) == expected


def test_a_warmup_is_given_once() -> None:
    with pytest.raises(ValidationError, match="give only one of warmup_steps and warmup_ratio"):
        TrainConfig(steps=8, learning_rate=1e-3, warmup_steps=2, warmup_ratio=0.1)
    # What a trial's own config.json says: the default beside the ratio.
    assert TrainConfig(steps=8, learning_rate=1e-3, warmup_steps=0, warmup_ratio=0.5).total_warmup(8) == 4


def test_inverse_sqrt_falls(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(tiny_model, rows, steps=4, scheduler="inverse_sqrt", warmup_steps=1)
    run(config, tmp_path)
    rates = values(config, tmp_path, "learning_rate")
    assert rates[1] == pytest.approx(1e-3)
    assert all(late < early for early, late in pairwise(rates[1:]))


# Optimizer


def test_weight_decay_takes_its_share_of_every_matrix(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    """AdamW, decoupled: w - lr * decay * w - (Adam's step). Norms are not decayed."""
    settings: dict[str, Any] = {"steps": 1, "learning_rate": 1e-2, "precision": "fp32"}
    plain, decayed = (
        make_config(tiny_model, rows, "full", weight_decay=share, **settings) for share in (0.0, 0.5)
    )
    for config in (plain, decayed):
        run(config, tmp_path)
    start = load_file(tiny_model / "model.safetensors")
    without, with_decay = weights(plain, tmp_path), weights(decayed, tmp_path)
    for name, weight in start.items():
        expected = 0.0 if "norm" in name else 1e-2 * 0.5 * weight.float()
        torch.testing.assert_close(
            without[name] - with_decay[name], expected + 0 * weight.float(), atol=1e-6, rtol=0
        )


def test_weight_decay_reaches_loraplus_too(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "steps": 1,
        "learning_rate": 1e-2,
        "precision": "fp32",
        "scheduler": "constant",
    }
    method = {"kind": "lora", "targets": ["q_proj"], "loraplus_ratio": 4}
    found = []
    for share in (0.0, 0.5):
        config = make_config(tiny_model, rows, method, weight_decay=share, **settings)
        run(config, tmp_path)
        found.append(load_file(folder(config, tmp_path) / "model" / "adapter_model.safetensors"))
    name = next(name for name in found[0] if "lora_A" in name)
    torch.testing.assert_close(found[1][name], found[0][name] * (1 - 1e-2 * 0.5), atol=2e-4, rtol=0)
    assert not torch.allclose(found[1][name], found[0][name], atol=1e-5)


@pytest.mark.parametrize("limit", [None, 0.01])
def test_the_gradient_is_clipped_to_its_greatest_norm(
    tiny_model: Path, rows: Path, tmp_path: Path, limit: float | None
) -> None:
    """One step of plain SGD moves the weights by learning rate x gradient."""
    config = make_config(
        tiny_model,
        rows,
        "full",
        steps=1,
        optimizer="sgd",
        learning_rate=0.1,
        max_grad_norm=limit,
        precision="fp32",
    )
    run(config, tmp_path)
    start, end = load_file(tiny_model / "model.safetensors"), weights(config, tmp_path)
    moved = torch.cat([(end[name] - start[name].float()).flatten() for name in start]).norm().item()
    ((_, norm),) = curve(config, tmp_path, "grad_norm")
    assert norm > 0.1
    assert moved == pytest.approx(0.1 * (norm if limit is None else limit), rel=1e-3)


# `training/optimizers` trains with every kind; these are names of kinds with options.
@pytest.mark.parametrize(
    ("optimizer", "kind"),
    [
        ("adamw_8bit", "full"),
        ("paged_adamw", "full"),
        ("adamw_8bit", "qlora-4bit"),
        ("paged_adamw_8bit", "qlora-4bit"),
    ],
)
def test_every_optimizer_trains(
    tiny_model: Path, rows: Path, tmp_path: Path, optimizer: str, kind: str
) -> None:
    config = make_config(tiny_model, rows, kind, steps=4, optimizer=optimizer, learning_rate=1e-2)
    run(config, tmp_path)
    losses = values(config, tmp_path)
    assert losses[-1] < losses[0] - 0.01


@pytest.mark.parametrize(
    ("optimizer", "per_weight"),
    [
        ("adamw_8bit", 2),
        ("sgd", 0),
        pytest.param("adamw", 8, marks=pytest.mark.slow),
        pytest.param("paged_adamw", 8, marks=pytest.mark.slow),
    ],
)
def test_optimizers_hold_the_state_they_are_named_for(
    wide_model: Path, rows: Path, optimizer: str, per_weight: float
) -> None:
    """Bytes per weight; transformers has bitsandbytes keep an embedding's state in 32 bits."""
    from tests.helpers.tiny_model import VOCAB
    from trainables.memory.measurement import measure

    found = measure(make_config(wide_model, rows, "full", optimizer=optimizer))
    assert found.weight_bytes is not None
    weights, embedding = found.weight_bytes / 4, VOCAB * 256
    expected = per_weight * (weights - embedding) + (8 if per_weight else 0) * embedding
    assert found.optimizer_bytes == pytest.approx(expected, rel=0.02, abs=0)


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.helpers.tiny_model import make_model

    return make_model(tmp_path_factory.mktemp("models") / "wide", hidden=256, layers=1)


# Precision, checkpointing, seed


def test_precisions_agree_about_the_loss_and_not_to_the_last_bit(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    first = {}
    for precision in ("fp32", "bf16", "pure_bf16"):
        config = make_config(tiny_model, rows, "full", precision=precision)
        run(config, tmp_path)
        first[precision] = values(config, tmp_path)[0]
    assert first["bf16"] == pytest.approx(first["fp32"], abs=0.03)
    assert first["pure_bf16"] == pytest.approx(first["fp32"], abs=0.03)
    assert first["bf16"] != first["fp32"]


# Of an 8-bit base and of frozen layers, checkpoints and evaluations are those of 4 bits and of all layers.
@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[pytest.mark.slow] * (kind in ("freeze", "qlora-8bit"))) for kind in METHODS],
)
def test_neither_gradient_checkpointing_nor_evaluating_on_the_way_changes_a_number(
    tiny_model: Path, rows: Path, tmp_path: Path, kind: str
) -> None:
    found = []
    for more in ({}, {"eval_steps": 1}, {"eval_steps": 1, "gradient_checkpointing": True}):
        settings: dict[str, Any] = {"steps": 3, "precision": "fp32", "gradient_checkpointing": False, **more}
        config = make_config(tiny_model, rows, kind, **settings)
        run(config, tmp_path)
        found.append((values(config, tmp_path), values(config, tmp_path, "grad_norm")))
    assert len(found[0][0]) == 3
    assert found[0] == found[1] == found[2]


def test_another_seed_sees_the_rows_in_another_order(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    losses = []
    for seed in (0, 1):
        config = make_config(tiny_model, rows, "full", seed=seed)
        run(config, tmp_path)
        losses.append(values(config, tmp_path))
    assert losses[0][0] != losses[1][0]


def test_every_method_sees_the_same_rows_in_the_same_order(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    """A first step is taken from the base model by all of them (fp32, so that one number is one number)."""
    losses, tokens = [], set()
    for kind in ("full", "freeze", "lora"):
        config = make_config(tiny_model, rows, kind, precision="fp32", steps=1)
        tokens.add(run(config, tmp_path).tokens)
        losses += values(config, tmp_path)
    assert len(tokens) == 1
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)


# Intervals


def test_points_are_logged_evaluated_and_saved_when_asked(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config = make_config(tiny_model, rows, steps=7, logging_steps=3, eval_steps=2, save_steps=3)
    control = ScriptedControl()
    run(config, tmp_path, control=control)
    assert [step for step, _ in curve(config, tmp_path)] == [3, 6, 7]  # the last one, too
    assert [step for step, _ in curve(config, tmp_path, "objective")] == [2, 4, 6, 7]
    assert [step for step, _ in control.reports] == [2, 4, 6, 7]
    saved = sorted(folder(config, tmp_path).glob("checkpoint-*"))
    # Checkpoints that were asked for stay; transformers adds one at the end.
    assert [path.name for path in saved] == ["checkpoint-3", "checkpoint-6", "checkpoint-7"]
    assert all((path / "complete.json").exists() for path in saved)


def test_results_are_reported_to_the_search_at_its_rungs_and_at_the_end(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config, control = make_config(tiny_model, rows, steps=5), ScriptedControl()
    record = run(config, tmp_path, control=control, evaluate_at=frozenset({2, 4}))
    assert [step for step, _ in control.reports] == [2, 4, 5]
    assert record.objective == control.reports[-1][1]["objective"]
    assert record.objective == -control.reports[-1][1]["validation_loss"]


def test_training_on_the_prompt_too_is_another_loss(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    found = []
    for whole in (False, True):
        config = make_config(tiny_model, rows, stage={"train_on_prompt": whole})
        found.append((run(config, tmp_path).tokens, values(config, tmp_path)[0]))
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]


# Records


def test_a_record_says_what_was_done_where_and_with_what(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    import time

    config = make_config(tiny_model, rows)
    handed_over = time.time() - 5
    place = TrialContext(tmp_path, slot="slot-1", slot_trial=3, handed_over_at=handed_over)
    record = run_trial(config, place)
    assert record == read_record(folder(config, tmp_path))
    assert record.status == "done"
    assert (record.stage, record.method, record.cell) == ("sft", "lora", "sft-lora")
    assert (record.slot, record.slot_trial) == ("slot-1", 3)
    assert record.setup_seconds is not None
    assert 5 < record.setup_seconds < time.time() - handed_over
    assert record.train_seconds is not None
    assert record.train_seconds > 0
    assert record.tokens_per_second == pytest.approx(record.tokens / record.train_seconds)  # type: ignore[operator]
    assert record.trainable_params == 8192  # rank 4 beside every linear layer
    assert record.total_params == 106816 + 8192
    assert record.packages["torch"]
    assert record.data_sha256 == loading.load(config.data).sha256
    assert TrialConfig.model_validate(record.config) == config


def test_parameters_of_a_quantized_base_count_as_what_they_stand_for(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    for kind in ("qlora-4bit", "qlora-8bit"):
        assert run(make_config(tiny_model, rows, kind), tmp_path).total_params == 106816 + 8192


def test_the_base_model_is_scored_and_nothing_is_trained(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config = make_config(tiny_model, rows, None)
    record = run(config, tmp_path)
    assert record.status == "done"
    assert (record.role, record.method) == ("base", "base")
    assert record.quality is not None
    assert record.objective is not None
    untrained = (
        record.steps,
        record.tokens,
        record.train_seconds,
        record.trainable_params,
        record.artifact_bytes,
    )
    assert untrained == (None,) * 5
    assert not (folder(config, tmp_path) / "model").exists()


def test_training_makes_a_better_model_than_the_base(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    base = run(make_config(tiny_model, rows, None), tmp_path)
    trained = run(make_config(tiny_model, rows, "full", steps=20, learning_rate=3e-3), tmp_path)
    assert trained.quality < base.quality - 1  # type: ignore[operator]
    assert trained.objective > base.objective + 1  # type: ignore[operator]


# The id


def test_names_of_entries_are_labels_and_not_part_of_the_id(tiny_model: Path, rows: Path) -> None:
    plain = make_config(tiny_model, rows, {"kind": "lora"})
    named = make_config(tiny_model, rows, {"kind": "lora", "name": "mine"}, stage={"name": "first"})
    assert named.trial_id() == plain.trial_id()
    assert named.memory_shape() == plain.memory_shape()
    assert named.model_copy(update={"cell": "other"}).trial_id() != plain.trial_id()
    assert named.model_copy(update={"method_name": "other"}).trial_id() != plain.trial_id()


def test_content_hashes_stand_for_paths_in_the_id(tiny_model: Path, rows: Path) -> None:
    def planned(model: str, path: str, contents: str) -> TrialConfig:
        config = make_config(Path(model), path)
        return config.model_copy(
            update={
                "model": config.model.model_copy(update={"fingerprint": "f" * 64}),
                "data": config.data.model_copy(update={"sha256": contents}),
            }
        )

    assert planned("/a", "/a.json", "1").trial_id() == planned("/b", "/b.json", "1").trial_id()
    assert planned("/a", "/a.json", "1").trial_id() != planned("/a", "/a.json", "2").trial_id()


def test_a_setting_that_came_later_leaves_the_ids_of_earlier_trials_as_they_were() -> None:
    """The ids that these configs had before `warmup_ratio` existed."""
    config = planned_config()
    assert config.trial_id() == "e749752b6abe"
    assert config.memory_shape() == "7e4e0c62506e"
    ratio = config.train.model_copy(update={"warmup_ratio": 0.1})
    assert config.model_copy(update={"train": ratio}).trial_id() != config.trial_id()


@pytest.mark.parametrize(
    ("stage", "earlier"),
    [
        ("pretrain", ("d1a56e5b1c0c", "a509edeebdcc")),
        ("dpo", ("c9cd33070ed1", "649d0420c4d8")),
        ("kto", ("1fb83f1244cf", "137fddd63141")),
        ("orpo", ("9e775630dbb1", "0dad9b545244")),
        ("simpo", ("7884c95b0a2c", "9baa1110870f")),
        ("reward", ("438df0d1fb86", "41f937e2613b")),
    ],
)
def test_the_ids_and_the_memory_shapes_of_other_stages_are_those_before_stages_named_their_head(
    stage: str, earlier: tuple[str, str]
) -> None:
    config = TrialConfig.model_validate(
        {**planned_config().model_dump(mode="json"), "stage": {"kind": stage}}
    )
    assert (config.trial_id(), config.memory_shape()) == earlier


@pytest.mark.parametrize(
    "leaves",
    [
        {"learning_rate": 2e-3},
        {"warmup_ratio": 0.1},
        {"seed": 1},
        {"steps": 3},
        {"batch_size": 2},
        {"precision": "fp32"},
        {"cutoff": 64},
    ],
)
def test_every_setting_is_part_of_the_id(tiny_model: Path, rows: Path, leaves: dict[str, Any]) -> None:
    assert make_config(tiny_model, rows, **leaves).trial_id() != make_config(tiny_model, rows).trial_id()


# What goes wrong


def failed(config: TrialConfig, run_folder: Path, **options: Any) -> Record:
    record = run_trial(config, TrialContext(run_folder), **options)
    assert record == read_record(folder(config, run_folder))
    assert (folder(config, run_folder) / "error.txt").read_text().startswith("Traceback")
    return record


@pytest.fixture(scope="module")
def broken_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a weight that is not a number."""
    path = tmp_path_factory.mktemp("models") / "broken"
    shutil.copytree(tiny_model, path)
    tensors = load_file(path / "model.safetensors")
    tensors["model.norm.weight"][0] = math.nan
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    return path


@pytest.mark.parametrize("kind", [*METHODS])
def test_a_loss_that_is_no_number_ends_the_trial_as_failed(
    broken_model: Path, rows: Path, tmp_path: Path, kind: str
) -> None:
    record = failed(make_config(broken_model, rows, kind, steps=5), tmp_path)
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.startswith("NotFinite: loss is nan at step 1")
    assert record.steps in (0, 1)
    assert record.quality is None


def test_a_learning_rate_out_of_this_world_ends_the_trial_as_failed(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    record = failed(make_config(tiny_model, rows, "full", steps=10, learning_rate=1e36), tmp_path)
    assert record.status == "failed"
    assert record.error is not None
    assert "NotFinite" in record.error


def test_an_answer_that_is_no_number_is_seen_between_two_log_lines(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config = make_config(tiny_model, rows, "full", steps=6, learning_rate=1e36, logging_steps=100)
    record = failed(config, tmp_path)
    assert record.status == "failed"
    assert "NotFinite" in (record.error or "")


def test_a_base_model_that_gives_no_numbers_is_a_failed_row(
    broken_model: Path, rows: Path, tmp_path: Path
) -> None:
    record = failed(make_config(broken_model, rows, None), tmp_path)
    assert record.status == "failed"
    assert record.objective is None
    assert record.quality is None


def test_an_error_inside_the_stage_is_a_failed_row(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    (model / "chat_template.jinja").write_text(
        "{% for message in messages %}{% if message['role'] == 'assistant' %}"
        "{{ raise_exception('answers are not for this model') }}{% endif %}{{ message['content'] }}{% endfor %}"
    )
    record = failed(make_config(model, rows), tmp_path)
    assert record.status == "failed"
    # The row's place in its file comes first.
    assert "TemplateError: rows.jsonl:" in (record.error or "")
    assert "the chat template can't render the messages: answers are not for this model" in (
        record.error or ""
    )


def test_a_model_that_is_not_there_is_a_failed_row(rows: Path, tmp_path: Path) -> None:
    record = failed(make_config(tmp_path / "nowhere", rows), tmp_path)
    assert record.status == "failed"
    assert "There is no model folder" in (record.error or "")


class Hungry(ScriptedControl):
    """Asks for more memory than any machine has when it is reported to."""

    def report(self, step: int, values: dict[str, float]) -> Any:
        return torch.empty(2**52, dtype=torch.uint8)


def test_running_out_of_memory_is_a_finding(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    record = failed(make_config(tiny_model, rows), tmp_path, control=Hungry())
    assert record.status == "out_of_memory"
    assert "can't allocate memory" in (record.error or "")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:128] . DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("NCCL error: Cuda failure 2 'out of memory'"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("shapes don't fit"), False),
        (ValueError("memory"), False),
    ],
)
def test_out_of_memory_errors_are_distinguished_from_others(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_a_failed_trial_leaves_the_process_fit_for_the_next(
    tiny_model: Path, broken_model: Path, rows: Path, tmp_path: Path
) -> None:
    config = make_config(tiny_model, rows)
    run(config, tmp_path / "before")
    failed(make_config(broken_model, rows), tmp_path)
    run(config, tmp_path / "after")
    assert values(config, tmp_path / "after") == values(config, tmp_path / "before")


# The same numbers


DROPOUT: dict[str, dict[str, Any]] = {
    "full": {"kind": "full"},
    "lora": {"kind": "lora", "dropout": 0.2},
    "qlora": {"kind": "qlora", "dropout": 0.2},
}


def fingerprint(config: TrialConfig, run_folder: Path) -> list[Any]:
    """All numbers of a trial that time doesn't enter, to the last bit."""
    record = read_record(folder(config, run_folder))
    assert record is not None
    points = (folder(config, run_folder) / "curve.jsonl").read_text().splitlines()
    return [*points, record.objective, record.quality, record.tokens]


def test_the_same_config_gives_the_same_numbers_whatever_ran_before(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    configs = {kind: make_config(tiny_model, rows, method) for kind, method in DROPOUT.items()}
    found: dict[str, list[list[Any]]] = {kind: [] for kind in DROPOUT}
    for place, kind in enumerate(("full", "lora", "qlora", "full", "qlora", "lora", "lora")):
        run(configs[kind], tmp_path / str(place))
        found[kind].append(fingerprint(configs[kind], tmp_path / str(place)))
    for kind, numbers in found.items():
        assert all(numbers[0] == other for other in numbers[1:]), kind


def in_a_fresh_process(config: TrialConfig, run_folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trainables.system import quiet; quiet.silence()\n"
        "from trainables.trial.config import TrialConfig; from trainables.runner.run import TrialContext, run_trial\n"
        "run_trial(TrialConfig.model_validate_json(sys.argv[1]), TrialContext(Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, config.model_dump_json(), str(run_folder)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_a_fresh_process_gives_the_same_numbers_and_resumes_to_them(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config = make_config(tiny_model, rows, DROPOUT["lora"], steps=6)
    run(config, tmp_path / "workdir")
    in_a_fresh_process(config, tmp_path / "there")
    assert fingerprint(config, tmp_path / "there") == fingerprint(config, tmp_path / "workdir")
    run(config, tmp_path / "resumed", control=ScriptedControl(interrupt_at=3))
    in_a_fresh_process(config, tmp_path / "resumed")
    assert fingerprint(config, tmp_path / "resumed") == fingerprint(config, tmp_path / "workdir")


# Interrupt and resume


# Without dropout, `test_stages_and_methods` resumes every method.
@pytest.mark.parametrize("method", [DROPOUT["lora"], DROPOUT["qlora"]])
def test_an_interrupted_trial_resumes_to_the_same_curve(
    tiny_model: Path, rows: Path, tmp_path: Path, method: dict[str, Any]
) -> None:
    config = make_config(tiny_model, rows, method, steps=4, eval_steps=2)
    run(config, tmp_path / "undisturbed")
    record = run(config, tmp_path, control=ScriptedControl(interrupt_at=3))
    assert record.status == "interrupted"
    assert record.steps == 3
    assert record.quality is None
    (checkpoint,) = folder(config, tmp_path).glob("checkpoint-*")
    assert checkpoint.name == "checkpoint-3"
    assert json.loads((checkpoint / "complete.json").read_text())["step"] == 3
    again = run(config, tmp_path)
    assert again.status == "done"
    assert again.steps == 4
    assert fingerprint(config, tmp_path) == fingerprint(config, tmp_path / "undisturbed")
    assert again.train_seconds > record.train_seconds  # type: ignore[operator]


def test_a_trial_that_is_interrupted_twice_still_gets_there(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config = make_config(tiny_model, rows, DROPOUT["lora"], steps=6)
    run(config, tmp_path / "undisturbed")
    for _ in range(2):
        assert run(config, tmp_path, control=ScriptedControl(interrupt_at=2)).status == "interrupted"
    run(config, tmp_path)
    assert fingerprint(config, tmp_path) == fingerprint(config, tmp_path / "undisturbed")


def test_loraplus_resumes_with_its_own_learning_rates(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(tiny_model, rows, {"kind": "lora", "loraplus_ratio": 16}, steps=3)
    run(config, tmp_path / "undisturbed")
    run(config, tmp_path, control=ScriptedControl(interrupt_at=2))
    run(config, tmp_path)
    assert fingerprint(config, tmp_path) == fingerprint(config, tmp_path / "undisturbed")


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_pissa_and_olora_resume(tiny_model: Path, rows: Path, tmp_path: Path, init: str) -> None:
    config = make_config(tiny_model, rows, {"kind": "lora", "init": init}, steps=3)
    run(config, tmp_path / "undisturbed")
    run(config, tmp_path, control=ScriptedControl(interrupt_at=2))
    run(config, tmp_path)
    assert fingerprint(config, tmp_path) == fingerprint(config, tmp_path / "undisturbed")


def test_a_checkpoint_without_its_marker_is_not_one(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(tiny_model, rows, steps=6, save_steps=2)
    run(config, tmp_path, control=ScriptedControl(interrupt_at=4))
    trial = folder(config, tmp_path)
    newest, progress = last_checkpoint(trial)  # type: ignore[misc]
    assert (newest.name, progress.step) == ("checkpoint-4", 4)
    (newest / "complete.json").unlink()
    assert last_checkpoint(trial)[0].name == "checkpoint-2"  # type: ignore[index]
    (trial / "checkpoint-2" / "complete.json").unlink()
    assert last_checkpoint(trial) is None
    assert run(config, tmp_path).status == "done"
    steps = [json.loads(line)["step"] for line in (trial / "curve.jsonl").read_text().splitlines()]
    assert steps.count(1) == 2 * 3  # loss, gradient and learning rate, twice: it began anew


def test_a_trial_that_is_interrupted_while_it_saves_itself_trains_no_further_step(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    class WhileSaving(ScriptedControl):
        def follow(self, activity: Activity) -> None:
            self.saving = activity.phase == "saving" or activity.saved_step > 0

        def interrupted(self) -> bool:
            return self.saving

    config = make_config(tiny_model, rows, steps=6, save_steps=2)
    record = run(config, tmp_path, control=WhileSaving())
    assert (record.status, record.steps) == ("interrupted", 2)
    assert [path.name for path in folder(config, tmp_path).glob("checkpoint-*")] == ["checkpoint-2"]


def test_a_checkpoint_that_could_not_be_written_to_its_end_is_not_begun(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    class OutOfTime(ScriptedControl):
        def may_save(self) -> bool:
            return self.step == 2

    config = make_config(tiny_model, rows, steps=5, save_steps=2)
    record = run(config, tmp_path, control=OutOfTime())
    assert record.status == "done"
    assert [path.name for path in folder(config, tmp_path).glob("checkpoint-*")] == ["checkpoint-2"]


def test_the_tenth_checkpoint_is_newer_than_the_ninth(tmp_path: Path) -> None:
    for step in (9, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "complete.json").write_text(json.dumps({"step": step}))
    assert last_checkpoint(tmp_path) == (tmp_path / "checkpoint-10", Progress(step=10))


def test_a_trial_that_died_while_it_was_scored_trains_no_further(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    """Its last checkpoint is of its last step: resuming is scoring."""
    config = make_config(tiny_model, rows, DROPOUT["lora"], steps=6, save_steps=3)
    run(config, tmp_path / "undisturbed")
    shutil.copytree(folder(config, tmp_path / "undisturbed"), folder(config, tmp_path))
    (folder(config, tmp_path) / "record.json").unlink()
    shutil.rmtree(folder(config, tmp_path) / "model")
    record = run(config, tmp_path)
    assert (record.status, record.steps) == ("done", 6)
    assert fingerprint(config, tmp_path) == fingerprint(config, tmp_path / "undisturbed")


def test_checkpoints_that_only_served_to_resume_are_gone_in_the_end(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config = make_config(tiny_model, rows, steps=4)
    run(config, tmp_path, control=ScriptedControl(interrupt_at=2))
    assert [*folder(config, tmp_path).glob("checkpoint-*")]
    run(config, tmp_path)
    assert not [*folder(config, tmp_path).glob("checkpoint-*")]


def test_an_interrupt_at_the_last_step_comes_too_late(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    record = run(make_config(tiny_model, rows, steps=3), tmp_path, control=ScriptedControl(interrupt_at=3))
    assert (record.status, record.steps) == ("done", 3)
    assert record.quality is not None


def test_a_trial_that_is_stopped_at_a_rung_is_scored_where_it_stopped(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config, control = make_config(tiny_model, rows, steps=6), ScriptedControl(step2="stop")
    record = run(config, tmp_path, control=control, evaluate_at=frozenset({2, 4}))
    assert (record.status, record.steps) == ("stopped", 2)
    assert [step for step, _ in control.reports] == [2]
    assert record.objective == control.reports[0][1]["objective"]
    assert record.quality is not None
    assert (folder(config, tmp_path) / "model").exists()
    assert not [*folder(config, tmp_path).glob("checkpoint-*")]


def test_a_trial_that_is_stopped_at_its_last_step_is_done(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    record = run(make_config(tiny_model, rows, steps=2), tmp_path, control=ScriptedControl(step2="stop"))
    assert (record.status, record.steps) == ("done", 2)


def test_a_trial_that_died_after_it_was_stopped_trains_no_further(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config = make_config(tiny_model, rows, steps=6, save_steps=2)
    stopped = run(config, tmp_path, control=ScriptedControl(step2="stop"), evaluate_at=frozenset({2}))
    (folder(config, tmp_path) / "record.json").unlink()
    again = run(config, tmp_path)
    assert (again.status, again.steps) == ("stopped", 2)
    assert (again.objective, again.quality) == (stopped.objective, stopped.quality)


def test_a_line_that_a_killed_process_cut_short_does_not_swallow_the_next(tmp_path: Path) -> None:
    from trainables.results import read_curve

    (tmp_path / "curve.jsonl").write_text('{"step": 1, "name": "train_loss", "value": 3.0}\n{"step": 2, "na')
    watch = TrialCallback(
        tmp_path, Progress(), ScriptedControl(), dict, frozenset(), lambda: None, int, autosave=False
    )
    watch.write(2, {"train_loss": 2.0})
    watch.close()
    assert [point["step"] for point in read_curve(tmp_path)] == [1, 2]


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_steps_that_loss_scaling_leaves_out_end_a_trial_only_when_it_finds_no_scale(
    tmp_path: Path, value: float
) -> None:
    watch = TrialCallback(
        tmp_path, Progress(), ScriptedControl(), dict, frozenset(), lambda: None, int, autosave=False
    )
    state, overflowing = SimpleNamespace(global_step=1), {"loss": 2.0, "grad_norm": value}
    with pytest.raises(NotFinite, match=f"grad_norm is {value} at step 1"):
        watch.on_log(SimpleNamespace(fp16=False), state, None, overflowing)
    for logs in (*[overflowing] * OVERFLOWS, {"loss": 2.0, "grad_norm": 1.0}, *[overflowing] * OVERFLOWS):
        watch.on_log(SimpleNamespace(fp16=True), state, None, logs)
    with pytest.raises(NotFinite, match="grad_norm"):
        watch.on_log(SimpleNamespace(fp16=True), state, None, overflowing)
    with pytest.raises(NotFinite, match="loss"):
        watch.on_log(SimpleNamespace(fp16=True), state, None, {"loss": value})
    watch.close()


def test_the_default_alpha_is_twice_the_rank(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert LoRA(rank=6)._peft_config(model).lora_alpha == 12
