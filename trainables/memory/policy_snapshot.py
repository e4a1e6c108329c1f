"""What a block does to a policy and to the process's random numbers, undone exactly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from trainables.training import fsdp
from trainables.training.policy import Policy
from trainables.trial.model_state import ModelState
from trainables.trial.random_state import RandomState


@contextmanager
def preserved(policy: Policy) -> Iterator[None]:
    """Restores the policy and all random numbers after the block, unless the block fails.

    Copies of weights are in the machine's memory, so they don't count in a GPU's peak. Modules that the block adds are
    dropped, gradients are ``None``. Sharded weights have to be in shards, as before and after a training step.
    """
    numbers, state = RandomState.now(), ModelState(policy.model, checked=False)
    # Trainers keep a reference's weights with the policy, and what the model was asked once.
    kept, reference = dict(vars(policy)), dict(policy.reference_weights)
    trained = [_Copy(tensor) for tensor in _trained(policy)]
    buffers = [_Copy(buffer) for buffer in policy.model.buffers()]
    yield
    state.restore()
    vars(policy).clear()
    vars(policy).update(kept)
    policy.reference_weights.clear()
    policy.reference_weights.update(reference)
    for copy in trained:
        copy.restore()
    for copy in buffers:
        # A base that stays for the next trial is compared with what it was, so it is only written to if it has to be.
        if not copy.is_unchanged():
            copy.restore()
    numbers.restore()


def copied_bytes(policy: Policy) -> int:
    """The bytes of the machine's memory that :func:`preserved` takes for this worker's copies."""
    shards = (fsdp.local_shard(tensor.detach()) for tensor in (*_trained(policy), *policy.model.buffers()))
    return sum(shard.numel() * shard.element_size() for shard in shards)


def _trained(policy: Policy) -> list[Tensor]:
    return [parameter for parameter in policy.model.parameters() if parameter.requires_grad]


class _Copy:
    """The values of a tensor, or of this worker's shard of it, in the machine's memory and in its dtype."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.values = self._shard().to("cpu", copy=True)

    def _shard(self) -> Tensor:
        # Asked again each time: moving a model to its device may give a weight other memory.
        return fsdp.local_shard(self.tensor.detach())

    def is_unchanged(self) -> bool:
        return torch.equal(self._shard().cpu(), self.values)

    def restore(self) -> None:
        # Layers that rest are cast to the dtype of frozen weights, which rounds those that had trained.
        if self.tensor.dtype != self.values.dtype:
            self.tensor.data = self.tensor.data.to(self.values.dtype)
        self._shard().copy_(self.values)
