"""The first step of every stage, and the scores after it, in families that compute in ways of their own: they are plain
transformers', by the formulas of the papers, each row alone.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.helpers.model_families import make_family
from tests.helpers.plain_losses import STAGES, first_step_difference
from tests.helpers.trials import make_config, make_policy
from trainables.models.folder import ModelError

# Each stage in a few kinds of families; the matrix of families has every one.
STEPS = [
    ("dory", "sft", "eager"),  # a head that scales each logit by a weight
    ("opt", "pretrain", "sdpa"),  # positions that begin anew behind padding
    ("granite", "dpo", "sdpa"),  # divides its logits
    ("gpt_oss", "orpo", "eager"),  # experts, and sinks in attention
    ("bloom", "simpo", "eager"),  # no positions at all
    ("cohere", "reward", "sdpa"),  # no class of reward models
    ("qwen3_moe", "kto", "eager"),  # experts
    ("lfm2", "simpo", "sdpa"),  # convolutions
    ("gpt2", "reward", "sdpa"),  # convolutions for linear layers
    ("mamba2", "orpo", "eager"),  # states alone
    ("gemma2", "dpo", "eager"),  # caps its logits
]
# A state in each layer, and scaled logits: each of both is above.
SLOW_STEPS = [pytest.param("falcon_h1", "kto", "sdpa", marks=pytest.mark.slow)]


def test_every_stage_is_among_them() -> None:
    assert {stage for _, stage, _ in STEPS} == set(STAGES)


@pytest.mark.parametrize(("kind", "stage", "attention"), [*STEPS, *SLOW_STEPS])
def test_a_first_step_and_its_scores_are_those_of_plain_transformers(
    tmp_path: Path, kind: str, stage: str, attention: str
) -> None:
    found = first_step_difference(make_family(tmp_path / kind, kind), stage, tmp_path, attention)
    assert max(found.loss, found.scores) < 1e-5
    assert found.gradient < 1e-4
    assert not found.unchanged
    assert not found.random


@pytest.mark.parametrize("kind", ["granite", "qwen3_moe", "gemma2"])
def test_so_it_is_with_packed_rows(tmp_path: Path, kind: str) -> None:
    found = first_step_difference(make_family(tmp_path / kind, kind), "sft", tmp_path, packing=True)
    assert max(found.loss, found.scores) < 1e-5
    assert found.gradient < 1e-4


@pytest.mark.parametrize(
    ("kind", "stage"),
    [
        ("mamba2", "dpo"),
        ("recurrent_gemma", "kto"),
        pytest.param("mamba", "sft", marks=pytest.mark.slow),
        pytest.param("falcon_mamba", "reward", marks=pytest.mark.slow),
    ],
)
def test_hidden_states_in_32_bits_train_and_are_scored_under_a_head_in_16(
    tmp_path: Path, kind: str, stage: str
) -> None:
    found = first_step_difference(make_family(tmp_path / kind, kind), stage, tmp_path, precision="bf16")
    assert max(found.loss, found.scores) < 5e-2


@pytest.mark.parametrize(("kind", "error"), [("dbrx", "index_add_"), ("openai-gpt", "dtype")])
def test_a_model_whose_code_mixes_dtypes_is_refused_with_the_precisions_that_work(
    tmp_path: Path, kind: str, error: str
) -> None:
    folder = make_family(tmp_path / kind, kind)
    with pytest.raises(ModelError, match=f"{error}.*; use precision: pure_bf16 or fp32"):
        make_policy(make_config(folder, "commands", "full", precision="bf16"))
    for precision in ("pure_bf16", "fp32"):
        policy = make_policy(make_config(folder, "commands", "full", precision=precision))
        policy.causal(input_ids=torch.arange(9)[None]).logits.float().sum().backward()
        with policy.evaluating():
            policy.causal(input_ids=torch.arange(9)[None])
