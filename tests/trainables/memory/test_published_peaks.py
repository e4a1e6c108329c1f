"""Peaks that others have published for GPUs, beside what is predicted for the same settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.trials import make_config
from trainables.memory.prediction import predict
from trainables.memory.step import MemoryPrediction
from trainables.models.architecture.decoder_shape import DecoderShape
from trainables.models.catalog import CATALOG
from trainables.stages.forward_pass import Batch, WholeLogits

GIB = 2**30
# LLaMA (Touvron et al., 2023, arXiv:2302.13971, table 2; the width of its MLPs is in the weights' config.json).
LLAMA = {
    "7B": DecoderShape(32, 4096, 11008, 32, 32, 128, 32000, tied=False),
    "13B": DecoderShape(40, 5120, 13824, 40, 40, 128, 32000, tied=False),
    "33B": DecoderShape(60, 6656, 17920, 52, 52, 128, 32000, tied=False),
    "65B": DecoderShape(80, 8192, 22016, 64, 64, 128, 32000, tied=False),
}


def predicted(
    shape: DecoderShape, method: dict[str, Any], rows: int, tokens: int, **train: Any
) -> MemoryPrediction:
    train = {"gradient_checkpointing": True, **train}
    config = make_config(Path("/m"), "rows.jsonl", method, batch_size=rows, cutoff=tokens, **train)
    return predict(config, shape, Batch(rows, tokens, rows * tokens), "cuda", "sdpa")


# QLoRA's breakdown of its memory (Dettmers et al., 2023, arXiv:2305.14314, appendix G): NF4 with double quantization,
# rank 64 on every linear layer, one row of 512 tokens, checkpointing, Adam in 32 bits.
QLORA_GB = {"7B": 6.9, "13B": 11.3, "33B": 24.7, "65B": 45.0}


@pytest.mark.parametrize("size", QLORA_GB)
def test_qlora_is_predicted_as_in_its_paper(size: str) -> None:
    found = predicted(LLAMA[size], {"kind": "qlora", "rank": 64}, 1, 512, optimizer="paged_adamw").total / 1e9
    print(f"LLaMA-{size} QLoRA: published {QLORA_GB[size]} GB, predicted {found:.1f} GB")
    assert found == pytest.approx(QLORA_GB[size], rel=0.1)


def test_65_b_in_four_bits_fit_a_gpu_of_48_gb_and_none_of_40() -> None:
    found = (
        predicted(LLAMA["65B"], {"kind": "qlora", "rank": 64}, 1, 512, optimizer="paged_adamw").total / 1e9
    )
    assert 40 < found < 48


# torchtune's README (github.com/pytorch/torchtune, "Memory and training speed"), Llama 3.1 8B: 2 rows of 2,048 tokens
# without autocast, rank 8, checkpointing, torch.compile, the loss in chunks.
TARGETS = ["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TORCHTUNE_GIB = {
    "lora": ({"kind": "lora", "rank": 8, "targets": TARGETS}, 16.2),
    "qlora": ({"kind": "qlora", "rank": 8, "targets": TARGETS}, 7.4),
}


@pytest.mark.parametrize("name", TORCHTUNE_GIB)
def test_torchtunes_figures_are_predicted(name: str) -> None:
    method, published = TORCHTUNE_GIB[name]
    shape = CATALOG["llama-3.1-8b"].shape
    found = predicted(shape, method, 2, 2048, precision="pure_bf16").total / GIB
    print(f"Llama 3.1 8B {name}: published {published} GiB, predicted {found:.1f}")
    assert found == pytest.approx(published, rel=0.1)


# PEFT's method_comparison/MetaMathQA (github.com/huggingface/peft, results of Llama-3.2-3B on one L40S): 4 rows of
# up to 768 tokens, bf16 without autocast, AdamW, SDPA, no checkpointing; the allocator's greatest reservation in GB,
# which has free blocks in it.
PEFT_GB = {
    "full": ({"kind": "full"}, 38.87),
    "lora r32": ({"kind": "lora", "rank": 32, "targets": ["q_proj", "v_proj"]}, 22.29),
    "lora r64": ({"kind": "lora", "rank": 64, "targets": ["q_proj", "v_proj"]}, 22.55),
}


@pytest.mark.parametrize("name", PEFT_GB)
def test_pefts_figures_are_predicted_and_the_allocators_free_blocks_are_not(name: str) -> None:
    method, measured = PEFT_GB[name]
    config = make_config(Path("/m"), "rows.jsonl", method, precision="pure_bf16", batch_size=4, cutoff=768)
    # transformers' own loss: the logits in bf16 and in fp32, and their gradients.
    batch = Batch(4, 768, 4 * 768, WholeLogits(kept=6))
    found = predict(config, CATALOG["llama-3.2-3b"].shape, batch, "cuda", "sdpa").total / 1e9
    print(f"Llama 3.2 3B {name}: published {measured} GB, predicted {found:.1f} GB")
    assert found < measured
    assert found == pytest.approx(measured, rel=0.1)
