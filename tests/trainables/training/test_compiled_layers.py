"""Compiled decoder layers: where they pay, what they leave as it is, and that they compute the same.

Most tests trace the layers and have torch run the traced operations; compiling them takes long, and tests that do are
slow ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeps.planning.memory import residuals
from sweeps.planning.times import speeds
from tests.helpers.tiny_encoders import ENCODERS, make_encoder
from tests.helpers.trials import make_config, make_policy, run
from tests.trainables.methods.test_peft_adapter import TYPES
from tests.trainables.methods.test_peft_adapter import method as adapter
from trainables.models.architecture.decoder_layers import decoder_layers
from trainables.system import capabilities
from trainables.system.capabilities import Capability
from trainables.training import compiled_layers, compiler_cache
from trainables.training.compiled_layers import Work, reason_against, seconds_saved
from trainables.training.training_callback import NoControl

TRACED = "eager"  # torch's backend that compiles nothing
EXACT = {"precision": "fp32", "dtype": "float32"}


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(compiler_cache.VARIABLE, raising=False)
    compiler_cache.private_cache.cache_clear()
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    compiler_cache.private_cache.cache_clear()


# Where it pays


def works(monkeypatch: pytest.MonkeyPatch, compiler: bool, capability: tuple[int, int] = (9, 0)) -> None:
    detail = "fails: InvalidCxxCompiler: No working C++ compiler found"
    monkeypatch.setattr(capabilities, "check_capability", lambda name: Capability(name, compiler, detail))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)


SHORT, LONG = Work(steps=100, flops=1e14), Work(steps=10_000, flops=1e14)


@pytest.mark.parametrize(
    ("requested", "device", "work", "compiles"),
    [
        ("off", "cuda", LONG, False),
        ("auto", "cuda", LONG, True),
        ("auto", "cuda", SHORT, False),
        ("auto", "cpu", LONG, False),
        ("on", "cuda", SHORT, True),
        ("on", "cpu", SHORT, True),
    ],
)
def test_auto_compiles_where_the_steps_win_back_its_time(
    monkeypatch: pytest.MonkeyPatch, requested: str, device: str, work: Work, compiles: bool
) -> None:
    works(monkeypatch, compiler=True)
    assert (reason_against(requested, device, work) is None) == compiles


def test_an_older_gpu_takes_longer_for_a_step_and_wins_time_back_sooner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    between = Work(steps=2000, flops=1e14)  # 667 s of an H100, 10,000 s of a T4
    works(monkeypatch, compiler=True, capability=(9, 0))
    assert reason_against("auto", "cuda", between) is not None
    for capability in ((7, 0), (7, 5)):
        works(monkeypatch, compiler=True, capability=capability)
        assert reason_against("auto", "cuda", between) is None


def test_the_time_saved_follows_from_the_operations_of_a_trial() -> None:
    # 1000 steps of one second each, 1.15 times as fast.
    assert seconds_saved(Work(1000, 1e14), 1e14) == pytest.approx(1000 - 1000 / 1.15)


@pytest.mark.parametrize("requested", ["auto", "on"])
def test_without_a_compiler_or_where_a_stage_cannot_the_reason_is_said(
    monkeypatch: pytest.MonkeyPatch, requested: str
) -> None:
    works(monkeypatch, compiler=False)
    assert "No working C++ compiler" in str(reason_against(requested, "cuda", LONG))
    works(monkeypatch, compiler=True)
    assert reason_against(requested, "cuda", LONG, "for a reason") == "for a reason"


def test_the_operations_of_a_step_are_those_of_its_weights_and_tokens(tiny_model: Path) -> None:
    full, lora = (make_policy(make_config(tiny_model, "commands", method)) for method in ("full", "lora"))
    weights = sum(p.numel() for p in full.model.parameters())
    assert Work.of(full, 7, 100) == Work(7, 600 * weights)
    trained = sum(p.numel() for p in lora.model.parameters() if p.requires_grad)
    assert Work.of(lora, 7, 100).flops == 100 * (4 * (weights + trained) + 2 * trained)


def test_a_trial_id_has_no_compile_unless_it_is_given(tiny_model: Path) -> None:
    config = make_config(tiny_model, "commands")
    assert "compile" not in config.canonical()["train"]
    on = config.model_copy(update={"train": config.train.model_copy(update={"compile": "on"})})
    assert on.canonical()["train"]["compile"] == "on"
    assert on.memory_shape() != config.memory_shape()
    # Nor do speeds and measured memory of the one correct predictions of the other.
    assert speeds.similarity_key(on, 1) != speeds.similarity_key(config, 1)
    assert residuals.similarity_key(on, "cpu") != residuals.similarity_key(config, "cpu")


# What is compiled, and what stays


def batch_of(policy: Any, rows: int, tokens: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows + tokens)
    ids = torch.randint(3, 200, (rows, tokens), generator=generator)
    return {"input_ids": ids, "labels": ids.clone()}


def loss_and_gradients(policy: Any, batch: dict[str, torch.Tensor]) -> tuple[float, torch.Tensor]:
    torch.manual_seed(1)  # PVeRA draws what it adds
    policy.model.zero_grad()
    loss = policy.model(**batch).loss
    loss.backward()
    trained = [p.grad.flatten() for p in policy.model.parameters() if p.grad is not None]
    return float(loss.detach()), torch.cat(trained)


@pytest.fixture(scope="module")
def policies(tiny_model: Path) -> dict[str, Any]:
    """By method and rank; adapters are moved away from 0, where they do nothing."""
    methods = {
        "full": "full",
        "lora": {"kind": "lora", "rank": 4},
        "lora of rank 8": {"kind": "lora", "rank": 8},
    }
    made = {}
    for name, method in methods.items():
        torch.manual_seed(0)
        made[name] = make_policy(make_config(tiny_model, "commands", method, **EXACT))
        with torch.no_grad():
            for parameter in made[name].model.parameters():
                if parameter.requires_grad:
                    parameter += 0.02 * torch.randn_like(parameter)
    return made


@pytest.mark.parametrize("method", ["full", "lora"])
def test_compiled_layers_give_the_loss_and_the_gradients_of_plain_ones(
    policies: dict[str, Any], method: str
) -> None:
    policy = policies[method]
    batch = batch_of(policy, 2, 24)
    loss, gradients = loss_and_gradients(policy, batch)
    with compiled_layers.compiled_layers(policy, TRACED) as count:
        assert count == len(decoder_layers(policy.causal))
        traced_loss, traced = loss_and_gradients(policy, batch)
    assert traced_loss == pytest.approx(loss, rel=1e-6)
    torch.testing.assert_close(traced, gradients, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "adalora" else pytest.mark.slow) for name in TYPES]
)
def test_layers_with_adapters_of_every_type_are_compiled_and_compute_the_same(
    tiny_model: Path, name: str
) -> None:
    policy = make_policy(make_config(tiny_model, "commands", adapter(name), **EXACT))
    check_traced(policy, batch_of(policy, 2, 24))


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        {"kind": "lora", "rank": 4, "dora": True},
        {"kind": "lora", "rank": 4, "modules_to_save": ["norm", "lm_head"]},
        {"kind": "qlora", "rank": 4},
        {"kind": "qlora", "rank": 4, "bits": 8},
        {"kind": "qlora", "rank": 4, "backend": "hqq", "group_size": 32},
    ],
    ids=str,
)
def test_layers_of_every_base_are_compiled_and_compute_the_same(
    tiny_model: Path, method: dict[str, Any]
) -> None:
    policy = make_policy(make_config(tiny_model, "commands", method, **EXACT))
    check_traced(policy, batch_of(policy, 2, 24))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoders_layers_are_compiled_and_compute_the_same(tmp_path: Path, kind: str, method: str) -> None:
    model = make_encoder(tmp_path, kind)
    masked = {"kind": "pretrain", "objective": "mlm"}
    policy = make_policy(make_config(model, "commands", method, stage=masked, cutoff=64, **EXACT))
    policy.model.eval()  # BERT's dropout is in its layers; gradients are recorded all the same
    check_traced(policy, batch_of(policy, 2, 24))


def check_traced(policy: Any, batch: dict[str, torch.Tensor]) -> None:
    """Compares the loss and the gradients of a policy, moved away from its start, with those of its traced layers."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn_like(parameter)
    loss, gradients = loss_and_gradients(policy, batch)
    before = graphs()
    with compiled_layers.compiled_layers(policy, TRACED):
        traced_loss, traced = loss_and_gradients(policy, batch)
    assert graphs() > before
    assert traced_loss == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(traced, gradients, rtol=1e-3, atol=1e-6)


def graphs() -> int:
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def test_one_compiled_layer_serves_all_layers_and_lengths_of_a_trial_and_the_next_one_of_another_rank(
    policies: dict[str, Any], tiny_model: Path
) -> None:
    policy = policies["lora"]
    with compiled_layers.compiled_layers(policy, TRACED):
        loss_and_gradients(policy, batch_of(policy, 2, 24))
        compiled = graphs()
        for rows, tokens in ((3, 24), (2, 40), (5, 17)):
            loss_and_gradients(policy, batch_of(policy, rows, tokens))
    assert graphs() == compiled
    again = make_policy(make_config(tiny_model, "commands", {"kind": "lora", "rank": 4}, **EXACT))
    for next_policy in (again, policies["lora of rank 8"]):
        with compiled_layers.compiled_layers(next_policy, TRACED):
            loss_and_gradients(next_policy, batch_of(next_policy, 2, 24))
        assert graphs() == compiled


def test_layers_are_plain_without_gradients_and_after_the_block(policies: dict[str, Any]) -> None:
    policy = policies["full"]
    names = [name for name, _ in policy.model.named_modules()]
    keys = list(policy.model.state_dict())
    attributes = [list(vars(parameter)) for parameter in policy.causal.parameters()]
    before = graphs()
    with compiled_layers.compiled_layers(policy, TRACED):
        with torch.no_grad():
            policy.model(**batch_of(policy, 2, 24))
        assert graphs() == before
        assert [name for name, _ in policy.model.named_modules()] == names
        assert list(policy.model.state_dict()) == keys
    loss_and_gradients(policy, batch_of(policy, 2, 24))
    assert graphs() == before
    assert not any("_compiled_call_impl" in vars(layer) for layer in decoder_layers(policy.causal))
    assert [list(vars(parameter)) for parameter in policy.causal.parameters()] == attributes


# A trial


class StopAt(NoControl):
    """Interrupts a trial after some steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def interrupted(self) -> bool:
        return self.seen >= self.step

    seen = 0

    def logged(self, step: int, values: dict[str, float]) -> None:
        self.seen = max(self.seen, step)


def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    own = compiled_layers.compiled_layers
    monkeypatch.setattr(compiled_layers, "compiled_layers", lambda policy: own(policy, TRACED))
    monkeypatch.setattr(capabilities, "check_capability", lambda name: Capability(name, True, ""))


def losses(folder: Path, config: Any) -> list[float]:
    lines = (folder / "trials" / config.trial_id() / "curve.jsonl").read_text().splitlines()
    points = [json.loads(line) for line in lines]
    return [point["value"] for point in points if point["name"] == "train_loss"]


def test_a_trial_with_compiled_layers_learns_the_same_and_resumes_bit_for_bit(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = {"kind": "lora", "rank": 4, "dropout": 0.1}
    settings = {"steps": 4, "eval_fraction": 0, **EXACT}
    plain = make_config(tiny_model, "commands", method, **settings)
    config = make_config(tiny_model, "commands", method, compile="on", **settings)
    run(plain, tmp_path / "plain")
    traced(monkeypatch)
    record = run(config, tmp_path / "whole")
    assert str(record.compiled).startswith("4 layers in ")
    whole = losses(tmp_path / "whole", config)
    assert whole == pytest.approx(losses(tmp_path / "plain", plain), rel=1e-5)
    torch._dynamo.reset()
    assert run(config, tmp_path / "parts", control=StopAt(2)).status == "interrupted"
    torch._dynamo.reset()
    assert run(config, tmp_path / "parts").status == "done"
    assert losses(tmp_path / "parts", config) == whole


def test_a_stage_that_compares_with_a_reference_trains_with_plain_layers_and_says_why(
    tiny_model: Path, tmp_path: Path
) -> None:
    config = make_config(
        tiny_model, "commands", stage={"kind": "dpo"}, compile="on", steps=1, eval_fraction=0, **EXACT
    )
    assert run(config, tmp_path).compiled == f"no: {config.stage.compile_obstacle}"


@pytest.mark.parametrize("multiplied_in_32_bits", [True, False])
def test_where_a_processor_has_no_instructions_for_the_products_layers_stay_plain_and_the_record_says_why(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, multiplied_in_32_bits: bool
) -> None:
    traced(monkeypatch)
    monkeypatch.setattr(compiled_layers, "multiplies_in_32_bits", lambda dtype: multiplied_in_32_bits)
    config = make_config(
        tiny_model, "commands", compile="on", steps=1, eval_fraction=0, precision="bf16", dtype="float32"
    )
    compiled = str(run(config, tmp_path).compiled)
    expected = "no: torch's compiled layers multiply bfloat16" if multiplied_in_32_bits else "4 layers in "
    assert compiled.startswith(expected)


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_layers_that_are_compiled_for_this_processor_learn_the_same_and_resume_bit_for_bit(
    tiny_model: Path, tmp_path: Path, checkpointing: bool
) -> None:
    settings = {"steps": 4, "eval_fraction": 0, "gradient_checkpointing": checkpointing, **EXACT}
    plain = make_config(tiny_model, "commands", **settings)
    config = make_config(tiny_model, "commands", compile="on", **settings)
    run(plain, tmp_path / "plain")
    record = run(config, tmp_path / "whole")
    assert str(record.compiled).startswith("4 layers in ")
    whole = losses(tmp_path / "whole", config)
    assert whole == pytest.approx(losses(tmp_path / "plain", plain), rel=1e-4)
    run(config, tmp_path / "parts", control=StopAt(2))
    torch._dynamo.reset()
    run(config, tmp_path / "parts")
    assert losses(tmp_path / "parts", config) == whole


# The cache of compiled code


def test_compiled_code_is_kept_in_the_cache_where_nobody_else_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    compiler_cache.use_private_cache()
    folder = Path(os.environ[compiler_cache.VARIABLE])
    assert folder.parent == tmp_path / "home" / "compiled"
    assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent)] == [0o700, 0o700]
    compiler_cache.private_cache.cache_clear()
    assert compiler_cache.private_cache() == folder  # the next process finds what this one has compiled


@pytest.mark.parametrize("planted", ["writable", "link", "file"])
def test_a_cache_that_others_can_write_to_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path))
    folder = tmp_path / "compiled"
    if planted == "writable":
        folder.mkdir()
        folder.chmod(0o777)
    elif planted == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.touch()
    used = compiler_cache.private_cache()
    assert not used.is_relative_to(tmp_path / "compiled")
    assert compiler_cache.is_private(used)
    used.rmdir()


def test_a_folder_that_the_user_has_set_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compiler_cache.VARIABLE, str(tmp_path))
    compiler_cache.use_private_cache()
    assert os.environ[compiler_cache.VARIABLE] == str(tmp_path)
