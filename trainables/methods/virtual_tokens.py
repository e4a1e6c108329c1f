"""Virtual tokens before each row (prompt tuning, p-tuning, prefix tuning), applied inside the decoder.

PEFT applies them around the whole model, so that its outputs are longer than its inputs. Applied inside, outputs are
those of the row's own tokens: losses, scores and generation are what they are with any other adapter.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trainables.methods.trained_weights import KeepsTrainedWeights

if TYPE_CHECKING:
    from torch import Tensor


def enter_decoder(model: Any) -> Any:
    """A ``PeftModel`` with virtual tokens, which its decoder applies from now on, whatever calls it.

    The adapter that is active counts, and none while adapters are disabled. Raises ``ValueError`` for a decoder that
    takes no embeddings or no cache of keys and values.
    """
    decoder = model.get_base_model().base_model
    inputs = inspect.signature(type(decoder).forward).parameters
    cache = next((name for name in ("cache", "past_key_values") if name in inputs), None)
    if decoder is model.get_base_model() or cache is None or "inputs_embeds" not in inputs:
        raise ValueError(f"{type(decoder).__name__} takes no virtual tokens")
    own_forward = decoder.forward

    @functools.wraps(type(decoder).forward)
    def forward(*args: Any, **options: Any) -> Any:
        if model._adapters_disabled:
            return own_forward(*args, **options)
        return _with_virtual_tokens(
            model, own_forward, dict(zip(inputs, (decoder, *args), strict=False)) | options, cache
        )

    decoder.forward = forward
    cls: Any = type(model)
    model.__class__ = _applied_inside(cls)
    return model


def follow_base(model: Any) -> Any:
    """Has a ``PeftModel`` with adaption prompts call what its base's ``forward`` is then: trainers replace it, and PEFT
    keeps the one that it found.
    """
    around = model.base_model
    del around.forward  # what PEFT found
    cls: Any = type(around)
    around.__class__ = _calling_base(cls)
    return model


def _with_virtual_tokens(model: Any, forward: Any, inputs: dict[str, Any], cache_name: str) -> Any:
    """``inputs``: a decoder's keyword arguments. Its output has a hidden state for each of the row's own tokens."""
    import torch

    inputs.pop("self", None)
    tokens = inputs["input_ids"] if inputs.get("input_ids") is not None else inputs["inputs_embeds"]
    rows, count = len(tokens), model.active_peft_config.num_virtual_tokens
    as_cache = model.active_peft_config.peft_type == "PREFIX_TUNING"
    cache = inputs.get(cache_name)
    begins = cache is None or cache.get_seq_length() == 0
    if (mask := inputs.get("attention_mask")) is not None:
        if mask.dim() != 2:
            raise ValueError("virtual tokens need an attention mask of (rows, tokens)")
        inputs["attention_mask"] = torch.cat([mask.new_ones(rows, count), mask], 1)
    for name in ("position_ids", "cache_position"):
        if (places := inputs.get(name)) is not None:
            first = torch.arange(count, device=places.device).expand(*places.shape[:-1], count)
            later = places + count
            inputs[name] = torch.cat([first, later], -1) if begins and not as_cache else later
    if not begins:
        return forward(**inputs)
    if as_cache:
        return forward(**inputs | {cache_name: _prefix(model, rows, cache)})
    own = inputs.get("inputs_embeds")
    if own is None:
        own = model.get_base_model().get_input_embeddings()(inputs["input_ids"])
    virtual = model.get_prompt(batch_size=1).to(own.dtype).expand(rows, -1, -1)  # (rows, count, width)
    embeddings = torch.cat([virtual, own], 1)
    return _without_first(forward(**inputs | {"input_ids": None, "inputs_embeds": embeddings}), count)


def _prefix(model: Any, rows: int, cache: Any) -> Any:
    """``cache``, or a new one, with the virtual tokens' keys and values for each of ``rows`` rows."""
    from transformers import DynamicCache

    if cache is None:
        cache = DynamicCache(config=model.get_base_model().config.get_text_config())
    for number, layer in enumerate(model.get_prompt(batch_size=1).layers):
        keys, values = (each.expand(rows, -1, -1, -1) for each in (layer.keys, layer.values))
        cache.update(keys, values, number)
    return cache


def _without_first(output: Any, count: int) -> Any:
    """A decoder's output without what it has for the first ``count`` tokens."""

    def rest(states: Tensor) -> Tensor:
        return states[:, count:]

    if not hasattr(output, "last_hidden_state"):
        return (rest(output[0]), *output[1:])
    output.last_hidden_state = rest(output.last_hidden_state)
    if getattr(output, "hidden_states", None) is not None:
        output.hidden_states = tuple(map(rest, output.hidden_states))
    return output


@functools.cache
def _calling_base(cls: type) -> type:
    """PEFT's class of adaption prompts; what copies such a model gets one that calls the copy's base."""

    class CallingBase(cls):
        def forward(self, *args: Any, **options: Any) -> Any:
            return self.model(*args, **options)

    CallingBase.__name__ = cls.__name__
    return CallingBase


@functools.cache
def _applied_inside(cls: type) -> type:
    """PEFT's class of a model without its own way to apply virtual tokens."""

    class AppliedInside(KeepsTrainedWeights, cls):  # a class that PEFT chooses by the task
        _adapters_disabled: bool

        def forward(self, *args: Any, **options: Any) -> Any:
            return self.base_model(*args, **options)

        @contextmanager
        def disable_adapter(self) -> Iterator[None]:
            before = self._adapters_disabled
            self._adapters_disabled = True
            try:
                yield
            finally:
                self._adapters_disabled = before

    AppliedInside.__name__ = cls.__name__
    return AppliedInside
