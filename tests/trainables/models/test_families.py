"""Families of models that compute logits, masks and layers in ways of their own: losses and scores are the model's."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from sweeps.planning import plan
from sweeps.spec.spec import read
from tests.helpers.model_families import causal_families, make_family
from tests.helpers.plain_losses import LOSSES, PlainCausal, first_batch
from tests.helpers.sweeps import SMALL, write_spec
from tests.helpers.trials import curve, make_config, run, write_rows
from tests.trainables.models.family_matrix import check_family
from trainables.models.architecture.forward_probe import Behaviour, probe
from trainables.models.architecture.model_classes import class_problem, supported_attention

# For each family, whether the head of its last hidden states gives its logits, and whether rows can share a row.
FAMILIES = {
    "qwen3": (True, True),
    "gemma2": (True, True),  # caps its logits, and has no SDPA
    "granite": (False, True),  # divides its logits
    "cohere": (False, True),  # multiplies them
    "falcon_h1": (False, False),  # a state in each layer
    "gpt2": (True, True),  # layers called h, of convolutions
    "gpt_oss": (True, False),  # experts, and a mask that knows no positions
    "opt": (True, False),
    "bloom": (True, False),  # no positions at all
    "qwen3_moe": (True, True),  # experts
    "granitemoe": (False, True),
    "mamba": (True, False),
    "lfm2": (True, False),  # convolutions, whose influence is small
}


@lru_cache
def _folder(parent: Path, kind: str) -> Path:
    return make_family(parent / kind, kind)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Any:
    parent = tmp_path_factory.mktemp("families")
    return lambda kind: _folder(parent, kind)


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_probe_says_what_holds_for_a_family(
    family: Any, kind: str, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path))
    for dtype in (torch.float32, torch.bfloat16):
        model = AutoModelForCausalLM.from_pretrained(family(kind), dtype=dtype, attn_implementation="eager")
        state = torch.get_rng_state()
        head, share = FAMILIES[kind]
        # Mamba's last hidden states have 32 bits, which its head doesn't take in 16.
        head = head and not (kind == "mamba" and dtype == torch.bfloat16)
        assert probe(model) == Behaviour(head, share)
        assert torch.equal(torch.get_rng_state(), state)
    assert len(list((tmp_path / "behaviour").glob("*/behaviour.json"))) == 2


FAST = ("full", "freeze", "lora", "packing", "export", "chat")  # columns of the matrix


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_family_trains_and_answers_as_plain_transformers_does_or_is_refused(
    tmp_path: Path, kind: str
) -> None:
    row = check_family(kind, tmp_path / kind, FAST)
    apart = row.pop("packing")
    assert set(row.values()) == {"ok"}, row
    # Only where rows stay apart they may share a row.
    assert apart == "ok" if FAMILIES[kind][1] else "can't keep packed rows apart" in apart, apart


def test_a_family_whose_cache_takes_no_whole_text_is_exported(tmp_path: Path) -> None:
    assert check_family("dory", tmp_path / "dory", ("export",)) == {"export": "ok"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", causal_families()[::8])
def test_every_eighth_family_is_right_or_refused_in_every_column(tmp_path: Path, kind: str) -> None:
    row = check_family(kind, tmp_path / kind)
    failures = {column: value for column, value in row.items() if value.startswith(("wrong", "crash"))}
    assert not failures, failures


@pytest.mark.parametrize(("coefficient", "more"), [(0.0, False), (0.5, True)])
def test_the_routers_loss_is_as_stated_and_the_saved_config_as_it_was(
    tmp_path: Path, coefficient: float, more: bool
) -> None:
    folder = make_family(
        tmp_path / "model", "qwen3_moe", output_router_logits=True, router_aux_loss_coef=0.25
    )
    config = make_config(
        folder,
        write_rows(tmp_path / "rows.jsonl"),
        "full",
        precision="fp32",
        dtype="float32",
        steps=1,
        batch_size=4,
        router_aux_loss=coefficient,
        cutoff=128,
    )
    run(config, tmp_path)
    with torch.no_grad():
        plain = float(LOSSES["sft"](PlainCausal(folder), *first_batch(config)))
    ((_, first),) = curve(config, tmp_path)
    assert (first > plain * 1.01) == more
    if not more:
        assert first == pytest.approx(plain, rel=2e-5)
    saved = json.loads((next((tmp_path / "trials").iterdir()) / "model" / "config.json").read_text())
    assert (saved["output_router_logits"], saved["router_aux_loss_coef"]) == (True, 0.25)


def test_encoders_and_models_without_a_class_are_refused_by_their_config() -> None:
    assert class_problem({"model_type": "llama"}) is None
    assert class_problem({"model_type": "granite"}) is None
    assert "is an encoder" in str(class_problem({"model_type": "bert"}))
    assert class_problem({"model_type": "bert", "is_decoder": True}) is None
    divided = {"model_type": "rwkv", "num_hidden_layers": 24, "rescale_every": 6}
    assert "write rescale_every: 0" in str(class_problem(divided))
    assert class_problem(divided | {"rescale_every": 0}) is None
    chunks = class_problem({"model_type": "reformer", "is_decoder": True, "local_attn_chunk_length": 64})
    assert "only on rows of a multiple of 64 tokens" in str(chunks)
    assert "encoder-decoder" in str(class_problem({"model_type": "t5", "is_encoder_decoder": True}))
    assert "no class that predicts" in str(class_problem({"model_type": "vit"}))
    assert "is an encoder" in str(class_problem({"model_type": "modernbert"}))
    assert class_problem({"model_type": "my_own", "auto_map": {"AutoModelForCausalLM": "m.M"}}) is None


def test_encoders_are_trained_on_masked_tokens_and_as_classifiers_alone() -> None:
    bert, llama = {"model_type": "bert"}, {"model_type": "llama"}
    assert class_problem(bert, "pretrain", ("encoder",)) is None
    assert class_problem(bert, "classification", ("decoder", "encoder"), labels=True) is None
    assert "sft trains decoders" in str(class_problem(bert, "sft"))
    assert "leave objective out" in str(class_problem(llama, "pretrain", ("encoder",)))
    assert "leave objective out" in str(class_problem({**bert, "is_decoder": True}, "pretrain", ("encoder",)))
    assert class_problem(llama, "classification", ("decoder", "encoder"), labels=True) is None


def test_attention_is_what_the_class_supports() -> None:
    assert "sdpa" in supported_attention({"model_type": "llama"})
    assert supported_attention({"model_type": "bloom"}) == {"eager"}
    assert "sdpa" not in supported_attention({"model_type": "gemma2"})
    assert "sdpa" in supported_attention({"model_type": "somebody's own"})


def test_a_pair_stage_adds_no_loss_of_routers(family: Any, tmp_path: Path) -> None:
    config = make_config(
        family("qwen3_moe"),
        "commands",
        "lora",
        stage={"kind": "dpo"},
        precision="fp32",
        dtype="float32",
        eval_rows=4,
        cutoff=128,
        steps=1,
    )
    run(config, tmp_path)
    ((_, first),) = curve(config, tmp_path)
    assert first == pytest.approx(math.log(2), rel=1e-5)


def test_a_trial_that_leaves_a_switch_of_torch_on_does_not_change_the_next_one(
    family: Any, tmp_path: Path
) -> None:
    config = make_config(
        family("qwen3"), write_rows(tmp_path / "rows.jsonl"), "full", precision="fp32", dtype="float32"
    )
    run(config, tmp_path / "before")
    torch.set_autocast_enabled("cpu", True)
    torch.set_default_dtype(torch.bfloat16)
    try:
        run(config, tmp_path / "after")
        assert not torch.is_autocast_enabled("cpu")
        assert torch.get_default_dtype() == torch.float32
    finally:
        torch.set_autocast_enabled("cpu", False)
        torch.set_default_dtype(torch.float32)
    assert curve(config, tmp_path / "after") == curve(config, tmp_path / "before")


@pytest.mark.parametrize(
    ("kind", "changes", "error"),
    [
        ("bert", [], "model: model: bert is an encoder"),
        ("bloom", ["model.attention=sdpa"], "model.attention: models of type bloom support eager"),
        ("granite", ["stages=[{kind: reward}]"], None),  # a reward head of our own
        ("llama", [], None),
    ],
)
def test_the_plan_refuses_what_a_models_class_cannot_do(
    tmp_path: Path, kind: str, changes: list[str], error: str | None
) -> None:
    make_family(tmp_path / "model", kind)
    path = write_spec(tmp_path, tmp_path / "model", SMALL)
    found = [
        f"{problem.path}: {problem.what}"
        for problem in plan.make(read(path, [*changes, "data.train=commands"])).errors
    ]
    assert [text[: len(error)] for text in found] == [error] if error else found == []
