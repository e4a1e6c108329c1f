"""Sharding: workers share a model's weights, gradients and optimizer state with PyTorch's ``fully_shard`` (FSDP2).

Each decoder layer is a unit, gathered from all workers' shards when it runs and freed after it. Everything outside the
layers (embedding, last norm, head) stays gathered from a step's first layer to its last. The arithmetic is that of one
worker: weights are gathered in the dtype they train in, and autocast works as usual.

Whatever runs the model has to run on all workers at once; where it is scored, with the same rows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor

from trainables.methods.base import cast_trainable
from trainables.models.architecture.decoder_layers import decoder_layers
from trainables.training.worker_group import worker_count

if TYPE_CHECKING:
    from trainables.config.train import TrainConfig
    from trainables.training.policy import Policy


def shards_weights(train: TrainConfig) -> bool:
    """Whether weights are sharded: where the config asks for it and there is more than one worker."""
    return train.sharding == "fsdp" and worker_count() > 1


def shard(model: Any, trained: torch.dtype, device: str) -> Any:
    """Reduces the model on each worker to the worker's shards; trainable weights get the dtype ``trained``.

    Returns the blueprint: the model as it was, without weights, from which copies for scoring and saving are made.
    """
    if not distributed.is_initialized():
        distributed.init_process_group("gloo" if device == "cpu" else "nccl")
    blueprint = _without_weights(model)
    # Layer by layer: in the dtype that it trains in, the whole model may not fit on one worker.
    for layer in _layers(model):
        cast_trainable(layer, trained)
        _fully_shard(layer, device)
    # The rest: what no layer has taken already.
    cast_trainable(model, trained)
    _fully_shard(model, device)
    _make_root(model)
    return blueprint


def _without_weights(model: Any) -> Any:
    # deepcopy takes what its memo holds for copied: parameters, tied ones once, are replaced by empty ones.
    memo = {id(p): nn.Parameter(p.detach().to("meta"), requires_grad=False) for p in model.parameters()}
    return copy.deepcopy(model, memo)


def _layers(model: Any) -> Any:
    causal = model.get_base_model() if hasattr(model, "peft_config") else model
    return decoder_layers(causal)


def _fully_shard(module: Any, device: str) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    fully_shard(module, mesh=init_device_mesh(device, (distributed.get_world_size(),)))


def _make_root(model: Any) -> None:
    """Makes the whole model FSDP's root, which would otherwise be the first module called: scoring calls parts.

    A private method of torch; checked with torch 2.13.
    """
    model._get_fsdp_state()._lazy_init()


def local_shard(tensor: Tensor) -> Tensor:
    """This worker's shard of a tensor; a tensor that isn't sharded as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@contextmanager
def scoring_policy(policy: Policy) -> Iterator[Policy]:
    """The policy to score, with weights in the dtype they are saved in: the policy itself or, if it is sharded, a new
    sharded copy.
    """
    if policy.blueprint is None:
        yield policy
        return
    model = copy.deepcopy(policy.blueprint)
    for layer in _layers(model):
        _fully_shard(layer, policy.device)
    _fully_shard(model, policy.device)
    # Not strict: the state has parameters alone; buffers came with the copy.
    model.load_state_dict(_saved_state(policy, lambda tensor: tensor), strict=False, assign=True)
    _make_root(model)
    copied = replace(policy, model=model, blueprint=None)
    copied.causal._is_fsdp_managed_module = True  # so that `generate` ends on all workers at once
    # Gathers what is outside the layers: FSDP does that when the model itself is called, and scoring calls its parts.
    model.unshard()
    yield copied


def gather_policy(policy: Policy) -> Policy | None:
    """The policy to save: the policy itself or, if it is sharded, a whole copy in the first worker's CPU memory.

    All workers have to call it; on the others it returns ``None``.
    """
    if policy.blueprint is None:
        return policy
    first = distributed.get_rank() == 0
    state = _saved_state(policy, lambda tensor: _gather(tensor, first))
    if not first:
        return None
    model = copy.deepcopy(policy.blueprint)
    model.load_state_dict(state, strict=False, assign=True)
    return replace(policy, model=model, blueprint=None)


def _gather(tensor: Tensor, first: bool) -> Tensor | None:
    # Gathering is a collective operation, so all workers do it for each weight. One weight at a time is whole
    # on the device; the first worker keeps them in CPU memory.
    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.cpu() if first else None


def _saved_state(policy: Policy, convert: Callable[[Tensor], Any]) -> dict[str, Any]:
    """``convert`` applied to each weight, cast to the dtype that it is saved in, by name; once per tied weight."""
    converted: dict[int, Any] = {}
    state = {}
    for name, parameter in policy.model.named_parameters(remove_duplicate=False):
        # A tied weight has two names. Converted once, it stays one tensor.
        if id(parameter) not in converted:
            dtype = policy.dtypes.frozen if parameter.requires_grad else parameter.dtype
            converted[id(parameter)] = convert(parameter.detach().to(dtype))
        state[name] = converted[id(parameter)]
    return state
