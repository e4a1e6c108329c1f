"""Sizes of tiny models: by the names that configs have for them, and what single families need besides."""

from __future__ import annotations

from typing import Any

from tests.helpers.tiny_model import VOCAB

LAYERS, HIDDEN, WIDE = 4, 64, 128
# A config, and the configs within it, get those that their classes know.
SIZES: dict[str, Any] = {
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input", "unpadded_vocab_size"), VOCAB),
    **dict.fromkeys(
        ("hidden_size", "n_embd", "d_model", "word_embed_proj_dim", "hidden_size_global"), HIDDEN
    ),
    **dict.fromkeys(
        ("intermediate_size", "ffn_dim", "intermediate_size_mlp", "dff", "dim_ff", "feed_forward_size"), WIDE
    ),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "ffn_hidden_size", "mlp_dim"), WIDE),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"), LAYERS),
    **dict.fromkeys(
        ("num_decoder_layers", "encoder_layers", "num_encoder_layers", "depth", "num_blocks"), LAYERS
    ),
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_head", "n_heads", "attention_heads"), 4),
    **dict.fromkeys(("decoder_attention_heads", "encoder_attention_heads", "num_decoder_attention_heads"), 4),
    **dict.fromkeys(("num_encoder_attention_heads", "swa_num_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "swa_num_key_value_heads", "kv_n_heads"), 2),
    **dict.fromkeys(
        ("head_dim", "dim_head", "swa_head_dim", "d_kv", "global_head_dim", "attention_head_size"), 16
    ),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 256),
    **dict.fromkeys(("sliding_window", "window_size", "sliding_window_size", "local_attention"), 32),
    "rotary_dim": 8,
    # Mixtures of experts
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk", "moe_top_k"), 2),
    **dict.fromkeys(
        ("moe_intermediate_size", "shared_expert_intermediate_size", "shared_intermediate_size"), 32
    ),
    **dict.fromkeys(("expert_ffn_hidden_size", "shared_experts_intermediate_size"), 32),
    **dict.fromkeys(("n_shared_experts", "first_k_dense_replace", "n_group", "topk_group"), 1),
    "zero_expert_num": 2,
    # Latent and sparse attention
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "o_lora_rank"), 16),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim"), 8),
    "v_head_dim": 16,
    "o_groups": 2,
    "index_n_heads": 16,  # with few, many scores are 0 alike, and which tokens are chosen is arbitrary
    "index_head_dim": 16,
    "index_topk": 8,
    # Linear attention and state spaces
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "linear_head_dim"), 16),
    "linear_num_key_heads": 2,
    **dict.fromkeys(("linear_num_value_heads", "linear_conv_kernel_dim", "linear_num_heads"), 4),
    **dict.fromkeys(("mamba_n_heads", "n_mamba_heads"), 8),
    **dict.fromkeys(("mamba_d_head", "mamba_headdim", "mamba_d_state", "state_size", "ssm_state_size"), 16),
    **dict.fromkeys(("mamba_n_groups", "mamba_ngroups", "n_groups"), 1),
    "mamba_expand": 2,
    "mamba_dt_rank": 8,
    **dict.fromkeys(("mamba_chunk_size", "chunk_size"), 16),
    # Embeddings of layers, of characters, of n-grams
    "hidden_size_per_layer_input": 16,
    "rel_extent": 32,
}
# Besides those above, in the parts of a model for images and sounds, which text doesn't reach.
OTHER_SIZES: dict[str, Any] = {
    **dict.fromkeys(("image_size", "crop_size"), 32),
    "patch_size": 8,
    "num_mel_bins": 16,
    "max_source_positions": 32,
    "num_global_layers": 1,
    "codebook_size": 64,
    "intermediate_layers_indices": [0, 1],
    "num_position_embeddings": 64,
    "global_attn_indexes": [1],
    **dict.fromkeys(("output_channels", "out_hidden_size", "adapter_out_dim", "adapter_in_dim"), HIDDEN),
    **dict.fromkeys(
        ("adapter_input_size", "vision_output_dim", "ext_pw_out_channel", "nemo_conv_channels"), HIDDEN
    ),
    **dict.fromkeys(("depthwise_separable_out_channel", "downsample_hidden_size"), HIDDEN),
    **dict.fromkeys(("projector_input_dim", "projector_output_dim"), HIDDEN),
}
SLIDING_LATENT: dict[str, Any] = {
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 4,
    **dict.fromkeys(("swa_q_lora_rank", "swa_kv_lora_rank", "swa_head_dim", "swa_v_head_dim"), 16),
    "swa_qk_nope_head_dim": 8,
}
TOKEN_INDEXER: dict[str, Any] = {
    "indexer_n_heads": 16,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 16,
    "indexer_budget": 8,
    "indexer_compress_ratio": 2,
    "hc_lowrank": 8,
}
# What a family needs besides. Scales, caps and multipliers are large enough to show.
SPECIAL: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1, 3]},
    "blt": {"encoder_hash_byte_group_vocab": 64},
    "cohere": {"logit_scale": 0.25},
    "cohere2": {"logit_scale": 0.25},
    "cohere_compass_text": {
        "layer_types": ["full_attention", "sliding_attention"] * 2,
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 2, 2]},
            "full_attention": None,
        },
    },
    "cwm": {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}},
    "dbrx": {"attn_config": {"rope_theta": 10_000.0, "clip_qkv": 8.0}},
    "dots3_note": {"text_config": SLIDING_LATENT},
    "dots3_note_text": SLIDING_LATENT,
    "emu3": {
        "vocabulary_map": {"<image>": 500, "<|extra_200|>": 501, "<|visual token 000000|>": 502},
        "vq_config": {"base_channels": 32, "channel_multiplier": [1, 1], "attn_resolutions": [1]},
    },
    "falcon": {"multi_query": True, "new_decoder_architecture": False},
    "falcon_h1": {"mamba_d_ssm": 128, "lm_head_multiplier": 0.25},
    "gemma2": {"final_logit_softcapping": 1.5, "attn_logit_softcapping": 5.0, "query_pre_attn_scalar": 16},
    "gemma3n_text": {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
        "laurel_rank": 8,
        "activation_sparsity_pattern": [0.5, 0.5, 0.0, 0.0],
        "intermediate_size": [WIDE] * 4,
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "granite": {"logits_scaling": 8.0, "residual_multiplier": 0.22, "embedding_multiplier": 12.0},
    "granitemoe": {"logits_scaling": 8.0},
    "granitemoehybrid": {"logits_scaling": 8.0, "layer_types": ["mamba", "attention"] * 2},
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2, "num_dense_layers": 1},
    "longcat_flash": {"head_dim": 8},
    "mamba2": {"num_heads": 8, "head_dim": 16},
    "qwen4_exp": {"text_config": TOKEN_INDEXER},
    "qwen4_exp_text": TOKEN_INDEXER,
    "reformer": {
        "is_decoder": True,
        "attn_layers": ["local", "lsh", "local", "lsh"],
        "axial_pos_shape": [16, 16],
        "axial_pos_embds_dim": [16, 48],
        "num_buckets": 4,
    },
    "roc_bert": {"shape_vocab_size": 64, "shape_embed_dim": 16, "pronunciation_embed_dim": 16},
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "attention_head_dim": 32,
        "n_mamba_heads": 2,
    },
    "zaya": {"num_experts_per_tok": 1},
}
# Why a type's causal language model is not made.
NOT_MADE = {
    "gemma4_assistant": "it drafts tokens from the states of another model",
    "gemma4_unified_assistant": "it drafts tokens from the states of another model",
    "gemma3n": "its part for images needs the package timm",
    "musicgen": "its decoder of sounds can't be made by the type's config",
    "musicgen_melody": "its decoder of sounds can't be made by the type's config",
}
