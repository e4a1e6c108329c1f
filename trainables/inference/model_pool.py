"""Results in memory. Adapters of one base share it, and the base itself is had by switching them off.

>>> pool = Shelf()
>>> with pool.load(result).active() as policy:  # doctest: +SKIP
...     policy.causal.generate(...)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from trainables.inference.result import Result
from trainables.models.kernels import choose_attention
from trainables.models.precision import choose_dtypes
from trainables.storage import files
from trainables.training.policy import Policy, default_device
from trainables.trial import starting_weights
from trainables.trial.config import TrialConfig
from trainables.trial.loading import attach, load_base, load_tokenizer, padded_apart


@dataclass
class SharedModel:
    """A model in memory, with the adapters that were put on it."""

    policy: Policy
    adapters: int = 0

    def add(self, result: Result) -> str:
        """Puts an adapter on it, in the dtype it was saved in; the name it has there."""
        from peft import PeftModel

        assert result.trained_folder is not None
        starting_weights.refuse_pickles(result.trained_folder)
        name = f"adapter_{self.adapters}"
        options: Any = {"autocast_adapter_dtype": False, "is_trainable": False}
        model: Any = self.policy.model
        if self.adapters:
            model.load_adapter(str(result.trained_folder), name, **options)
        else:
            model = PeftModel.from_pretrained(model, str(result.trained_folder), adapter_name=name, **options)
            self.policy = replace(self.policy, model=model.eval())
        self.adapters += 1
        self._as_saved(name)
        return name

    def _as_saved(self, name: str) -> None:
        """Holds an adapter in the dtype of its file: PEFT makes it in 32 bits where the base isn't of floats."""
        for path, parameter in self.policy.model.named_parameters():
            if name in path.split(".") and parameter.is_floating_point():
                parameter.data = parameter.data.to(self.policy.dtypes.frozen)


@dataclass
class LoadedModel:
    """A result in memory. ``adapter`` is its own on the shared model; ``None`` for that without any."""

    result: Result
    shared: SharedModel
    adapter: str | None

    @cached_property
    def tokenizer(self) -> Any:
        found = result_tokenizer(self.result)
        return found if self.result.generates_text else padded_apart(found)

    @contextmanager
    def active(self) -> Iterator[Policy]:
        """The policy of this result, until another's is asked for."""
        policy = replace(self.shared.policy, tokenizer=self.tokenizer)
        if not self.shared.adapters:
            yield policy
        elif self.adapter is None:
            with policy.model.disable_adapter():
                yield policy
        else:
            policy.model.set_adapter(self.adapter)
            policy.model.requires_grad_(False)
            yield policy


class ModelPool:
    """All that was loaded, for as long as it lives."""

    def __init__(self) -> None:
        self._shared: dict[str, SharedModel] = {}

    def load(self, result: Result) -> LoadedModel:
        """Loads a result, or what of it isn't in memory yet. Raises ``ModelError`` and ``TemplateError``."""
        config = _base_config(result)
        key = _sharing_key(result, config)
        if key not in self._shared:
            base = load_base(config, result.folder())
            bare = config.model_copy(update={"method": None})
            policy = attach(base, result_tokenizer(result), bare)
            if config.method is not None:
                config.method.prepare(policy.model, policy.dtypes)
            self._shared[key] = SharedModel(policy)
        shared = self._shared[key]
        return LoadedModel(result, shared, shared.add(result) if result.is_adapter else None)


def result_tokenizer(result: Result) -> Any:
    """The tokenizer that a result is spoken to with. Raises ``ModelError`` and ``TemplateError``."""
    model, template = result.config.model, result.config.data.template
    own = result.tokenizer_folder() == result.trained_folder  # has its template
    return load_tokenizer(result.tokenizer_folder(), None if own else template, model.runs_remote_code)


def _base_config(result: Result) -> TrialConfig:
    """The config to load the weights below by: whole weights are as they were saved, quantized for no method."""
    whole = result.trained_folder is not None and not result.is_adapter
    return result.config.model_copy(update={"method": None}) if whole else result.config


def _sharing_key(result: Result, config: TrialConfig) -> str:
    """The same for results whose weights below their adapters are loaded alike."""
    kinds = choose_dtypes(config.train.precision, config.model.dtype)
    method, model = config.method, config.model
    held = {name: getattr(method, name) for name in method.prepares_by} if method else {}
    scaled = [model.rope.model_dump(mode="json"), config.data.cutoff] if model.rope else None
    ran = choose_attention(model.attention, config.data.cutoff, default_device())
    return files.sha256(
        [
            str(result.folder()),
            str(kinds.frozen),
            held,
            scaled,
            ran,
            model.kernels,
            config.stage.task,
        ]
    )
