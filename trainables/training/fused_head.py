"""TRL's fused head, which computes the log-probabilities of labels part by part: where it is changed, and why.

Checked with TRL 1.16.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trainables.tokenization.encode import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.training.policy import Policy

# Settings of a config by which TRL scales logits, whether the model does or not.
SCALES = ("logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")


@contextmanager
def fused_head(trainer_class: type, policy: Policy, temperature: float = 1.0) -> Iterator[None]:
    """Within the block, a constructor of TRL's ``trainer_class`` gives a policy a head that fits its device and model.

    ``temperature``: what its logits are divided by.

    What computes log-probabilities stays set for the process, as it is looked up in every step.
    """
    _set_log_probs(policy.device, getattr(trainer_class, "weighs_tokens_alike", False))
    # It would name a file of the reference's log-probabilities, which isn't written; it reads all weights, and
    # weights that are sharded can't be read.
    changes: dict[str, Any] = {"hash_module": lambda model: ""}
    if _needs_own_forward(policy, temperature):
        # Without the first change TRL refuses heads with an adapter.
        changes |= {"BaseTunerLayer": (), "add_fused_lm_head": add_whole_head}
    elif (outputs := getattr(trainer_class, "head_outputs", None)) is not None:
        changes["add_fused_lm_head"] = functools.partial(_add_head, outputs)
    module = next((m for m in map(_module, trainer_class.__mro__) if m.startswith("trl.")), __name__)
    with _replaced(sys.modules[module], changes):
        yield


def _add_head(wanted: tuple[str, ...], model: Any, **options: Any) -> None:
    """Adds TRL's fused head with the ``wanted`` outputs, whatever its trainer asks for."""
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(model, **{**options, "outputs": wanted})


def _set_log_probs(device: str, weighs_tokens_alike: bool) -> None:
    """A CPU gets a function that computes gradients along with log-probabilities; a GPU has TRL's Triton kernels."""
    from trl.kernels import chunked_logprob
    from trl.trainer import utils

    function: Any = chunked_logprob.ChunkedLogProbFunction
    # Where there is no Triton, TRL computes logits of all positions, labelled or not, because compilers of such devices
    # want equal shapes. A CPU's time and memory go with the number of positions. TRL asks this for nothing else.
    labelled_only: Any = chunked_logprob._use_triton
    if device == "cpu":
        from trainables.training.label_head.logprobs import LabelHead

        function, labelled_only = LabelHead(weighs_tokens_alike), lambda device: True
    vars(utils).update(_ChunkedLogProbFunction=function, _use_triton=labelled_only)


def _needs_own_forward(policy: Policy, temperature: float) -> bool:
    """Whether there is more to the loss than the products of hidden states and the head's own weights.

    That is so with an adapter of the head, with a head that computes more than a linear layer, in models that scale
    logits or transform hidden states, and where the loss of a router counts, which each family computes in its own way.
    """
    config = policy.causal.config.get_text_config()
    return (
        not _is_linear(policy.causal.get_output_embeddings())
        or not policy.behaviour.head_gives_logits
        or any(getattr(config, name, None) not in (None, 1) for name in SCALES)
        or bool(getattr(config, "output_router_logits", False))
        # A soft cap stands between the product and the temperature, which our function divides hidden states by.
        or (temperature != 1 and getattr(config, "final_logit_softcapping", None) is not None)
    )


def _is_linear(head: Any) -> bool:
    """Whether a head is torch's linear layer, or PEFT's copies of one, and no subclass that does more.

    A reward model has no head that predicts tokens.
    """
    from torch.nn import Linear

    copies = getattr(head, "modules_to_save", None)
    layers = copies.values() if copies else [head]
    return head is None or all(type(layer).forward is Linear.forward for layer in layers)


def _module(cls: type) -> str:
    return cls.__module__


@contextmanager
def _replaced(module: types.ModuleType, changes: dict[str, Any]) -> Iterator[None]:
    """Within the block, names that the module has are ``changes``'."""
    before = {name: value for name, value in vars(module).items() if name in changes}
    vars(module).update({name: changes[name] for name in before})
    try:
        yield
    finally:
        vars(module).update(before)


def add_whole_head(
    model: Any,
    temperature: float = 1.0,
    cast_lm_head_to_fp32: bool = False,
    outputs: tuple[str, ...] = (),
) -> None:
    """Does what TRL's ``add_fused_lm_head`` does with all logits of the model's own forward pass, whatever its head is.

    All ``outputs`` are computed that TRL's trainers log. Logits are cast to 32 bits, the head never is.
    """
    own_forward = model.forward

    @functools.wraps(type(model).forward)
    def forward(
        self: Any, *args: Any, fused_lm_head: bool = False, labels: Tensor | None = None, **options: Any
    ) -> Any:
        if not fused_lm_head or labels is None:
            return own_forward(*args, labels=labels, **options)
        return _label_outputs(own_forward(*args, **options), labels, temperature)

    model.forward = types.MethodType(forward, model)


def _label_outputs(output: Any, labels: Tensor, temperature: float) -> Any:
    """TRL's output of a fused head: figures of each next token, (rows, tokens - 1), 0 where there is no label."""
    import torch
    from trl.trainer.utils import FusedCausalLMOutput

    targets = labels[:, 1:].to(output.logits.device)  # (rows, tokens - 1)
    mask = targets != IGNORED
    logits, targets = output.logits[:, :-1][mask].float(), targets[mask]  # (labelled, vocab), (labelled,)
    logits = logits / temperature if temperature != 1 else logits
    logprobs = logits.log_softmax(-1)

    def spread(values: Tensor) -> Tensor:
        return values.new_zeros(mask.shape).masked_scatter(mask, values)

    with torch.no_grad():
        entropy = spread(-(logprobs.exp() * logprobs).sum(-1))
        mean_logits, is_top1 = spread(logits.mean(-1)), spread(logits.argmax(-1) == targets)
    return FusedCausalLMOutput(
        log_probs=spread(logprobs.gather(-1, targets[:, None])[:, 0]),
        entropy=entropy,
        mean_logits=mean_logits,
        is_top1=is_top1,
        label_mask=mask,
        aux_loss=getattr(output, "aux_loss", None),
    )
