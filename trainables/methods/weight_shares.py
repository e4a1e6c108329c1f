"""Which of a decoder's weights a method adapts, trains whole and holds quantized, by kind of layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from trainables.models.architecture.model_weights import DECODER_KINDS, Weight

NAMES = {
    "attention": "attention",
    "mlp": "MLPs",
    "experts": "experts",
    "router": "routers",
    "other": "other layers",
}
# Of the decoder's weights: below it are norms and biases.
SMALL_SHARE = 0.03

Shares = dict[str, dict[str, float]]


def weight_shares(
    weights: Iterable[Weight],
    adapted: Callable[[Weight], bool] = lambda weight: False,
    trained: Callable[[Weight], bool] = lambda weight: False,
) -> Shares:
    """By kind of layer, the shares of the decoder's weights, from 0 to 1: that it holds (``all``), and that are
    ``adapted``, ``trained`` whole, and ``quantized``. What is neither adapted nor trained is frozen.

    The sum of ``all`` over the kinds is 1; embeddings and heads are not part of the decoder.
    """
    weights = [weight for weight in weights if weight.kind != "embedding"]
    whole = sum(weight.count for weight in weights) or 1
    shares: Shares = {}
    for kind in DECODER_KINDS:
        own = [weight for weight in weights if weight.kind == kind]
        if own:
            parts = {
                "all": own,
                "adapted": [w for w in own if adapted(w)],
                "trained": [w for w in own if trained(w)],
                "quantized": [w for w in own if w.packed],
            }
            shares[kind] = {name: sum(w.count for w in part) / whole for name, part in parts.items()}
    return shares


def shares_of(policy: Any) -> Shares:
    """The shares of a model that a method was attached to."""
    from trainables.methods.adapter_targets import adapter_layers, base_name
    from trainables.models.architecture.text_path import text_weights
    from trainables.quantizers.counts import packed_weights

    causal = policy.get_base_model() if hasattr(policy, "peft_config") else policy
    adapted = {name for name, _ in adapter_layers(causal)} if causal is not policy else set()
    trained = {
        base_name(".".join(part for part in name.split(".") if part not in ("modules_to_save", "default")))
        for name, parameter in causal.named_parameters()
        if parameter.requires_grad and "lora_" not in name
    }
    return weight_shares(
        text_weights(causal, packed_weights),
        lambda weight: weight.full_name in adapted,
        lambda weight: weight.full_name in trained,
    )


def left_out(shares: Shares, part: str) -> str | None:
    """What a share below 1 leaves out, in words; ``None`` where that is little.

    >>> left_out({"attention": {"all": 0.2, "adapted": 0.2}, "other": {"all": 0.8, "adapted": 0.0}}, "adapted")
    '80 % of the decoder (80 % other layers)'
    """
    missing = {kind: share["all"] - share[part] for kind, share in shares.items()}
    total = sum(missing.values())
    if total <= SMALL_SHARE:
        return None
    named = [f"{share:.0%} {NAMES[kind]}" for kind, share in missing.items() if share > SMALL_SHARE / 2]
    return f"{total:.0%} of the decoder ({', '.join(named)})".replace("%", " %")
