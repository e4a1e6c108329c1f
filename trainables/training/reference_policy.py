"""The policy before training, at any time: for stages that need it on answers nobody has seen before.

Where a method's adapters are switched off for it, that costs nothing. Elsewhere the weights that train are kept as
they were, and put in their places for as long as the reference is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from trainables.training.policy import Policy

KEPT = "weights_before_training"  # where a model carries them, by parameter name


def keep(policy: Policy) -> None:
    """Remembers the policy as it is now, before its first step."""
    assert policy.method is not None
    if not policy.method.reference_stays:
        trained = ((name, p.detach()) for name, p in policy.model.named_parameters() if p.requires_grad)
        setattr(policy.model, KEPT, {name: _copy(p, policy.dtypes.frozen) for name, p in trained})


def _copy(tensor: Tensor, small: torch.dtype) -> Tensor:
    """In the dtype the weights came in where that holds them exactly, as it does until they have been trained."""
    copy = tensor.to(small, copy=True)
    return copy if torch.equal(copy.to(tensor.dtype), tensor) else tensor.clone()


def copied_bytes(policy: Policy) -> int | None:
    """What the kept weights take; ``None`` where none are kept."""
    kept: dict[str, Tensor] | None = getattr(policy.model, KEPT, None)
    return None if kept is None else sum(t.numel() * t.element_size() for t in kept.values())


@contextmanager
def reference(policy: Policy) -> Iterator[None]:
    """Makes the policy what it was when it was kept; without gradients."""
    kept: dict[str, Tensor] | None = getattr(policy.model, KEPT, None)
    with torch.no_grad():
        if kept is None:
            if policy.method is None:
                yield
                return
            with policy.method.reference(policy.model):
                yield
            return
        trained = {name: p for name, p in policy.model.named_parameters() if name in kept}
        present = {name: p.data for name, p in trained.items()}
        try:
            for name, parameter in trained.items():
                parameter.data = kept[name].to(parameter.dtype)
            yield
        finally:
            for name, parameter in trained.items():
                parameter.data = present[name]
