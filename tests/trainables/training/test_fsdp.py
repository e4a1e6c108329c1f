"""Weights, gradients and optimizer state sharded among workers: the same training, and less memory for each."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.model_families import make_family
from tests.helpers.specs import SPEC, plan, problems, spec_folder
from tests.helpers.trials import curve, make_config, run
from tests.helpers.worker_groups import SMALL, job, train_together, worker_config
from tests.trainables.training.test_worker_groups import trains_as_one_does
from trainables import results
from trainables.models.folder import ModelError
from trainables.storage import files
from trainables.training import fsdp_checkpoint
from trainables.trial import starting_weights, worker_limits
from trainables.trial.config import TrialConfig

PLAIN = ("sft", "full", {})
CELLS = [PLAIN, ("dpo", "full", {}), ("orpo", "lora", {"gradient_accumulation": 2})]
MORE = [
    (stage, "full", {"gradient_accumulation": 2, "gradient_checkpointing": True})
    for stage in ("pretrain", "sft", "weighted", "reward", "dpo", "kto", "orpo", "simpo")
]
MORE += [(stage, "full", {}) for stage in ("pretrain", "classification", "reward", "kto", "orpo", "simpo")]
MORE += [
    (stage, "freeze", {})
    for stage in ("pretrain", "sft", "weighted", "reward", "dpo", "kto", "orpo", "simpo")
]
MORE += [(stage, "lora", {}) for stage in ("pretrain", "sft", "classification", "reward", "simpo")]
OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bf16": ({"kind": "full"}, {"precision": "bf16"}),
    "pure_bf16": ({"kind": "full"}, {"precision": "pure_bf16"}),
    "lora in bf16": ({"kind": "lora"}, {"precision": "bf16"}),
    "sgd": ({"kind": "full"}, {"optimizer": "sgd"}),
    "pissa": ({"kind": "lora", "init": "pissa"}, {}),
    "dora": ({"kind": "lora", "dora": True}, {}),
    "loraplus": ({"kind": "lora", "loraplus_ratio": 4}, {}),
}


def sharded(model: Path, stage: str, method: Any, leaves: dict[str, Any]) -> TrialConfig:
    return worker_config(model, stage, method, sharding="fsdp", **leaves)


def resumed(model: Path) -> TrialConfig:
    return sharded(model, "sft", "full", {"steps": 4})


def interrupted(model: Path) -> TrialConfig:
    return sharded(model, "sft", "full", {"steps": 3})


def stopped(model: Path) -> TrialConfig:
    return sharded(model, "sft", "full", {"steps": 5})


@pytest.fixture(scope="module")
def shared(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder in which two workers have trained CELLS, a trial without and with a resume, an interrupted and a
    stopped one.
    """
    at = tmp_path_factory.mktemp("sharded")
    jobs = [job(sharded(tiny_model, *cell), at, reads_memory=True) for cell in CELLS]
    long = resumed(tiny_model)
    jobs += [
        job(long, at),
        job(long, at / "resumed", interrupt_at=2, ends="interrupted"),
        job(long, at / "resumed"),
        job(interrupted(tiny_model), at, interrupt_at=2, ends="interrupted"),
    ]
    train_together(at, [*jobs, job(stopped(tiny_model), at, stop_at=2, ends="stopped")])
    return at


@pytest.mark.parametrize(("stage", "method", "leaves"), CELLS)
def test_workers_with_sharded_weights_train_as_one_does(
    shared: Path, tiny_model: Path, tmp_path: Path, stage: str, method: str, leaves: dict[str, Any]
) -> None:
    config = sharded(tiny_model, stage, method, leaves)
    trains_as_one_does(config, shared, tmp_path)
    # Its memory was read in the trial, and that of the worker with most counts.
    record = results.read_record(shared / "trials" / config.trial_id())
    assert record is not None
    assert (record.peak_load_bytes, record.peak_train_bytes, record.peak_eval_bytes) == (200, 200, 200)
    assert record.optimizer_bytes is not None


def test_the_saved_model_is_whole_and_the_one_that_was_scored(
    shared: Path, tiny_model: Path, tmp_path: Path
) -> None:
    config = sharded(tiny_model, *PLAIN)
    found = shared / "trials" / config.trial_id()
    record = results.read_record(found)
    assert record is not None
    plainly = make_config(found / "model", "commands", None, **SMALL)
    again = run(plainly, tmp_path)
    assert again.metrics == pytest.approx(record.metrics, rel=1e-5)
    assert again.total_params == record.total_params
    assert run(config, tmp_path / "one").artifact_bytes == record.artifact_bytes


def test_a_resumed_trial_equals_an_uninterrupted_one_bit_for_bit(shared: Path, tiny_model: Path) -> None:
    config = resumed(tiny_model)
    assert curve(config, shared / "resumed") == curve(config, shared)
    at = [each / "trials" / config.trial_id() for each in (shared, shared / "resumed")]
    assert files.file_sha256(at[0] / "model" / "model.safetensors") == files.file_sha256(
        at[1] / "model" / "model.safetensors"
    )


def checkpoint(run: Path, config: TrialConfig) -> Path:
    (found,) = (run / "trials" / config.trial_id()).glob("checkpoint-*")
    return found


def test_one_worker_does_not_resume_from_the_shards_of_two_but_starts_anew(
    shared: Path, tiny_model: Path, tmp_path: Path
) -> None:
    config = interrupted(tiny_model)
    assert {path.name for path in checkpoint(shared, config).glob("*.pt")} >= {
        "share-0-of-2.pt",
        "share-1-of-2.pt",
    }
    run_folder = tmp_path / "moved"
    shutil.copytree(shared / "trials" / config.trial_id(), run_folder / "trials" / config.trial_id())
    again, anew = run(config, run_folder), run(config, tmp_path)
    assert (again.status, again.objective) == ("done", anew.objective)
    assert curve(config, run_folder)[-3:] == curve(config, tmp_path)


def test_shards_serve_as_many_workers_as_wrote_them_and_only_if_all_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    (tmp_path / "model.safetensors").touch()
    assert fsdp_checkpoint.can_resume(False, tmp_path)
    for number, ours in ((0, False), (1, True)):
        (tmp_path / f"share-{number}-of-2.pt").touch()
        assert fsdp_checkpoint.can_resume(True, tmp_path) is ours
    assert not fsdp_checkpoint.can_resume(False, tmp_path)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 4)
    assert not fsdp_checkpoint.can_resume(True, tmp_path)


def test_a_sharded_checkpoint_is_no_model_to_continue_from(shared: Path, tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="is a sharded checkpoint"):
        starting_weights.find_trained_model(checkpoint(shared, interrupted(tiny_model)))


def test_a_stopped_trial_is_scored_where_it_stopped(shared: Path, tiny_model: Path) -> None:
    record = results.read_record(shared / "trials" / stopped(tiny_model).trial_id())
    assert record is not None
    assert (record.status, record.steps) == ("stopped", 2)
    assert record.quality is not None


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_stage_and_method_that_can_be_sharded_trains_as_one_worker_does(
    tiny_model: Path, tmp_path: Path
) -> None:
    configs = [sharded(tiny_model, *cell) for cell in MORE]
    train_together(tmp_path, [job(config, tmp_path / "two") for config in configs])
    for config in configs:
        trains_as_one_does(config, tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_experts_are_sharded_too(tmp_path: Path) -> None:
    models = {kind: make_family(tmp_path / kind, kind) for kind in ("qwen3_moe", "gpt_oss")}
    configs = [sharded(model, "sft", method, {}) for model in models.values() for method in ("full", "lora")]
    train_together(tmp_path, [job(config, tmp_path / "two") for config in configs])
    for config in configs:
        trains_as_one_does(config, tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_precisions_optimizers_and_kinds_of_adapters_can_be_sharded_too(
    tiny_model: Path, tmp_path: Path
) -> None:
    configs = {name: sharded(tiny_model, "sft", *other) for name, other in OTHERS.items()}
    train_together(tmp_path, [job(config, tmp_path / "two") for config in configs.values()])
    for name, config in configs.items():
        run(config, tmp_path / "one")
        expected = [value for _, value in curve(config, tmp_path / "one")]
        near = 1e-2 if "bf16" in name else 1e-4  # rounding depends on how rows share a batch's
        assert [value for _, value in curve(config, tmp_path / "two")] == pytest.approx(expected, rel=near), (
            name
        )


REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("ppo", {"kind": "full"}, {}, "ppo samples from the policy"),
    ("dpo", {"kind": "lora"}, {}, "dpo's reference policy is a second adapter"),
    ("kto", {"kind": "lora"}, {}, "kto's reference policy is a second adapter"),
    ("sft", {"kind": "qlora"}, {}, "quantized weights can't be sharded"),
    ("sft", {"kind": "full"}, {"optimizer": "adamw_8bit"}, "the state of adamw_8bit can't be sharded"),
    ("sft", {"kind": "full"}, {"optimizer": "schedule_free"}, "the state of schedule_free can't be sharded"),
    ("sft", {"kind": "full"}, {"precision": "fp16"}, "the loss scaling of fp16"),
]


@pytest.mark.parametrize(("stage", "method", "leaves", "says"), REFUSED)
def test_what_cannot_be_sharded_is_refused_with_the_reason(
    stage: str, method: dict[str, Any], leaves: dict[str, Any], says: str
) -> None:
    config = worker_config(Path("/m"), stage, method, sharding="fsdp", **leaves)
    ((_, what, error),) = worker_limits.sharing_problems(config, workers=2)
    assert error
    assert what.startswith(says)
    assert "leave sharding out" in what
    assert not list(
        worker_limits.sharing_problems(worker_config(Path("/m"), stage, method, **leaves), workers=2)
    )


def test_what_cannot_be_sharded_is_refused_with_its_place_in_the_spec(tmp_path: Path) -> None:
    sets = ("train.sharding=fsdp", "train.optimizer=adamw_8bit")
    for workers in ("2", "auto"):
        planned = plan(spec_folder(tmp_path / workers), sets=(*sets, f"resources.workers={workers}"))
        (error,) = {str(problem).partition(": ")[2] for problem in planned.errors}
        assert error == "the state of adamw_8bit can't be sharded; use adamw or sgd, or leave sharding out"
    text = SPEC.replace("train: {", "train: {sharding: fsdp, ").replace("{kind: lora", "{kind: qlora")
    message = problems(tmp_path / "2", text, "resources.workers=2")
    assert message == ["spec.yaml:8 train.sharding: quantized weights can't be sharded; leave sharding out"]


def test_sharding_with_one_worker_is_a_warning(tmp_path: Path) -> None:
    planned = plan(spec_folder(tmp_path), sets=("train.sharding=fsdp",))
    assert planned.errors == ()
    assert any("no other to shard weights with" in problem.what for problem in planned.problems)
    both = plan(tmp_path, sets=("train.sharding=fsdp", "resources.workers=2"))
    assert not any("shard" in problem.what for problem in both.problems)
