"""Rewards from what a ``reward`` trial saved: an adapter on the policy's own base, or a whole model beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from trainables.models import adapter_config
from trainables.models.architecture.reward_model import RewardModels
from trainables.models.resize_vocabulary import with_all_embeddings
from trainables.scoring.likelihood import last_hidden_states
from trainables.stages.rewards.rules import ON_OTHER_BASE, RewardModelError
from trainables.tokenization.encode import Encoded
from trainables.training.reference_policy import as_reference

if TYPE_CHECKING:
    from trainables.training.policy import Policy

BATCH = 16  # answers rewarded at a time
# Each policy's reward model, by the policy's model. It is no part of that model, so it is neither trained nor saved.
LOADED: WeakKeyDictionary[nn.Module, AdapterRewards | RewardModel] = WeakKeyDictionary()


def rewards(policy: Policy, folder: Path, rows: Sequence[Encoded]) -> list[float]:
    """Each answer's reward, read at its last token as when the reward model was trained: (rows,).

    Raises :class:`RewardModelError` where ``folder`` holds no reward model that fits the policy.
    """
    reward_model = LOADED.get(policy.model)
    if reward_model is None or reward_model.folder != folder:
        reward_model = LOADED[policy.model] = _load(policy, folder)
    values: list[float] = []
    with torch.no_grad():
        for start in range(0, len(rows), BATCH):
            values += reward_model(policy, rows[start : start + BATCH])
    return values


def _load(policy: Policy, folder: Path) -> AdapterRewards | RewardModel:
    if not (folder / adapter_config.FILE_NAME).exists():
        return RewardModel(policy, folder)
    if policy.method is not None and not policy.method.reference_stays:
        raise RewardModelError(ON_OTHER_BASE.format(folder=folder, method=policy.method.label))
    return AdapterRewards(policy, folder)


class AdapterRewards:
    """A reward adapter and its head on the policy's base; the policy's own adapters are off meanwhile."""

    def __init__(self, policy: Policy, folder: Path) -> None:
        from safetensors.torch import load_file

        self.folder = folder
        config = adapter_config.read_adapter_config(folder)
        if config.get("use_dora"):
            raise RewardModelError(f"{folder} was trained with dora, which can't share the policy's base")
        rank = config.get("r", adapter_config.DEFAULT_RANK)
        # PEFT scales B A by alpha / rank, or by alpha / sqrt(rank) where LoRA is rank-stabilized.
        alpha = config.get("lora_alpha", adapter_config.DEFAULT_ALPHA)
        self.scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
        weights = load_file(folder / "adapter_model.safetensors", device=policy.device)
        weights = {name.removeprefix("base_model.model."): tensor for name, tensor in weights.items()}
        dtype = policy.dtypes.frozen
        self.head = weights.pop("score.weight").float()
        # A (rank, inputs) and B (outputs, rank) by the module's name, which is the same in the policy's base:
        # transformers gives the decoder one name beside either head.
        self.down = {
            n.removesuffix(".lora_A.weight"): w.to(dtype) for n, w in weights.items() if ".lora_A." in n
        }
        self.up = {
            n.removesuffix(".lora_B.weight"): w.to(dtype) for n, w in weights.items() if ".lora_B." in n
        }
        for name in self.down:
            self._check_layer(policy, name)

    def _check_layer(self, policy: Policy, name: str) -> None:
        """Raises :class:`RewardModelError` unless the policy's base has the layer, with the same shape."""
        try:
            module: Any = policy.causal.get_submodule(name)
        except AttributeError:
            raise RewardModelError(f"{self.folder}: the policy's base has no {name}") from None
        shape = (self.down[name].shape[1], self.up[name].shape[0])
        if (module.in_features, module.out_features) != shape:
            raise RewardModelError(f"{self.folder}: {name} of the policy's base has another shape")

    def __call__(self, policy: Policy, rows: Sequence[Encoded]) -> list[float]:
        with as_reference(policy), policy.evaluating(), self._applied(policy):
            hidden = last_hidden_states(policy.causal.base_model, rows, policy)
        return (hidden @ self.head[0]).tolist()

    @contextmanager
    def _applied(self, policy: Policy) -> Iterator[None]:
        """Adds B A x to the output of each adapted layer, by forward hooks: the policy's modules stay as they are."""
        # With a LoRA policy the module is PEFT's wrapper: with its adapters off, its output is the base layer's.
        hooks = [
            policy.causal.get_submodule(name).register_forward_hook(self._hook(name)) for name in self.down
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _hook(self, name: str) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            down, up = self.down[name], self.up[name]
            # (..., inputs) x (inputs, rank) x (rank, outputs): B A itself, (outputs, inputs), is never made.
            return output + (inputs[0].to(down.dtype) @ down.T @ up.T * self.scale).to(output.dtype)

        return add


class RewardModel:
    """A whole reward model beside the policy."""

    def __init__(self, policy: Policy, folder: Path) -> None:
        self.folder = folder
        self.model: Any = RewardModels.from_pretrained(
            with_all_embeddings(folder),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation=policy.causal.config._attn_implementation,
            dtype=policy.dtypes.frozen,
        )
        if self.model.config.num_labels != 1:
            raise RewardModelError(
                f"{folder} is no reward model: its head has {self.model.config.num_labels} outputs"
            )
        self.model.to(policy.device).eval()

    def __call__(self, policy: Policy, rows: Sequence[Encoded]) -> list[float]:
        hidden = last_hidden_states(self.model.base_model, rows, policy)
        return (hidden @ self.model.score.weight.float()[0]).tolist()
