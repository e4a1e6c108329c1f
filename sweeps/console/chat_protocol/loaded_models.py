"""The models of a chat by the names that they were asked for, and the memory that each of them takes."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from trainables.data.thinking import TAGS
from trainables.inference.model_pool import LoadedModel, ModelPool
from trainables.inference.prompts import context_length
from trainables.inference.result import Result
from trainables.memory.figures import weight_bytes
from trainables.models.folder import ModelError
from trainables.system import machine
from trainables.system.suggestions import did_you_mean

MAX_MODELS = 4  # side by side
ALLOCATOR, TENSORS = "cuda_allocator", "tensors"  # how memory was measured


@dataclass(frozen=True)
class MemoryChange:
    """The bytes that a model took or gave back, how they were measured, and what is left for others."""

    bytes: int
    measured_by: str
    available_bytes: int | None

    def to_json(self, name: str) -> dict[str, Any]:
        return {
            name: self.bytes,
            "memory_measured_by": self.measured_by,
            "available_bytes": self.available_bytes,
        }


class ChatModels:
    """The models in memory. ``resolve`` gives the result that a name stands for."""

    def __init__(self, resolve: Callable[[str], Result]) -> None:
        self.resolve = resolve
        self.pool = ModelPool()
        self.loaded: dict[str, LoadedModel] = {}

    def load(self, name: str) -> dict[str, Any]:
        """Loads a model and describes it. Raises ``ModelError``, ``TemplateError`` and what loading fails with."""
        if name in self.loaded:
            raise ModelError(f"{name} is loaded already")
        if len(self.loaded) >= MAX_MODELS:
            raise ModelError(f"at most {MAX_MODELS} models at a time; unload one of {', '.join(self.loaded)}")
        begun = time.monotonic()
        result = self.resolve(name)
        before = self._held_bytes()
        try:
            loaded = self.pool.load(result)
            tokenizer = loaded.tokenizer
        except BaseException:
            _collect()
            raise
        self.loaded[name] = loaded
        memory = self._change(self._held_bytes() - before)
        seconds = {"seconds": round(time.monotonic() - begun, 3)}
        return _description(loaded, tokenizer) | memory.to_json("memory_bytes") | seconds

    def unload(self, name: str) -> MemoryChange:
        """Removes a model from memory. Raises ``ModelError`` for one that isn't loaded."""
        loaded = self.get(name)
        before = self._held_bytes()
        self.pool.unload(loaded)
        del self.loaded[name], loaded
        _collect()
        return self._change(before - self._held_bytes())

    def get(self, name: str) -> LoadedModel:
        """The loaded model of that name. Raises ``ModelError``."""
        if name not in self.loaded:
            known = ", ".join(self.loaded) or "none"
            raise ModelError(f"{name} is not loaded{did_you_mean(name, self.loaded)}; loaded: {known}")
        return self.loaded[name]

    def _held_bytes(self) -> int:
        """The bytes of all models: as the GPU's allocator counts them, or those of their tensors."""
        if torch.cuda.is_available():
            return int(torch.cuda.memory_allocated())
        return sum(weight_bytes(shared.policy.model) for shared in self.pool.base_models)

    def _change(self, count: int) -> MemoryChange:
        if torch.cuda.is_available():
            return MemoryChange(count, ALLOCATOR, int(torch.cuda.mem_get_info()[0]))
        return MemoryChange(count, TENSORS, machine.available_memory_bytes() or None)


def _collect() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _description(loaded: LoadedModel, tokenizer: Any) -> dict[str, Any]:
    """What a program needs to know of a model before it asks."""
    template = tokenizer.chat_template or ""
    ways = loaded.shared.policy.generates
    return {
        "device": str(loaded.shared.policy.device),
        "context_tokens": context_length(loaded),
        "template": loaded.result.config.data.template,
        "has_template": bool(template),
        "thinks": any(tag in template for tag in TAGS),
        "slow": f"{loaded.result.name} {ways.limits}" if ways.recomputes else None,
    }
