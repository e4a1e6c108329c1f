"""Tiny models of every family of causal language models that transformers has, with random weights.

A family's config class says which of the usual sizes it has; the few that need more are in ``SPECIAL``. Families that
the library gains are there by themselves.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from tests.helpers.tiny_model import VOCAB, make_tokenizer

LAYERS, HIDDEN, WIDE = 4, 64, 128
MAX_PARAMETERS = 3_000_000
# Sizes by the names that configs have for them; a config gets those that its class knows.
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": HIDDEN,
    "n_embd": HIDDEN,
    "d_model": HIDDEN,
    "word_embed_proj_dim": HIDDEN,
    "intermediate_size": WIDE,
    "ffn_dim": WIDE,
    "intermediate_size_mlp": WIDE,
    "num_hidden_layers": LAYERS,
    "n_layer": LAYERS,
    "n_layers": LAYERS,
    "num_layers": LAYERS,
    "num_attention_heads": 4,
    "num_heads": 4,
    "n_head": 4,
    "n_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "n_positions": 256,
    "sliding_window": 32,
    "window_size": 32,
    "rotary_dim": 8,
    # Mixtures of experts
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "num_experts_per_token": 2,
    "moe_k": 2,
    "moe_topk": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "shared_intermediate_size": 32,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    # Latent attention
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
    # Linear attention and state spaces
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_conv_kernel_dim": 4,
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_d_state": 16,
    "mamba_n_groups": 1,
    "mamba_expand": 2,
    "mamba_chunk_size": 16,
    "state_size": 16,
    "chunk_size": 16,
    "n_groups": 1,
    # Per-layer embeddings
    "vocab_size_per_layer_input": VOCAB,
    "hidden_size_per_layer_input": 16,
}
# What a family needs besides. Scales, caps and multipliers are large enough to show.
SPECIAL: dict[str, dict[str, Any]] = {
    "cohere": {"logit_scale": 0.25},
    "cohere2": {"logit_scale": 0.25},
    "gemma2": {"final_logit_softcapping": 1.5, "attn_logit_softcapping": 5.0, "query_pre_attn_scalar": 16},
    "granite": {"logits_scaling": 8.0, "residual_multiplier": 0.22, "embedding_multiplier": 12.0},
    "granitemoe": {"logits_scaling": 8.0},
    "granitemoehybrid": {"logits_scaling": 8.0, "layer_types": ["mamba", "attention"] * 2},
    "falcon": {"multi_query": True, "new_decoder_architecture": False},
    "falcon_h1": {"mamba_d_ssm": 128, "lm_head_multiplier": 0.25},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "bamba": {"attn_layer_indices": [1, 3]},
    "mamba2": {"num_heads": 8, "head_dim": 16},
}


def family_config(kind: str, tokenizer: Any, **settings: Any) -> Any:
    """A config of a model type with small sizes. Raises whatever its class does where these don't suit."""
    from transformers import CONFIG_MAPPING

    cls = CONFIG_MAPPING[kind]
    known = set(inspect.signature(cls).parameters) | set(vars(cls())) | set(getattr(cls, "attribute_map", {}))
    sizes = {name: value for name, value in SIZES.items() if name in known}
    if "kv_lora_rank" in sizes:  # latent attention has as many keys as queries, and head sizes of its own
        sizes = {name: size for name, size in sizes.items() if name != "head_dim"} | {
            "num_key_value_heads": 4
        }
    ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    return cls(**{**sizes, **ids, **SPECIAL.get(kind, {}), **settings})


def make_family(folder: Path, kind: str, dtype: str = "float32", **settings: Any) -> Path:
    """Writes a tiny model of a type to ``folder``, with the tokenizer of the tests' own model.

    Matrices are four times as large as they are initialized, so that scales, caps and masks show in the logits, and
    there is no dropout.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = family_config(kind, tokenizer, **settings)
    for name in list(vars(config)):
        if "dropout" in name or name.endswith("pdrop"):
            setattr(config, name, 0.0)
    loader: Any = {"t5": AutoModelForSeq2SeqLM, "bert": AutoModelForMaskedLM}.get(kind, AutoModelForCausalLM)
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in loader.from_config(config).parameters())
    if size > MAX_PARAMETERS:
        raise ValueError(f"{kind} has {size:,} parameters with these sizes; give it smaller ones in SPECIAL")
    model = loader.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2 and "conv" not in name and "A_log" not in name:
                parameter.mul_(4.0)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
