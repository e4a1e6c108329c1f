"""What autograd keeps for the backward pass, tensor by tensor, in bytes.

Tensors are counted as transformers' Llama-like decoders keep them under autocast. ``tokens`` below is rows x tokens of
the batch; a tensor (tokens, n) takes tokens x n x the bytes of its type.
"""

from __future__ import annotations

from trainables.memory.step import TrainingStep

FP32 = 4


def kept_bytes(step: TrainingStep) -> int:
    """Everything that is kept when the backward pass begins: all layers, and the last norm."""
    tokens, hidden = step.batch.all_tokens, step.shape.hidden
    # The last norm's input, and its scaled input where it trains, in fp32 (tokens, hidden).
    last_norm = FP32 + (FP32 if step.footprint.last_norm else 0)
    last = tokens * hidden * (last_norm + step.widths.compute)  # and the head's input
    reached, trained = step.reached_layers, step.footprint.trained_layers
    # Gradients that end at the head or the last norm need nothing of the layers.
    if not reached:
        return last
    if step.train.gradient_checkpointing:
        # (tokens, hidden) for each layer.
        layer_inputs = tokens * hidden * step.residual_width * step.shape.layers
        return last + layer_inputs + reached * _kept_despite_checkpointing(step)
    return last + trained * layer_bytes(step, True) + (reached - trained) * layer_bytes(step, False)


def layer_bytes(step: TrainingStep, trains: bool) -> int:
    """What one decoder layer keeps that gradients go through; ``trains``: its own weights get gradients, too."""
    shape, footprint, widths = step.shape, step.footprint, step.widths
    compute_bytes, hidden, intermediate = widths.compute, shape.hidden, shape.intermediate
    adapted = footprint.adapted
    heads_width = shape.heads * shape.head_dim
    # Each norm: its input in fp32 (tokens, hidden), and the inverse root mean square (tokens, 1).
    norm = FP32 * hidden + FP32
    # Where a norm's weight trains: the normalized input it is multiplied with, in the residual's type (tokens, hidden).
    norm += step.residual_width * hidden if trains else 0
    per_token = shape.norms * norm
    copied_output = _attention_output_is_copied(step)
    if trains:
        # A norm's output has the type of its weights. Where the products' type is another, each product that reads it
        # makes a cast of its own: three for q, k and v, two for gate and up.
        casts = widths.trainable != compute_bytes
        product_inputs = (
            (3 if casts else 1) * hidden  # q_proj, k_proj, v_proj
            + heads_width * copied_output  # o_proj
            + (2 if casts else 1) * hidden  # gate_proj, up_proj
            + intermediate  # down_proj
        )
        per_token += compute_bytes * product_inputs
    else:
        # Frozen weights need no inputs kept; adapters on them do.
        # q, k and v read one tensor (tokens, hidden), which is kept once if any of them has an adapter.
        per_token += compute_bytes * hidden * bool(adapted & {"q_proj", "k_proj", "v_proj"})
        per_token += compute_bytes * heads_width * copied_output * ("o_proj" in adapted)
        per_token += compute_bytes * hidden * bool(adapted & {"gate_proj", "up_proj"})
        per_token += compute_bytes * intermediate * ("down_proj" in adapted)
    per_token += compute_bytes * 3 * intermediate  # the activation's input and output, and up_proj's output
    # Between A and B of each adapter (tokens, rank).
    per_token += compute_bytes * footprint.rank * len(adapted)
    per_token += _attention_bytes_per_token(step)
    # Autocast's copies of trained weights, which the backward pass multiplies with.
    cast_width = compute_bytes if widths.trainable != compute_bytes else 0
    cast_params = shape.linear_params if trains else footprint.adapter_params(shape) // shape.layers
    return int(step.batch.all_tokens * per_token + cast_width * cast_params)


def _attention_output_is_copied(step: TrainingStep) -> int:
    """1 where o_proj reads a copy of the attention's output; 0 where it reads what attention keeps anyway."""
    return 1 if step.attention == "eager" else 0


def _attention_bytes_per_token(step: TrainingStep) -> int:
    """Queries, keys, values; for eager attention also the (heads, tokens) matrix in fp32 and the products' type."""
    shape, compute_bytes = step.shape, step.widths.compute
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    if step.attention == "eager":
        # Keys and values are repeated to as many heads as the queries have.
        matrix = shape.heads * step.batch.tokens * (FP32 + (compute_bytes if compute_bytes != FP32 else 0))
        return 3 * compute_bytes * queries + matrix
    # Queries and output, keys and values, and the log-sum-exp of each head in fp32.
    return compute_bytes * (2 * queries + 2 * keys) + FP32 * shape.heads


def _kept_despite_checkpointing(step: TrainingStep) -> int:
    """What one layer keeps in spite of checkpointing: 8-bit products hold their inputs outside autograd."""
    if not step.footprint.holds_inputs:
        return 0
    shape = step.shape
    # Of q/k/v and of gate/up, which share an input each; of o; of down.
    inputs = 2 * shape.hidden + shape.heads * shape.head_dim + shape.intermediate
    return step.batch.all_tokens * step.widths.compute * inputs


def layer_cast_bytes(step: TrainingStep) -> int:
    """Autocast's copies of the layers' trained weights, which it keeps until the forward pass ends."""
    if not step.widths.autocast:
        return 0
    trained = step.footprint.trained_layers * step.shape.linear_params
    return step.widths.compute * (trained + step.footprint.adapter_params(step.shape))


def head_cast_bytes(step: TrainingStep) -> int:
    """Autocast's copy of the head (vocab, hidden), where the head trains."""
    casts = step.footprint.head and step.widths.autocast
    return step.widths.compute * step.shape.embedding_params if casts else 0


def evaluated_layer_bytes(step: TrainingStep, rows: int, tokens: int) -> int:
    """The layer that ``rows`` sequences of ``tokens`` tokens are in, where nothing is kept for a backward pass.

    The residual stream and its normalized copy, (tokens, hidden) each, and whichever is larger: the MLP's three
    products, or attention's queries, keys and values with the eager matrix.
    """
    shape, compute_bytes = step.shape, step.widths.compute
    matrix = shape.heads * tokens * (FP32 + compute_bytes) if step.attention == "eager" else 0
    mlp = 3 * compute_bytes * shape.intermediate
    attention = matrix + 3 * compute_bytes * shape.heads * shape.head_dim
    return rows * tokens * (2 * step.residual_width * shape.hidden + max(mlp, attention))
