"""Traced steps: what a step on tensors without contents says of models that no formula describes."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from typer.testing import CliRunner

from sweeps.cli import app
from tests.helpers.model_families import make_family
from tests.helpers.sweeps import METHODS, SPEC, write_spec
from tests.helpers.trials import make_config, make_policy, write_rows
from tests.trainables.memory.test_prediction import kept_by_autograd
from trainables.config.optimizers import NAMED
from trainables.memory import prediction
from trainables.memory.held import optimizer_bytes_per_weight
from trainables.memory.predicted_model import PredictedModel
from trainables.memory.prediction import predict_by_trace
from trainables.memory.tracing import traced_pass, tracing_process
from trainables.memory.tracing.case import Trace, TracedCase
from trainables.memory.tracing.fake_model import attach, count_parameters
from trainables.memory.tracing.live_bytes import LiveBytes
from trainables.memory.tracing.traced_pass import trace
from trainables.memory.tracing.tracing_process import Tracer
from trainables.models.architecture import decoder_shape
from trainables.models.architecture.decoder_shape import MemoryNotPredictable
from trainables.models.folder import read_architecture
from trainables.stages.forward_pass import Batch
from trainables.system.recent import Recent
from trainables.trial.config import TrialConfig


@lru_cache
def _folder(parent: Path, kind: str) -> Path:
    return make_family(parent / kind, kind, dtype="bfloat16")


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Any:
    parent = tmp_path_factory.mktemp("families")
    return lambda kind: _folder(parent, kind)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl")


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions trace here, and not in a process that takes seconds to start."""
    monkeypatch.setattr(prediction, "traced", trace)


def config_of(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config


def case_of(config: TrialConfig, folder: Path, rows: int = 2, tokens: int = 16) -> TracedCase:
    return TracedCase.of_trial(config, config_of(folder), Batch(rows, tokens, rows * tokens), "eager")


# Bytes that are alive


def test_bytes_are_alive_as_long_as_a_tensor_uses_them() -> None:
    with FakeTensorMode():
        held = torch.empty(5)
        with LiveBytes([held]) as live:
            first = torch.empty(10) + 1
            view = first[:5]
            assert live.live == (5 + 10) * 4
            assert live.peak == (5 + 10 + 10) * 4
            del first
            assert live.live == (5 + 10) * 4  # a view keeps all that it is a part of
            del view
            assert live.live == 5 * 4


def test_results_that_depend_on_contents_get_a_plausible_one() -> None:
    with FakeTensorMode(), LiveBytes():
        assert bool(torch.ones(3, dtype=torch.bool).all())
        product = torch.nn.functional.grouped_mm(
            torch.empty(6, 4), torch.empty(2, 4, 8), offs=torch.tensor([2, 6], dtype=torch.int32)
        )
        assert product.shape == (6, 8)
    # Flags are taken to choose all where that is asked for, as they do of the places of a few weights in a matrix.
    with FakeTensorMode(), LiveBytes(flags_choose_all=True):
        places = torch.empty(2, 3, dtype=torch.long)
        assert places[:, places[0] < 5].shape == (2, 3)
        assert torch.empty(3)[places[1] < 5].shape == (3,)
    # Of experts' flags nobody knows how many are chosen.
    with FakeTensorMode(), LiveBytes(), pytest.raises(DynamicOutputShapeException):
        _ = torch.empty(3)[torch.ones(3, dtype=torch.bool)]


# Layers


@pytest.mark.parametrize(
    ("kind", "method"),
    [("gpt2", "full"), ("gpt_neox", "lora"), ("qwen3_moe", "full"), ("dbrx", "full")],
)
def test_what_a_traced_step_keeps_is_what_autograd_saves(
    family: Any, rows: Path, kind: str, method: str
) -> None:
    # DBRX's loop over experts fails in 16 bits.
    wide = {"precision": "fp32", "dtype": "float32"} if kind == "dbrx" else {}
    config = make_config(family(kind), rows, method, cutoff=64, **wide)
    saved, (count, tokens) = kept_by_autograd(config)
    traced = trace(case_of(config, family(kind), count, tokens))
    assert kept(traced) == pytest.approx(saved, rel=0.1)


@pytest.mark.parametrize("kind", ["gpt2", "lfm2", "gemma3n_text"])
def test_layers_of_a_kind_stand_for_one_another(family: Any, rows: Path, kind: str) -> None:
    case = case_of(make_config(family(kind), rows, "full"), family(kind))
    some, everything = attach(case), attach(case, every_layer=True)
    assert some.kinds == everything.kinds
    assert {some.kinds[number] for number in some.traced} == set(everything.kinds)
    sampled, whole = traced_pass.trace_model(case, some), traced_pass.trace_model(case, everything)
    assert sampled.weights == whole.weights
    assert kept(sampled) == pytest.approx(kept(whole), rel=0.02)


def test_what_all_layers_share_is_of_none_of_them(rows: Path, tmp_path: Path) -> None:
    """Gemma 4's layers share inputs: freed with the first one, with a gradient that is made with the last one."""
    folder = make_family(
        tmp_path / "gemma4",
        "gemma4_text",
        num_hidden_layers=6,
        layer_types=["sliding_attention"] * 5 + ["full_attention"],
        num_kv_shared_layers=0,
    )
    case = case_of(make_config(folder, rows, "full", gradient_checkpointing=True), folder, 2, 64)
    some, everything = attach(case), attach(case, every_layer=True)
    assert len(some.traced) < len(everything.traced) == 6
    sampled, whole = traced_pass.trace_model(case, some), traced_pass.trace_model(case, everything)
    assert kept(sampled) == pytest.approx(kept(whole), rel=0.02)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("lily", {"stride_A": 2}),
        ("unilora", {}),
        ("adaption_prompt", {"adapter_len": 3, "adapter_layers": 2}),
        ("prompt_tuning", {"num_virtual_tokens": 3}),  # outside of the model that they stand before
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("lily", {}), ("tinylora", {}), ("p_tuning", {"num_virtual_tokens": 3}))
        ),
    ],
)
def test_weights_that_layers_share_or_some_layers_have_count_as_often_as_they_are_there(
    kind: str, options: dict[str, Any], rows: Path, tmp_path: Path
) -> None:
    folder = make_family(tmp_path / "llama", "llama", num_hidden_layers=6)
    config = make_config(folder, rows, {"kind": "peft", "type": kind, **options})
    training = sum(p.numel() for p in make_policy(config).model.parameters() if p.requires_grad)
    traced = trace(case_of(config, folder))
    assert traced.weights.training == training
    assert sum(tensor.count * tensor.size for tensor in traced.tensors) == training


def kept(traced: Trace) -> int:
    return traced.outside.kept + sum(traced.kinds[layer].kept for layer in traced.layers)


def test_weights_are_counted_by_what_becomes_of_them(family: Any, rows: Path) -> None:
    folder = family("qwen3_moe")
    params = count_parameters(config_of(folder))
    full = trace(case_of(make_config(folder, rows, "full"), folder)).weights
    assert (full.trained, full.frozen, full.quantized) == (params, 0, 0)
    lora = trace(case_of(make_config(folder, rows, "lora"), folder)).weights
    policy = make_policy(make_config(folder, rows, "lora"))
    assert (lora.trained, lora.frozen) == (0, params)
    assert lora.frozen_bytes == 2 * params + sum(buffer.nbytes for buffer in policy.model.buffers())
    assert lora.adapters == sum(p.numel() for p in policy.model.parameters() if p.requires_grad)


@pytest.mark.parametrize("kind", ["psoft", "vera"])
def test_buffers_of_adapters_are_held_beside_the_frozen_weights(
    kind: str, rows: Path, tmp_path: Path
) -> None:
    """PSOFT has a decomposed weight in each layer; VeRA has two projections that all layers share."""
    folder = make_family(tmp_path / "llama", "llama", num_hidden_layers=6)
    config = make_config(folder, rows, {"kind": "peft", "type": kind})
    model = make_policy(config).model
    held = {id(t): t for t in (*model.parameters(), *model.buffers()) if not t.requires_grad}
    assert sum(buffer.nbytes for buffer in model.buffers()) > 10_000
    assert trace(case_of(config, folder)).weights.frozen_bytes == sum(t.nbytes for t in held.values())


@pytest.mark.parametrize(
    ("method", "trained"),
    [
        ({"kind": "lisa", "layers": 2}, lambda layer, ends: 2 * layer + ends),
        ({"kind": "badam"}, lambda layer, ends: layer),
        ({"kind": "badam", "ends": True}, max),
    ],
)
def test_of_layers_that_train_in_turn_only_those_of_one_period_count(
    family: Any, rows: Path, method: dict[str, Any], trained: Any
) -> None:
    folder = family("gpt2")
    config = make_config(folder, rows, method)
    policy = make_policy(config)
    named = [(".h." in name, p.numel()) for name, p in policy.model.named_parameters()]
    inside = sum(count for is_layer, count in named if is_layer)
    outside = sum(count for is_layer, count in named if not is_layer)
    count = config_of(folder)["n_layer"]
    assert count > 2
    traced = trace(case_of(config, folder))
    weights = traced.weights
    assert weights.trained == trained(inside // count, outside)
    assert weights.trained + weights.frozen == inside + outside
    assert weights.frozen_bytes == 2 * weights.frozen
    assert kept(traced) < kept(trace(case_of(make_config(folder, rows, "full"), folder)))
    # Gradients go through all layers, down to the first one.
    assert all(traced.kinds[layer].backward_peak for layer in traced.layers)


@pytest.mark.parametrize("kind", ["gpt2", "falcon"])  # whose layers are of other classes than torch's
def test_quantized_weights_are_held_in_few_bits(family: Any, rows: Path, kind: str) -> None:
    config = make_config(family(kind), rows, "qlora-4bit")
    weights = trace(case_of(config, family(kind))).weights
    inside = sum(
        p.numel() for n, p in make_policy(make_config(family(kind), rows, "full")).model.named_parameters()
        if ".h." in n and p.dim() == 2
    )  # fmt: skip
    assert weights.quantized == inside
    batch = Batch(2, 16, 32)
    peak = predict_by_trace(config, config_of(family(kind)), batch, "cpu", "eager")
    assert peak.weights == weights.adapters * 4 + weights.frozen_bytes + inside // 2


@pytest.mark.parametrize(("kind", "alone"), [("opt", True), ("gemma2", True), ("granite", False)])
def test_a_head_that_is_not_all_there_is_to_the_logits_is_noticed(
    family: Any, rows: Path, kind: str, alone: bool
) -> None:
    config = make_config(family(kind), rows, "lora")
    assert trace(case_of(config, family(kind))).head.alone == alone


@pytest.mark.parametrize("kind", ["gpt2", "lfm2"])  # lfm2 has no class with a reward head
def test_a_reward_model_is_traced_with_its_head(family: Any, rows: Path, kind: str) -> None:
    config = make_config(family(kind), rows, "lora", stage={"kind": "reward"})
    traced = trace(case_of(config, family(kind)))
    assert (traced.head.params, traced.head.hidden) == (0, 64)
    assert traced.weights.training > 64


def test_a_traced_peak_grows_with_the_batch_and_shrinks_with_checkpointing(family: Any, rows: Path) -> None:
    model, config = config_of(family("gpt2")), make_config(family("gpt2"), rows, "full")

    def peak(rows: int, checkpointing: bool = False) -> int:
        train = config.train.model_copy(update={"gradient_checkpointing": checkpointing})
        changed = config.model_copy(update={"train": train})
        return predict_by_trace(changed, model, Batch(rows, 128, rows * 128), "cpu", "eager").total

    assert peak(2) < peak(8)
    assert peak(8, checkpointing=True) < peak(8)


def test_the_same_steps_are_one_case(family: Any, rows: Path) -> None:
    folder = family("gpt2")
    one = case_of(make_config(folder, rows, {"kind": "lora", "alpha": 1}, learning_rate=1e-3), folder)
    other = case_of(make_config(folder, rows, {"kind": "lora", "alpha": 2}, learning_rate=1e-4), folder)
    assert one.key() == other.key()
    assert replace(one, tokens=17).key() != one.key()


# Which models are traced


def test_plain_decoders_have_a_formula_and_others_are_traced(family: Any, tiny_model: Path) -> None:
    assert PredictedModel.of_files(read_architecture(tiny_model)).shape is not None
    for kind in ("gpt2", "gpt_neox", "qwen3_moe", "bamba", "phi3", "gemma3n_text"):
        assert PredictedModel.of_files(read_architecture(family(kind))).shape is None, kind


ODD = [None, "", "x", -1, 0, 1.5, float("inf"), True, [], [1, 2], {}, {"model_type": 3}]


@pytest.mark.parametrize("key", ["model_type", "text_config", "hidden_size", "num_hidden_layers", "head_dim",
                                 "intermediate_size", "num_attention_heads", "num_key_value_heads", "vocab_size",
                                 "tie_word_embeddings", "num_experts", "max_position_embeddings"])  # fmt: skip
def test_no_config_is_more_than_unpredictable(tiny_model: Path, key: str) -> None:
    config = config_of(tiny_model)
    for value in ODD:
        for changed in ({**config, key: value}, {"text_config": {**config, key: value}}):
            try:
                shape = decoder_shape.from_config(changed)
            except MemoryNotPredictable:
                continue
            assert shape.params > 0


# The process


def test_a_question_that_takes_too_long_has_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    tracer = Tracer()
    monkeypatch.setattr(tracing_process, "PROCESSOR_SECONDS", 0.1)  # its imports take more
    with pytest.raises(MemoryNotPredictable, match=r"took more than 0\.1 s of processor time"):
        tracer.ask({"count": {"model_type": "gpt2"}})
    monkeypatch.setattr(tracing_process, "ANSWER_SECONDS", 0)
    with pytest.raises(MemoryNotPredictable, match="took more than 0 s"):
        tracer.ask({"count": {"model_type": "gpt2"}})
    assert tracer._process is None  # it ended


@pytest.mark.parametrize(("code", "traces"), [({}, 2), ({"method_sha256": "0" * 64}, 1)])
def test_no_trace_is_kept_of_a_method_whose_code_has_no_hash(
    code: dict[str, str], traces: int, tiny_model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = case_of(make_config(tiny_model, rows), tiny_model)
    answer = {"result": asdict(trace(case))}
    own = replace(case, method={"kind": "installed:Method", **code})
    asked = []
    for _ in range(2):  # two processes
        monkeypatch.setattr(tracing_process, "_of_installed_code", Recent[str, dict[str, Any]](8))
        monkeypatch.setattr(Tracer, "ask", lambda self, question: asked.append(question) or answer)
        assert tracing_process.traced(own) == tracing_process.traced(own) == trace(case)
    assert len(asked) == traces


def test_a_process_answers_with_numbers_or_the_reason_that_there_are_none(
    family: Any, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path))
    config = config_of(family("gpt2"))
    assert tracing_process.counted_parameters(config) == count_parameters(config)
    with pytest.raises(MemoryNotPredictable, match="transformers has no models of type nothing"):
        tracing_process.counted_parameters({"model_type": "nothing"})
    case = case_of(make_config(family("gpt2"), rows, "lora"), family("gpt2"))
    assert tracing_process.traced(case) == trace(case)
    # The second time nobody is asked.
    monkeypatch.setattr(Tracer, "ask", None)
    assert tracing_process.traced(case).weights.adapters > 0
    with pytest.raises(MemoryNotPredictable, match="no models of type nothing"):
        tracing_process.counted_parameters({"model_type": "nothing"})


def test_a_plan_says_that_a_peak_was_traced(family: Any, tmp_path: Path) -> None:
    spec = write_spec(tmp_path, family("gpt2"), SPEC.replace(METHODS, "methods: [{kind: full}]\n"))
    said = CliRunner().invoke(app, ["plan", str(spec)]).stdout
    assert "GiB (traced)" in said


# The optimizer


def test_only_torchs_own_adamw_keeps_its_moments_in_the_weights_type() -> None:
    assert optimizer_bytes_per_weight(NAMED["adamw"], 2) == 4
    assert (
        optimizer_bytes_per_weight(NAMED["paged_adamw"], 2)
        == optimizer_bytes_per_weight(NAMED["adamw"], 4)
        == 8
    )
