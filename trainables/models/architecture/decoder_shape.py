"""The dimensions of a decoder, read from its ``config.json`` alone: the sizes of its weights and activations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Model types whose configs don't state these properties.
QKV_BIAS = ("qwen2",)
QK_NORM = ("qwen3", "gemma3", "gemma3_text")
FOUR_NORMS = ("gemma2", "gemma3", "gemma3_text")
TIED = ("gemma", "gemma2", "gemma3", "gemma3_text")  # unless their configs say otherwise


EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")  # how many there are
OUTSIDE_LAYERS = ("embed_tokens", "lm_head", "score")
PARAMETER_TOLERANCE = 0.01


class MemoryNotPredictable(ValueError):  # noqa: N818
    """The memory of a model or a method can't be predicted; the message says why."""


@dataclass(frozen=True)
class DecoderShape:
    """``layers`` decoder layers with gated MLPs, an embedding, a last norm and a head.

    ``norms``: how many norms of width ``hidden`` each layer has. ``tied``: whether the head is the embedding.
    ``outputs``: of a head that replaces the one that predicts tokens; ``None`` where none does.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    positions: int | None = None
    qkv_bias: bool = False
    qk_norm: bool = False
    norms: int = 2
    outputs: int | None = None

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of each linear layer of a decoder layer, by name."""
        wide, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, wide),
            "k_proj": (self.hidden, narrow),
            "v_proj": (self.hidden, narrow),
            "o_proj": (wide, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_params(self) -> int:
        """Weights of the linear layers in one decoder layer."""
        return sum(inputs * outputs for inputs, outputs in self.linear.values())

    @property
    def linear_outputs(self) -> int:
        """Summed outputs of the linear layers in one decoder layer: the rows of their weights."""
        return sum(outputs for _, outputs in self.linear.values())

    @property
    def norm_and_bias_params(self) -> int:
        """Parameters of the norms and biases in one decoder layer."""
        wide, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return (
            self.norms * self.hidden
            + (2 * self.head_dim if self.qk_norm else 0)
            + (wide + 2 * narrow if self.qkv_bias else 0)
        )

    @property
    def layer_params(self) -> int:
        return self.linear_params + self.norm_and_bias_params

    @property
    def embedding_params(self) -> int:
        return self.vocab * self.hidden

    @property
    def head_params(self) -> int:
        """Parameters of the head that aren't the embedding's: none where they are tied."""
        if self.outputs is not None:
            return self.outputs * self.hidden
        return 0 if self.tied else self.embedding_params

    @property
    def params(self) -> int:
        # The last term is the norm after the last layer.
        return self.layers * self.layer_params + self.embedding_params + self.head_params + self.hidden


def from_config(config: Mapping[str, Any]) -> DecoderShape:
    """The shape of a model with this ``config.json``, whatever is in it.

    Raises :class:`MemoryNotPredictable` for a model that isn't a plain decoder with gated MLPs, by its sizes.

    >>> from_config({"hidden_size": 576, "num_hidden_layers": 30, ...}).params  # doctest: +SKIP
    134515008
    """
    # Multimodal models keep the dimensions of their decoder one level down.
    inner = config.get("text_config")
    text = {**config, **(inner if isinstance(inner, Mapping) else {})}
    kind = str(text.get("model_type", config.get("model_type")))
    experts = [key for key in EXPERTS if text.get(key)]
    if experts:
        raise MemoryNotPredictable(f"{kind} is a mixture of experts")

    def size(name: str, default: int | None = None) -> int:
        value = text.get(name)
        value = default if value is None else value
        if value is None:
            raise MemoryNotPredictable(f"the config of this {kind} model lacks {name}")
        if not isinstance(value, int) or value <= 0:  # a list with a size for each layer, for instance
            raise MemoryNotPredictable(f"the config of this {kind} model has {name}: {str(value)[:50]}")
        return int(value)

    hidden, heads = size("hidden_size"), size("num_attention_heads")
    positions = text.get("max_position_embeddings")
    return DecoderShape(
        layers=size("num_hidden_layers"),
        hidden=hidden,
        intermediate=size("intermediate_size"),
        heads=heads,
        # Without grouped-query attention every head has keys and values of its own.
        kv_heads=size("num_key_value_heads", heads),
        head_dim=size("head_dim", max(1, hidden // heads)),
        vocab=size("vocab_size"),
        tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", kind in TIED))),
        positions=positions if isinstance(positions, int) else None,
        # Qwen 2 has these biases whatever its config says.
        qkv_bias=bool(text.get("attention_bias", kind in QKV_BIAS)) or kind in QKV_BIAS,
        qk_norm=kind in QK_NORM,
        norms=4 if kind in FOUR_NORMS else 2,
    )


def check_parameters(shape: DecoderShape, counted: int) -> None:
    """Compares a shape with the number of parameters that the model has.

    Raises :class:`MemoryNotPredictable` if they differ by more than one percent: then the model has other layers than
    the shape describes, and its activations are unknown, too.
    """
    if counted and abs(shape.params - counted) > PARAMETER_TOLERANCE * counted:
        raise MemoryNotPredictable(
            f"it has {counted:,} parameters, and a plain decoder with its config would have {shape.params:,}"
        )


def check_layers(shape: DecoderShape, matrices: Iterable[str]) -> None:
    """Compares a shape with the names of the modules that own a matrix.

    Raises :class:`MemoryNotPredictable` where a name is none of a plain decoder's: fused or other layers keep other
    activations, and adapters on them have other sizes.
    """
    if others := sorted(set(matrices) - set(shape.linear) - set(OUTSIDE_LAYERS)):
        raise MemoryNotPredictable(
            f"it has layers of other names than a plain decoder: {', '.join(others[:5])}"
        )
