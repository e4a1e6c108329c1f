"""A forward and a backward pass on tensors without contents, with the memory in use before and after each layer."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from trainables.memory.tracing.case import HeadTrace, LayerTrace, Trace, TracedCase, WeightSizes
from trainables.memory.tracing.fake_model import (
    FakeModel,
    attach,
    replace_layers,
    without_contents,
)
from trainables.memory.tracing.head import trace_head
from trainables.memory.tracing.live_bytes import LiveBytes
from trainables.memory.tracing.stand_ins import HeadGradient, MarkedLayer
from trainables.memory.tracing.weights import shared_tensors, trained_tensors, weight_sizes
from trainables.models.precision import choose_dtypes

# PEFT's types of adapters that index the places of a few weights by flags, all of which are true but for rounding.
CHOSEN_BY_FLAGS = frozenset({"waveft"})


def trace(case: TracedCase) -> Trace:
    """Traces some layers of each kind; where they can't run alone, all layers.

    Raises whatever the model's own code raises.
    """
    try:
        return trace_model(case, attach(case))
    except Exception:
        return trace_model(case, attach(case, every_layer=True))


def trace_model(case: TracedCase, fake: FakeModel) -> Trace:
    """Traces the layers that are in a model. It can't be used again."""
    passed = _Pass.run(case, fake)
    by_kind: dict[int, list[LayerTrace]] = {}
    for number, layer in zip(fake.traced, passed.layers(), strict=True):
        by_kind.setdefault(fake.kinds[number], []).append(layer)
    merged = {kind: _merged(samples) for kind, samples in by_kind.items()}
    return Trace(
        kinds=tuple(merged[kind] for kind in sorted(merged)),
        layers=fake.kinds,
        outside=passed.outside([merged[fake.kinds[number]] for number in fake.traced]),
        last_norm_peak=passed.last_norm_peak(),
        head=passed.head,
    )


def _merged(samples: list[LayerTrace]) -> LayerTrace:
    """One layer for several of a kind: medians of what stays, and the highest of what is there for a moment.

    What all layers share is freed with the first one, and its gradients are made with the last one. That is of neither
    of the two alone: what a median leaves out counts as outside of the layers.
    """
    return replace(
        samples[0],
        kept=round(median(each.kept for each in samples)),
        forward=round(median(each.forward for each in samples)),
        forward_peak=max(each.forward_peak for each in samples),
        backward_peak=max(each.backward_peak for each in samples),
    )


@dataclass
class _Span:
    """The bytes in use when a part of a pass begins and ends, and the most in between."""

    begin: int
    end: int
    peak: int


@dataclass
class _Pass:
    """What the two passes through a model did to the memory in use, ``live``."""

    fake: FakeModel
    live: LiveBytes
    forward: list[_Span] = field(default_factory=list)  # before the layers, each layer, after them
    backward: dict[int, _Span] = field(
        default_factory=dict
    )  # by layer; -1 before them, their number after them
    kept: int = 0
    casts: int = 0
    head: HeadTrace = field(default_factory=lambda: HeadTrace(0))
    _in_forward: bool = True
    _begin: int = 0
    _part: int = 0

    @classmethod
    def run(cls, case: TracedCase, fake: FakeModel) -> _Pass:
        autocast = choose_dtypes(case.precision, case.dtype).autocast
        casting: Any = torch.autocast("cpu", dtype=autocast) if autocast else contextlib.nullcontext()
        with FakeTensorMode(allow_non_fake_inputs=True):
            without_contents(fake.policy)
            held = [*fake.policy.parameters(), *fake.policy.buffers()]
            made = cls(fake, LiveBytes(held, case.method.get("type") in CHOSEN_BY_FLAGS))
            marked = [
                MarkedLayer(m, made._before(number), made._after(number))
                for number, m in enumerate(fake.layers)
            ]
            replace_layers(fake.causal, fake.layers, marked)
            fake.policy.train()
            with made.live:
                made._pass(torch.zeros(case.rows, case.tokens, dtype=torch.long), casting)
                with casting:  # without it, some adapters of 32 bits don't fit the hidden states
                    made.head = trace_head(fake.causal, case.task, made.live)
        return made

    def _pass(self, ids: Tensor, casting: Any) -> None:
        start = self._begin = self.live.live
        with casting:
            loss = HeadGradient.apply(_last_hidden(self.fake.causal, ids))
            self._close_forward()
            inside = self.live.live - start
        self.kept = self.live.live - start
        self.casts = inside - self.kept
        self._in_forward = False
        self.live.restart_peak()
        self._begin, self._part = self.live.live, len(self.fake.layers)
        if loss.requires_grad:
            loss.backward()
            self._close_backward(-1)

    def _before(self, number: int) -> Any:
        def mark(hidden: Tensor) -> None:
            if self._in_forward:
                if number == 0:
                    self._close_forward()
                if hidden.requires_grad:
                    hidden.register_hook(lambda gradient: self._close_backward(number - 1))

        return mark

    def _after(self, number: int) -> Any:
        def mark(hidden: Tensor) -> None:
            if self._in_forward:
                self._close_forward()
                if hidden.requires_grad and number == len(self.fake.layers) - 1:
                    hidden.register_hook(lambda gradient: self._close_backward(number))

        return mark

    def _close_forward(self) -> None:
        self.forward.append(_Span(self._begin, self.live.live, self.live.peak))
        self._begin = self.live.live
        self.live.restart_peak()

    def _close_backward(self, next_part: int) -> None:
        """Ends the part that the backward pass is in; ``next_part`` is the layer that it comes to."""
        self.backward[self._part] = _Span(self._begin, self.live.live, self.live.peak)
        self._begin, self._part = self.live.live, next_part
        self.live.restart_peak()

    # What was found

    def layers(self) -> list[LayerTrace]:
        """What layers share is of none of them: its gradients are there after the first one in the backward pass."""
        shared = shared_tensors(self.fake.layers)
        return [self._layer(number, shared) for number in range(len(self.fake.layers))]

    def _layer(self, number: int, shared: Container[int]) -> LayerTrace:
        layer = self.fake.layers[number]
        own = [p for p in layer.parameters() if p.requires_grad and id(p) not in shared]
        gradients = sum(p.numel() * p.element_size() for p in own)
        forward = self.forward[number + 1]
        backward = self.backward.get(number)
        return LayerTrace(
            kept=gradients - (backward.end - backward.begin) if backward else 0,
            forward=forward.end - forward.begin,
            forward_peak=forward.peak - forward.begin,
            backward_peak=backward.peak - backward.begin if backward else 0,
            weights=weight_sizes(layer, shared),
            tensors=trained_tensors(self.fake.causal, layer, shared),
        )

    def outside(self, layers: Sequence[LayerTrace]) -> LayerTrace:
        """What is left of the pass beside its ``layers``, each as its kind is taken to be."""
        kept = self.kept - sum(layer.kept for layer in layers)
        casts = self.casts - sum(layer.forward - layer.kept for layer in layers)
        last = self.backward.get(-1, _Span(0, 0, 0))
        shared = shared_tensors(self.fake.layers)
        of_layers = {id(p) for layer in self.fake.layers for p in layer.parameters()} - shared
        return LayerTrace(
            kept=kept,
            forward=kept + casts,
            forward_peak=self.forward[0].peak - self.forward[0].begin,
            backward_peak=last.peak - last.begin,
            weights=weight_sizes(self.fake.policy) - sum((each.weights for each in layers), WeightSizes()),
            tensors=trained_tensors(self.fake.causal, self.fake.policy, of_layers),
        )

    def last_norm_peak(self) -> int:
        span = self.backward.get(len(self.fake.layers), _Span(0, 0, 0))
        return span.peak - span.begin


def _last_hidden(causal: Any, ids: Tensor) -> Tensor:
    """The hidden states that the head reads: (rows, tokens, width)."""
    body = causal.base_model if causal.base_model is not causal else causal.get_decoder()
    output = body(input_ids=ids, use_cache=False)
    hidden: Tensor = output.last_hidden_state if hasattr(output, "last_hidden_state") else output[0]
    return hidden
