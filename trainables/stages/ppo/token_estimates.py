"""What the policy says about each token of sampled answers, by one forward pass: log-probability, value, entropy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.models.architecture.forward_probe import head_logits

if TYPE_CHECKING:
    from trainables.training.policy import Policy


@dataclass(frozen=True)
class TokenEstimates:
    """The policy's log-probability, value and entropy at each token of answers; (answers, tokens), 0 on padding."""

    logprobs: Tensor
    values: Tensor
    entropy: Tensor


class ValueHead(nn.Module):
    """A linear layer, initially 0, on hidden states scaled to length 1.

    With that scale, a step of Adam moves a value by no more than the learning rate times sqrt(width), for any model.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states (positions, width) to values (positions,)."""
        return self.linear(functional.normalize(hidden.float(), dim=-1))[:, 0]


def estimate_tokens(
    policy: Policy,
    value_head: ValueHead,
    answers: tuple[Tensor, Tensor, Tensor],
    temperature: float,
    mask_logits: Callable[[Tensor, Tensor], Tensor],
    autocast: Callable[[], AbstractContextManager[Any]],
) -> TokenEstimates:
    """The policy's estimates at the tokens of ``answers``: ids, mask (answers, prompt + answer tokens), counted.

    ``mask_logits`` takes the logits (positions, vocab) and ``counted`` (answers, tokens).
    """
    ids, mask, counted = answers
    sampled = ids[:, -counted.shape[1] :][counted]
    # Autocast caches casts of weights, so it must end before the optimizer or the reference changes these.
    with autocast():
        logits, hidden = _logits_and_states(policy, ids, mask, counted)
    logprobs = (mask_logits(logits, counted) / temperature).log_softmax(-1)  # (positions, vocab)
    chosen = logprobs.gather(1, sampled[:, None])[:, 0]
    # Only the rollout's entropy is used; in an update a tensor of the same shape stands in for it.
    entropy = torch.special.entr(logprobs.detach().exp()).sum(-1) if not logits.requires_grad else chosen
    estimates = (chosen, value_head(hidden), entropy.detach())  # (positions,) each
    return TokenEstimates(
        # From (positions,) to (answers, tokens), in the order in which [counted] took them.
        *(torch.zeros(counted.shape, device=ids.device).masked_scatter(counted, each) for each in estimates)
    )


def _logits_and_states(policy: Policy, ids: Tensor, mask: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """The logits (positions, vocab) in 32 bits before each counted token, and what the head made them of."""
    causal = policy.causal
    ids, mask, padding = _padded_on_the_right(ids, mask)
    rows, tokens = counted.nonzero(as_tuple=True)  # (positions,) each
    # The place before each token of an answer, from which it is predicted.
    before = ids.shape[1] - counted.shape[1] - 1 + tokens - padding[rows]
    inputs = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    if policy.behaviour.head_gives_logits:
        hidden = causal.base_model(**inputs).last_hidden_state[rows, before]
        return head_logits(causal, hidden), hidden
    with _head_inputs(causal) as states:
        logits = causal(**inputs).logits[rows, before].float()
    return logits, states[-1][rows, before]


def _padded_on_the_right(ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (rows, tokens) without the padding on their left, which follows on their right; how much it was: (rows,).

    What follows a token changes nothing about it, in models that keep a state, too, and its position is its place.
    """
    padding = mask.argmax(1)  # of equal values, the first one's place
    # Each row turned round by its padding.
    places = (torch.arange(ids.shape[1], device=ids.device) + padding[:, None]) % ids.shape[1]
    return ids.gather(1, places), mask.gather(1, places), padding


@contextmanager
def _head_inputs(causal: Any) -> Iterator[list[Tensor]]:
    """Collects what a model's head is called with, hidden states (rows, tokens, width), by each forward pass."""
    states: list[Tensor] = []
    hook = causal.get_output_embeddings().register_forward_pre_hook(
        lambda module, inputs: states.append(inputs[0])
    )
    try:
        yield states
    finally:
        hook.remove()


def mask_early_ends(logits: Tensor, counted: Tensor, ends: list[int], minimum: int) -> Tensor:
    """The logits (positions, vocab), with end tokens at -inf where an answer has fewer than ``minimum`` tokens."""
    if not minimum:
        return logits
    # (positions,): the place of a token is the number of the answer's tokens before it.
    early = (torch.arange(counted.shape[1], device=counted.device) < minimum).expand_as(counted)[counted]
    ending = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
    ending[ends] = True
    return logits.masked_fill(early[:, None] & ending, -torch.inf)
