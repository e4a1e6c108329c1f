"""How a GPU computes beyond the dtypes of weights: TF32, the allocator's settings, and what a record says of both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from trainables.config.optimizers import NAMED
from trainables.config.train import TrainConfig
from trainables.system import allocator
from trainables.training.device_settings import device_facts, use_tensor_cores
from trainables.training.trainer_setup import clean_process, training_arguments


@pytest.fixture(autouse=True)
def before() -> Iterator[str]:
    clean_process()  # notes torch's switches, if no trial has run in this process
    yield torch.get_float32_matmul_precision()
    clean_process()


@pytest.mark.parametrize(
    ("precision", "device", "tf32"),
    [
        ("bf16", "cuda", True),
        ("fp16", "cuda", True),
        ("pure_bf16", "cuda", True),
        ("fp32", "cuda", False),
        ("bf16", "cpu", False),
    ],
)
def test_what_16_bits_leave_in_fp32_is_computed_in_tf32_on_a_gpu_alone(
    before: str, precision: str, device: str, tf32: bool
) -> None:
    use_tensor_cores(precision, device)
    assert torch.get_float32_matmul_precision() == ("high" if tf32 else before)


def test_the_next_trial_begins_without_tf32(before: str) -> None:
    use_tensor_cores("bf16", "cuda")
    clean_process()
    assert torch.get_float32_matmul_precision() == before == "highest"


def test_a_record_says_what_a_gpu_computed_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(allocator.FORMER, "max_split_size_mb:64")
    use_tensor_cores("bf16", "cuda")
    assert device_facts("cuda") == {"tf32": True, "allocator": "max_split_size_mb:64"}
    assert device_facts("cpu") == {}


@pytest.mark.parametrize(
    ("device", "environment", "after"),
    [
        ("nvidia0", {}, {allocator.VARIABLE: "expandable_segments:True"}),
        ("nvidia0", {allocator.VARIABLE: "a:1"}, {allocator.VARIABLE: "a:1"}),
        ("nvidia0", {allocator.FORMER: "a:1"}, {allocator.FORMER: "a:1"}),
        ("nvidia0", {allocator.FORMER: ""}, {allocator.FORMER: ""}),
        ("nvidiactl", {}, {}),  # a driver without a GPU
        ("dxg", {}, {}),
    ],
)
def test_segments_expand_on_gpus_unless_the_user_has_set_the_allocator(
    tmp_path: Path, device: str, environment: dict[str, str], after: dict[str, str]
) -> None:
    (tmp_path / device).touch()
    allocator.set_default(environment, tmp_path)
    assert environment == after


def test_arguments_on_a_gpu_pin_memory_fuse_adamw_and_checkpoint_without_reentrance(tmp_path: Path) -> None:
    train = TrainConfig(steps=1, learning_rate=1e-3, precision="fp16", gradient_checkpointing=True)
    arguments = training_arguments(train, 1, tmp_path, workers=1, device="cuda")
    assert arguments["optim"] == "adamw_torch_fused"
    assert arguments["dataloader_pin_memory"]
    assert arguments["gradient_checkpointing_kwargs"] == {"use_reentrant": False}
    assert (arguments["fp16"], arguments["bf16"]) == (True, False)


@pytest.mark.parametrize("name", NAMED)
def test_names_of_optimizers_are_those_of_transformers(name: str) -> None:
    from transformers.training_args import OptimizerNames

    assert OptimizerNames(NAMED[name].arguments().get("optim", "adamw_torch"))
