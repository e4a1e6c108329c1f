"""The reference policy: the policy before training, for stages that need it on answers sampled during training.

Where switching a method's adapters off gives the reference, it costs nothing. Otherwise a copy of the trainable weights
is kept, and swapped in while the reference is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from trainables.training.policy import Policy


def keep_reference(policy: Policy) -> None:
    """Copies the trainable weights before the first step, if the method's own reference won't stay valid."""
    assert policy.method is not None
    if not policy.method.reference_stays:
        trained = ((name, p.detach()) for name, p in policy.model.named_parameters() if p.requires_grad)
        policy.reference_weights.update({name: _copy(p, policy.dtypes.frozen) for name, p in trained})


def _copy(tensor: Tensor, small: torch.dtype) -> Tensor:
    """A copy in the dtype ``small`` that the weights were loaded in if it is exact, as it is until they are trained."""
    copy = tensor.to(small, copy=True)
    return copy if torch.equal(copy.to(tensor.dtype), tensor) else tensor.clone()


def reference_bytes(policy: Policy) -> int | None:
    """The bytes of the kept copy; ``None`` where there is none."""
    kept = policy.reference_weights
    return sum(t.numel() * t.element_size() for t in kept.values()) if kept else None


def has_reference(policy: Policy) -> bool:
    """Whether :func:`as_reference` gives the policy before training."""
    method = policy.method
    return method is None or method.reference_stays or bool(policy.reference_weights)


@contextmanager
def as_reference(policy: Policy) -> Iterator[None]:
    """Turns the policy into the reference policy for a block, without gradients."""
    kept = policy.reference_weights
    with torch.no_grad():
        if not kept:
            if policy.method is None:
                yield
                return
            with policy.method.reference(policy.model):
                yield
            return
        trained = {name: p for name, p in policy.model.named_parameters() if name in kept}
        current = {name: p.data for name, p in trained.items()}
        try:
            for name, parameter in trained.items():
                parameter.data = kept[name].to(parameter.dtype)
            yield
        finally:
            for name, parameter in trained.items():
                parameter.data = current[name]
