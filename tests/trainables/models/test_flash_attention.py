"""FlashAttention: which implementation is chosen, and examples that share a batch. Its kernel needs a GPU; here a plain
one stands in for it, and all else of transformers' way to it is real.
"""

from __future__ import annotations

import itertools
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, modeling_flash_attention_utils

from trainables.models import kernels
from trainables.models.architecture import forward_probe
from trainables.models.architecture.flash_attention import FLASH, flash_boundaries
from trainables.models.architecture.model_classes import ALL_ATTENTION, supported_attention
from trainables.stages.causal_lm import OneRow, SharedRows
from trainables.system import capabilities
from trainables.system.capabilities import Capability
from trainables.tokenization.encode import IGNORED

ROWS = [list(range(3, 12)), list(range(20, 25)), list(range(40, 53)), list(range(60, 64))]
EXAMPLES = [{"input_ids": ids, "labels": [IGNORED, *ids[1:]]} for ids in ROWS]


def works(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Makes these capabilities the ones that work."""
    monkeypatch.setattr(capabilities, "check_capability", lambda name: Capability(name, name in names, ""))


@pytest.mark.parametrize(
    ("there", "supported", "in_16_bits", "chosen"),
    [
        (FLASH, ALL_ATTENTION, True, "flash_attention_3"),
        (FLASH[1:], ALL_ATTENTION, True, "flash_attention_2"),
        (FLASH, ALL_ATTENTION - {"flash_attention_3"}, True, "flash_attention_2"),
        (FLASH, frozenset(("eager", "sdpa")), True, "sdpa"),
        (FLASH, frozenset(("eager",)), True, "eager"),
        (FLASH, ALL_ATTENTION, False, "sdpa"),
        ((), ALL_ATTENTION, True, "sdpa"),
    ],
)
def test_auto_takes_the_fastest_attention_that_works_for_the_model_on_this_gpu(
    monkeypatch: pytest.MonkeyPatch,
    there: tuple[str, ...],
    supported: frozenset[str],
    in_16_bits: bool,
    chosen: str,
) -> None:
    works(monkeypatch, *there)
    assert kernels.choose_attention("auto", 1024, "cuda", supported, in_16_bits) == chosen
    assert kernels.choose_attention("auto", 1024, "cpu", supported, in_16_bits) not in FLASH


@pytest.mark.parametrize(
    ("precision", "dtype", "in_16_bits"),
    [
        ("bf16", "bfloat16", True),
        ("fp16", "float16", True),
        ("fp16", "bfloat16", True),
        # Rows are scored in the dtype of the weights, without autocast.
        ("bf16", "float32", False),
        ("fp32", "bfloat16", False),
        ("pure_bf16", "float32", True),
    ],
)
def test_flash_attention_takes_only_what_is_of_16_bits_in_training_and_scoring(
    precision: str, dtype: str, in_16_bits: bool
) -> None:
    assert kernels.attends_in_16_bits(precision, dtype) is in_16_bits


@pytest.mark.parametrize(
    ("sizes", "flash"),
    [
        ({"hidden_size": 4096, "num_attention_heads": 32}, True),
        ({"head_dim": 256, "hidden_size": 64, "num_attention_heads": 4}, True),
        ({"head_dim": 256, "global_head_dim": 512}, False),
        ({"text_config": {"head_dim": 320}}, False),
        ({"qk_nope_head_dim": 128, "qk_rope_head_dim": 64}, True),
        ({"hidden_size": 1024, "num_attention_heads": 2}, False),
    ],
)
def test_heads_that_are_larger_than_flash_attentions_leave_the_others(
    sizes: dict[str, Any], flash: bool
) -> None:
    found = supported_attention({"model_type": "of_its_own_code", **sizes})
    assert found == (ALL_ATTENTION if flash else frozenset(("eager", "sdpa")))


def test_a_class_that_names_its_flash_attention_takes_no_other(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path))  # nothing is kept there yet
    assert not supported_attention({"model_type": "gpt_oss"}) & set(FLASH)
    assert supported_attention({"model_type": "llama"}) == ALL_ATTENTION


def test_models_that_are_loaded_after_one_with_ligers_kernels_have_none(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    from transformers.models.llama import modeling_llama

    class LigerMLP(modeling_llama.LlamaMLP):
        pass

    def apply(model: Any, **_: bool) -> None:
        # As Liger does: for this model, and for all others of the process.
        modeling_llama.apply_rotary_pos_emb, modeling_llama.LlamaMLP = print, LigerMLP

    own = modeling_llama.apply_rotary_pos_emb, modeling_llama.LlamaMLP
    patches = SimpleNamespace(MODEL_TYPE_TO_APPLY_LIGER_FN={"llama": apply})
    monkeypatch.setitem(sys.modules, "liger_kernel", SimpleNamespace())
    liger = SimpleNamespace(_apply_liger_kernel_to_instance=apply)
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", liger)
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers.monkey_patch", patches)
    kernels.load_with_kernels("liger", AutoModelForCausalLM, tiny_model, {}, 64, False)
    assert (modeling_llama.apply_rotary_pos_emb, modeling_llama.LlamaMLP) == (print, LigerMLP)
    later = kernels.load_with_kernels("none", AutoModelForCausalLM, tiny_model, {}, 64, False)
    assert (modeling_llama.apply_rotary_pos_emb, modeling_llama.LlamaMLP) == own
    assert type(later.model.layers[0].mlp) is own[1]


def test_ligers_kernels_are_left_out_for_models_that_it_does_not_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    works(monkeypatch, "liger")
    monkeypatch.setattr(kernels, "_liger_function", lambda config: {"llama": print}.get(config.model_type))
    assert kernels.choose_kernels("auto", LlamaConfig()) == "liger"
    works(monkeypatch)
    assert kernels.choose_kernels("auto", LlamaConfig()) == "none"
    works(monkeypatch, "liger")
    unknown = LlamaConfig()
    unknown.model_type = "another"
    assert kernels.choose_kernels("auto", unknown) == "none"
    assert kernels.choose_kernels("liger", unknown) == "liger"  # which is an error where it is loaded


# Examples that share a batch


def whole_rows(q: Tensor, k: Tensor, v: Tensor, causal: bool, softmax_scale: float, **_: Any) -> Tensor:
    """What FlashAttention computes: (rows, tokens, heads, size) each, with fewer heads of keys than of queries."""
    q, k, v = (each.transpose(1, 2) for each in (q, k, v))
    return functional.scaled_dot_product_attention(
        q, k, v, is_causal=causal, scale=softmax_scale, enable_gqa=True
    ).transpose(1, 2)


def by_boundaries(q: Tensor, k: Tensor, v: Tensor, cu_seqlens_q: Tensor, **options: Any) -> Tensor:
    """The same of (tokens, heads, size) each, between these boundaries."""
    ends = cu_seqlens_q.tolist()
    parts = [slice(*pair) for pair in itertools.pairwise(ends)]
    return torch.cat([whole_rows(q[None, at], k[None, at], v[None, at], **options)[0] for at in parts])


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "max_position_embeddings": 128}
    config = LlamaConfig(
        **sizes, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, pad_token_id=0
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def flash(model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch) -> LlamaForCausalLM:
    """The model with FlashAttention, whose kernel the functions above stand in for."""
    supports: dict[str, bool] = defaultdict(bool)
    arguments = partial(
        modeling_flash_attention_utils._process_flash_attention_kwargs, supports_mapping=supports
    )

    def chosen(*args: Any, **options: Any) -> dict[str, Any]:
        given = arguments(*args, **options)
        return {name: given[name] for name in ("causal", "softmax_scale")}

    functions = (whole_rows, by_boundaries, None, None, None), (chosen, dict)
    monkeypatch.setattr(
        modeling_flash_attention_utils, "lazy_import_flash_attention", lambda *_, **__: functions
    )
    monkeypatch.setattr(model.config, "_attn_implementation_internal", "flash_attention_2")
    return model


def label_losses(model: LlamaForCausalLM, batch: dict[str, Any]) -> Tensor:
    """The loss of each labelled token in nats, sorted: batches may have them in another order."""
    labels = batch["labels"][:, 1:].flatten()
    with torch.no_grad():
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
    losses = functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels, reduction="none")
    return losses[labels != IGNORED].sort().values


@pytest.fixture
def alone(model: LlamaForCausalLM) -> Tensor:
    """The losses of each example in a batch of its own, by the attention that the model was made with."""
    parts = [label_losses(model, SharedRows(0)([example])) for example in EXAMPLES]
    return torch.cat(parts).sort().values


def test_examples_of_a_batch_do_not_attend_to_one_another_with_flash_attention(
    alone: Tensor, flash: LlamaForCausalLM
) -> None:
    batch = OneRow()(EXAMPLES)
    assert batch["input_ids"].shape == (1, sum(map(len, ROWS)))  # no padding
    assert torch.allclose(label_losses(flash, batch), alone, atol=1e-5)


def test_packs_keep_their_examples_apart(alone: Tensor, flash: LlamaForCausalLM) -> None:
    pairs = [EXAMPLES[:2], EXAMPLES[2:]]
    packs = [
        {
            "input_ids": [token for part in pair for token in part["input_ids"]],
            "labels": [label for part in pair for label in (IGNORED, *part["labels"][1:])],
            "seq_lengths": [len(part["input_ids"]) for part in pair],
        }
        for pair in pairs
    ]
    assert torch.allclose(label_losses(flash, OneRow()(packs)), alone, atol=1e-5)


def test_positions_alone_would_not_keep_them_apart_in_several_rows(
    alone: Tensor, flash: LlamaForCausalLM
) -> None:
    """The reason for boundaries: transformers looks at positions in a batch of one row alone."""
    pair = SharedRows(0)(EXAMPLES[:2])
    several = {name: torch.cat([values, values]) for name, values in pair.items()}
    both = torch.cat([label_losses(flash, SharedRows(0)([each])) for each in EXAMPLES[:2]] * 2)
    assert not torch.allclose(label_losses(flash, several), both.sort().values, atol=1e-3)


def test_the_probe_asks_with_the_boundaries_that_batches_have(
    flash: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert forward_probe._rows_can_share(flash)
    asked = []
    own = type(flash).forward

    def without_boundaries(self: Any, *args: Any, **options: Any) -> Any:
        asked.append(options.keys() & flash_boundaries([1]).keys())
        if asked[-1]:
            raise TypeError("unexpected keyword argument")
        return own(self, *args, **options)

    monkeypatch.setattr(type(flash), "forward", without_boundaries)
    assert not forward_probe._rows_can_share(flash)
    assert asked[0] == flash_boundaries([1]).keys()
