"""The head of a traced model: its sizes, and whether there is more to the logits than its product."""

from __future__ import annotations

from typing import Any

import torch

from trainables.memory.tracing.case import HeadTrace
from trainables.memory.tracing.live_bytes import LiveBytes

# Operations that leave the numbers as they are, and those of the products themselves.
WITHOUT_EFFECT = {
    "view", "_unsafe_view", "reshape", "slice", "t", "transpose", "permute", "alias", "detach", "_to_copy", "clone",
    "unsqueeze", "squeeze", "expand", "mm", "addmm", "bmm", "linear", "select", "device",
}  # fmt: skip
SOFT_CAP = {"div", "tanh", "mul"}  # which the fused head has, too


def trace_head(causal: Any, task: str, live: LiveBytes) -> HeadTrace:
    """The head of a transformers model. Runs one token through the model, in the mode of ``live``."""
    head = causal.get_output_embeddings() if task != "SEQ_CLS" else None
    if head is None:
        return HeadTrace(int(causal.config.get_text_config().hidden_size))
    weight = getattr(head, "base_layer", head).weight
    return HeadTrace(
        hidden=int(weight.shape[1]),
        params=weight.numel(),
        trains=weight.requires_grad,
        tied=weight is causal.get_input_embeddings().weight,
        # A head for masked tokens has its own forward pass, and its stage says what that takes.
        alone=task == "MASKED_LM" or _is_alone(causal, head, live),
    )


def _is_alone(causal: Any, head: Any, live: LiveBytes) -> bool:
    """Whether the head reads the last hidden states as they are, and its product is the logits, up to a soft cap."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    if isinstance(head, BaseTunerLayer):
        return False
    body = causal.base_model
    if body is causal:
        return False
    parts: dict[str, set[str]] = {}  # names of the operations up to the head's product, and after it

    def close(part: str) -> None:
        parts[part] = set(live.names)
        live.names.clear()

    bodies = {
        id(each): each for each in (body, causal.get_decoder())
    }  # OPT's calls its decoder, not its body
    hooks = [
        *(each.register_forward_hook(lambda *ignored: live.names.clear()) for each in bodies.values()),
        head.register_forward_pre_hook(lambda module, args: close("before")),
        head.register_forward_hook(lambda module, args, output: close("product")),
    ]
    try:
        with torch.no_grad():
            causal(input_ids=torch.zeros(1, 1, dtype=torch.long), use_cache=False)
    except Exception:  # its forward pass needs more than tokens
        return False
    finally:
        for hook in hooks:
            hook.remove()
    close("after")
    if "product" not in parts:  # it uses the head's weight and not the head
        return False
    cap = getattr(causal.config.get_text_config(), "final_logit_softcapping", None)
    after = parts["after"] - (SOFT_CAP if cap else set())
    return not (parts["before"] | after) - WITHOUT_EFFECT
