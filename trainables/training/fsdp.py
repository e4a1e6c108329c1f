"""A policy whose weights, gradients and optimizer state the workers share: PyTorch's ``fully_shard`` (FSDP2).

Every decoder layer is a unit: it is put together from all workers' shards when it is its turn, and let go of after it.
What is not in a layer (embedding, last norm, head) is whole from a step's first layer to its last. The arithmetic is
that of one worker: weights are put together in the dtype they train in, and autocast is as ever.

Whatever runs the model is run by all workers together, with the same rows where they score it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor

from trainables.methods.base import cast_trainable
from trainables.training.worker_group import workers

if TYPE_CHECKING:
    from trainables.config.train import TrainConfig
    from trainables.training.policy import Policy


def shares(train: TrainConfig) -> bool:
    """Whether weights are shared: where that is asked for and there is somebody to share them with."""
    return train.sharding == "fsdp" and workers() > 1


def shard(model: Any, trained: torch.dtype, device: str) -> Any:
    """Leaves this worker its share of each of the model's weights, those that train in ``trained``.

    Gives the model as it was, without weights: what a copy that is scored or saved is made from.
    """
    if not distributed.is_initialized():
        distributed.init_process_group("gloo" if device == "cpu" else "nccl")
    blueprint = _without_weights(model)
    # One layer after the other: in the dtype that it trains in, the whole model may not fit.
    for layer in _layers(model):
        cast_trainable(layer, trained)
        _fully_shard(layer, device)
    cast_trainable(model, trained)
    _fully_shard(model, device)
    _make_root(model)
    return blueprint


def _without_weights(model: Any) -> Any:
    memo = {id(p): nn.Parameter(p.detach().to("meta"), requires_grad=False) for p in model.parameters()}
    return copy.deepcopy(model, memo)


def _layers(model: Any) -> Any:
    causal = model.get_base_model() if hasattr(model, "peft_config") else model
    return causal.get_decoder().layers


def _fully_shard(module: Any, device: str) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    fully_shard(module, mesh=init_device_mesh(device, (distributed.get_world_size(),)))


def _make_root(model: Any) -> None:
    """Says which module is the outermost; else it would be whichever is called first, and scoring calls parts."""
    model._get_fsdp_state()._lazy_init()


def local(tensor: Tensor) -> Tensor:
    """What this worker holds of a tensor: all of it, unless it is shared."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@contextmanager
def scored(policy: Policy) -> Iterator[Policy]:
    """The policy as it is scored, in the dtype it is saved in: itself, or where its weights are shared a copy that is
    shared as well, made anew each time.
    """
    if policy.blueprint is None:
        yield policy
        return
    model = copy.deepcopy(policy.blueprint)
    for layer in _layers(model):
        _fully_shard(layer, policy.device)
    _fully_shard(model, policy.device)
    model.load_state_dict(_as_saved(policy, lambda tensor: tensor), strict=False, assign=True)
    _make_root(model)
    found = replace(policy, model=model, blueprint=None)
    found.causal._is_fsdp_managed_module = True  # so that `generate` ends on all workers at once
    model.unshard()  # parts of it are called, not itself, which would do that
    yield found


def whole(policy: Policy) -> Policy | None:
    """The policy as it is saved: itself, or where its weights are shared a whole copy in the first worker's memory,
    not the GPU's; ``None`` on the others, which have to take part.
    """
    if policy.blueprint is None:
        return policy
    first = distributed.get_rank() == 0
    state = _as_saved(policy, lambda tensor: _gathered(tensor, first))
    if not first:
        return None
    model = copy.deepcopy(policy.blueprint)
    model.load_state_dict(state, strict=False, assign=True)
    return replace(policy, model=model, blueprint=None)


def _gathered(tensor: Tensor, first: bool) -> Tensor | None:
    found = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return found.cpu() if first else None


def _as_saved(policy: Policy, made: Any) -> dict[str, Any]:
    """What is made of each weight in the dtype it is saved in, by name; a tied one is made once."""
    found: dict[int, Any] = {}
    state = {}
    for name, parameter in policy.model.named_parameters(remove_duplicate=False):
        if id(parameter) not in found:
            dtype = policy.dtypes.frozen if parameter.requires_grad else parameter.dtype
            found[id(parameter)] = made(parameter.detach().to(dtype))
        state[name] = found[id(parameter)]
    return state
