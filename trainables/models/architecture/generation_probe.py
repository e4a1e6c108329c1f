"""How a loaded model generates right: with a cache, several rows at a time, and rows that join others on the way.

Families keep what they need of earlier tokens in many ways: keys and values, states of convolutions and recurrences,
under other names, or in the module itself. As in :mod:`forward_probe`, each model is asked, once: do its steps give
what its own forward pass gives for the whole row?
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainables.models.architecture.decoding import JoinedRows, OwnSteps, RecomputedRows, Rows
from trainables.models.architecture.forward_probe import model_key, some_tokens
from trainables.storage import cache, files

VERSION = 1  # of the questions; another one makes kept answers void
LONG, SHORT, STEPS = 9, 4, 3  # tokens of the two kinds of rows, and tokens that are added to each
NARROW = 3  # tokens of a sliding window while the model is probed, so that the rows are longer
# Largest relative differences of logits that rounding explains: a state is carried along in other precision and order
# than it is computed for a whole row, and int8 rounds by all tokens of a batch. Seen in 120 families: 4e-6 in 32 bits,
# 0.06 in 16, 0.17 quantized. Lost states change logits by as much as they are.
EXACT, ROUNDED, QUANTIZED = 1e-3, 0.1, 0.25


@dataclass(frozen=True)
class Generation:
    """How a model's tokens may be generated.

    ``cached``: its own steps with a cache give what recomputing gives, for a row alone. ``padded``: rows of different
    lengths together, padded on the left, give what each gives alone. ``takes_turns``: rows with caches of their own may
    take steps in turns. ``joins``: rows may join and leave a batch with one cache of keys and values at any step.
    Without ``cached``, every token is computed from all before it.
    """

    cached: bool = True
    padded: bool = True
    takes_turns: bool = True
    joins: bool = True

    @property
    def one_at_a_time(self) -> bool:
        """Whether an answer must end before the next one may start: the model itself keeps the state of one."""
        return self.cached and not self.takes_turns

    def start_alone(self, causal: Any, row: Sequence[int]) -> Rows:
        """A row that takes its steps by itself, as those of a model must whose rows don't join."""
        return OwnSteps(causal, [row]) if self.cached else RecomputedRows(causal, [row])

    @property
    def recomputes(self) -> bool:
        """Whether each token of a streamed answer is computed from the whole text: right, but slow."""
        return not (self.joins or self.cached)

    @property
    def limits(self) -> str | None:
        """What makes answers slower than other models', for people; ``None`` if nothing does."""
        if self.joins:
            return None
        if self.recomputes:
            return "computes each token from the whole text, because its cache changes answers: expect it to be slow"
        if self.one_at_a_time:
            return "answers one request after the other, as it keeps the state of a single answer"
        return "answers several requests in turns, as they can't share a batch: each is slower"


def probe_generation(causal: Any) -> Generation:
    """How a loaded causal language model generates; kept in the cache by its config.

    The adapters on it don't matter. Costs some 15 forward passes of a few tokens; random generators stay as they are,
    and so does the model.
    """
    key = files.sha256([VERSION, model_key(causal)])
    try:
        return cache.value("generation", key, "generation.json", Generation, lambda: _measured(causal))
    except _NoNumbersError:  # weights that trained to infinity say nothing about their family
        return Generation()


class _NoNumbersError(ArithmeticError):
    """The model's logits are not finite."""


@dataclass(frozen=True)
class _Row:
    """Tokens, and the logits that the model's own forward pass gives after each of the last of them.

    ``logits``: (steps + 1, vocab), the first behind ``start``, the others each behind one more of ``rest``.
    """

    start: list[int]
    rest: list[int]
    logits: Tensor


@torch.no_grad()
def _measured(causal: Any) -> Generation:
    training = causal.training
    causal.eval()
    try:
        with _narrow_window(causal.config.get_text_config()):
            return _answers(causal)
    finally:
        causal.train(training)


def _answers(causal: Any) -> Generation:
    tolerance = EXACT if causal.dtype in (torch.float32, torch.float64) else ROUNDED
    if getattr(causal, "is_quantized", False):
        tolerance = QUANTIZED

    def agrees(steps: Found) -> bool:
        return _agrees(steps, tolerance)

    long, short, other = (_row(causal, count, seed) for seed, count in enumerate((LONG, SHORT, SHORT + 2)))
    joins = agrees(_joined(causal, short, [long, other]))
    # Most models pass these two questions, which answer the others.
    padded = agrees(_together(OwnSteps, causal, [long, short]))
    cached = padded or agrees(_together(OwnSteps, causal, [long]))
    way = OwnSteps if cached else RecomputedRows
    if not cached:
        padded = agrees(_together(RecomputedRows, causal, [long, short]))
    return Generation(
        cached=cached,
        padded=padded and agrees(_other_padding(way, causal, [long, short])),
        takes_turns=joins or (cached and agrees(_turns(causal, long, short))),
        joins=joins,
    )


def _row(causal: Any, count: int, seed: int) -> _Row:
    ids = some_tokens(causal, count + STEPS, seed + 10)
    logits = causal(input_ids=ids, use_cache=False).logits[0, count - 1 :]
    if not logits.isfinite().all():
        raise _NoNumbersError
    tokens = ids[0].tolist()
    return _Row(tokens[:count], tokens[count:], logits)


Found = Iterator[tuple[Tensor, Tensor]]  # logits (vocab) of a step, and those that they should be
_Way = type[OwnSteps] | type[RecomputedRows]


def _turns(causal: Any, *rows: _Row) -> Found:
    """Each row with a cache of its own, one step of each at a time."""
    running = [OwnSteps(causal, [row.start]) for row in rows]
    for step in range(STEPS):
        for row, own in zip(rows, running, strict=True):
            own.step([row.rest[step]])
            yield own.logits[0], row.logits[step + 1]


def _together(way: _Way, causal: Any, rows: Sequence[_Row]) -> Found:
    running = way(causal, [row.start for row in rows])
    yield from _compared(running, rows, 0)
    for step in range(STEPS):
        running.step([row.rest[step] for row in rows])
        yield from _compared(running, rows, step + 1)


def _joined(causal: Any, first: _Row, rows: Sequence[_Row]) -> Found:
    """One row that others of different lengths join after a step, and leave before the last."""
    running = JoinedRows(causal, [first.start])
    running.step(first.rest[:1])
    yield running.logits[0], first.logits[1]
    running.join(JoinedRows(causal, [row.start for row in rows]))
    for step in range(STEPS - 1):
        running.step([first.rest[step + 1], *(row.rest[step] for row in rows)])
        yield running.logits[0], first.logits[step + 2]
        for place, row in enumerate(rows, start=1):
            yield running.logits[place], row.logits[step + 1]
    running.keep([len(rows)])
    running.step(rows[-1].rest[STEPS - 1 :])
    yield running.logits[0], rows[-1].logits[STEPS]


def _other_padding(way: _Way, causal: Any, rows: Sequence[_Row]) -> Found:
    """The same with other tokens as padding, which shows small influences that 16 bits would hide."""
    first, second = (way(causal, [row.start for row in rows], padding) for padding in (0, 1))
    yield from zip(first.logits, second.logits, strict=True)


def _compared(running: Rows, rows: Sequence[_Row], step: int) -> Found:
    for logits, row in zip(running.logits, rows, strict=True):
        yield logits, row.logits[step]


def _agrees(steps: Found, tolerance: float) -> bool:
    try:
        differences = [(one.float() - other.float()).norm() / other.float().norm() for one, other in steps]
    except torch.OutOfMemoryError:
        raise
    except Exception:  # a library's way that this model does not know
        return False
    # Where it rounds, a token may go to another expert: not wrong.
    share = 1.0 if tolerance == EXACT else 0.75
    return bool((torch.stack(differences) <= tolerance).float().mean() >= share)


@contextmanager
def _narrow_window(config: Any) -> Iterator[None]:
    """Makes a sliding window of attention narrow, so that a few tokens reach beyond it."""
    before = getattr(config, "sliding_window", None)
    if not before:
        yield
        return
    config.sliding_window = NARROW
    try:
        yield
    finally:
        config.sliding_window = before
