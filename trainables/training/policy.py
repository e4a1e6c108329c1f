"""The policy: a loaded model with its tokenizer, method and dtypes, and the device that it is on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from trainables.methods import Method
from trainables.models.architecture.forward_probe import Behaviour
from trainables.models.architecture.generation_probe import Generation, probe_generation
from trainables.models.architecture.router_loss import router_settings, without_router_logits
from trainables.models.precision import Dtypes


@dataclass(frozen=True)
class Policy:
    """A model as one trial trains and scores it.

    ``method`` is ``None`` for the untrained base model. ``blueprint``: where workers shard the weights, the model
    without any (see ``training.fsdp``). ``reference_weights``: trained weights as they were before training, by
    parameter name, where the reference policy needs them (see ``training.reference_policy``). ``logprobs_before``: the
    log-probabilities of the scored answers in nats before training, where the stage asks for them. ``behaviour``: which
    short cuts of training and scoring hold for the model. ``generation``: how it generates, where that was asked of the
    loaded model already. ``base_router_settings``: those of the base model's config,
    which are saved (see ``models.router_loss``).
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    method: Method | None
    dtypes: Dtypes
    device: str
    blueprint: Any = None
    reference_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    logprobs_before: tuple[float, ...] | None = None
    behaviour: Behaviour = field(default_factory=Behaviour)
    generation: Generation | None = None
    base_router_settings: dict[str, Any] = field(default_factory=dict)

    @property
    def causal(self) -> Any:
        """The transformers model, adapters in place, whatever its head, without PEFT's wrapper."""
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model

    @cached_property
    def generates(self) -> Generation:
        """How the model generates; asked where it does so for the first time, so that training starts at once."""
        return self.generation or probe_generation(self.causal)

    @property
    def known_generation(self) -> Generation | None:
        """How the model generates, if that was asked."""
        known: Generation | None = vars(self).get("generates", self.generation)
        return known

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Runs a block without gradients and dropout, and with trainable weights in the dtype they are saved in.

        So the model that is scored is the one that is saved. Everything is restored afterwards.
        """
        training = self.model.training
        trained = {
            parameter: parameter.data for parameter in self.model.parameters() if parameter.requires_grad
        }
        # Trainers replace `forward` on the instance (autocast, a loss in chunks). Removing it from the instance's own
        # dictionary uncovers the method of the class, which is what plain transformers will run.
        overrides = {module: module.__dict__.pop("forward", None) for module in {self.model, self.causal}}
        self.model.eval()
        try:
            for parameter, weights in trained.items():
                # The data changes and not the parameter, which optimizer, hooks and tied modules refer to.
                parameter.data = weights.to(self.dtypes.frozen)
            config = self.causal.config
            with torch.no_grad(), router_settings(config, without_router_logits(config)):
                yield
        finally:
            for parameter, weights in trained.items():
                parameter.data = weights
            for module, forward in overrides.items():
                if forward is not None:
                    module.forward = forward
            self.model.train(training)


def default_device() -> str:
    """``cuda`` where torch sees a GPU, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"
