"""Answers rewarded by what a ``reward`` trial saved: its adapter on the policy's own base, or a model beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from trainables.scoring.likelihood import last_hidden_states
from trainables.stages.ppo.reward_rules import ON_OTHER_BASE, RewardModelError
from trainables.tokenization.encode import Encoded
from trainables.training.reference_policy import as_reference

if TYPE_CHECKING:
    from trainables.training.policy import Policy

HELD = "reward_model"  # where a policy's model carries it
BATCH = 16  # answers rewarded at a time


def rewards(policy: Policy, folder: Path, rows: Sequence[Encoded]) -> list[float]:
    """Each answer's reward, read at its last token as when the reward model was trained: (rows,)."""
    held = getattr(policy.model, HELD, None)
    if held is None or held.folder != folder:
        held = _load(policy, folder)
        # Not a part of the model: it is neither trained nor saved with it.
        object.__setattr__(policy.model, HELD, held)
    found: list[float] = []
    with torch.no_grad():
        for start in range(0, len(rows), BATCH):
            found += held(policy, rows[start : start + BATCH])
    return found


def _load(policy: Policy, folder: Path) -> Adapter | Whole:
    if not (folder / "adapter_config.json").exists():
        return Whole(policy, folder)
    if policy.method is not None and not policy.method.reference_stays:
        raise RewardModelError(ON_OTHER_BASE.format(folder=folder, method=policy.method.label))
    return Adapter(policy, folder)


class Adapter:
    """A reward adapter and its head on the base that the policy stands on, whose own adapters are off meanwhile."""

    def __init__(self, policy: Policy, folder: Path) -> None:
        from safetensors.torch import load_file

        self.folder = folder
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        if config.get("use_dora"):
            raise RewardModelError(f"{folder} was trained with dora, which can't share the policy's base")
        rank = config["r"]
        self.scale = config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)
        weights = load_file(folder / "adapter_model.safetensors", device=policy.device)
        weights = {name.removeprefix("base_model.model."): tensor for name, tensor in weights.items()}
        dtype = policy.dtypes.frozen
        self.head = weights.pop("score.weight").float()
        self.down = {
            n.removesuffix(".lora_A.weight"): w.to(dtype) for n, w in weights.items() if ".lora_A." in n
        }
        self.up = {
            n.removesuffix(".lora_B.weight"): w.to(dtype) for n, w in weights.items() if ".lora_B." in n
        }
        for name in self.down:
            self._fits(policy, name)

    def _fits(self, policy: Policy, name: str) -> None:
        try:
            module: Any = policy.causal.get_submodule(name)
        except AttributeError:
            raise RewardModelError(f"{self.folder}: the policy's base has no {name}") from None
        shape = (self.down[name].shape[1], self.up[name].shape[0])
        if (module.in_features, module.out_features) != shape:
            raise RewardModelError(f"{self.folder}: {name} of the policy's base has another shape")

    def __call__(self, policy: Policy, rows: Sequence[Encoded]) -> list[float]:
        with as_reference(policy), policy.evaluating(), self._on(policy):
            hidden = last_hidden_states(policy.causal.base_model, rows, policy)
        return (hidden @ self.head[0]).tolist()

    @contextmanager
    def _on(self, policy: Policy) -> Iterator[None]:
        hooks = [
            policy.causal.get_submodule(name).register_forward_hook(self._added(name)) for name in self.down
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _added(self, name: str) -> Any:
        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            down, up = self.down[name], self.up[name]
            return output + (inputs[0].to(down.dtype) @ down.T @ up.T * self.scale).to(output.dtype)

        return add


class Whole:
    """A reward model of its own beside the policy."""

    def __init__(self, policy: Policy, folder: Path) -> None:
        from transformers import AutoModelForSequenceClassification

        self.folder = folder
        self.model: Any = AutoModelForSequenceClassification.from_pretrained(
            folder,
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
