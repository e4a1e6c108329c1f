"""Several results answer prompts that come at any time: their answers are generated together, step by step.

>>> generator = Generator()
>>> prompt = prompt_tokens(loaded, [{"role": "user", "content": "2 + 2?"}])  # doctest: +SKIP
>>> answer = generator.submit(loaded, prompt, Sampling())  # doctest: +SKIP
>>> while generator.busy:  # doctest: +SKIP
...     generator.step()
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from trainables.inference.continuous_batch import Answer, Batch, start_batches
from trainables.inference.model_pool import LoadedModel
from trainables.inference.prompts import remaining_tokens
from trainables.inference.sampling import Sampling
from trainables.inference.text_stream import TextStream
from trainables.models.architecture.decoding import JoinedRows
from trainables.scoring.generation import contiguous_head_input, end_tokens
from trainables.system.error_place import describe

MAX_CONCURRENT = 32  # answers that are generated at a time


class AnswerFailed(RuntimeError):  # noqa: N818
    """An answer that could not be generated; its cause is the error."""


@dataclass
class _Queue:
    """The answers of one result: ``batches`` that are being generated, and those ``waiting`` to start."""

    loaded: LoadedModel
    batches: list[Batch] = field(default_factory=list)
    waiting: deque[Answer] = field(default_factory=deque)

    @property
    def active(self) -> int:
        return sum(len(batch.answers) for batch in self.batches)

    def take(self, count: int) -> list[Answer]:
        """Removes up to ``count`` waiting answers; those that were cancelled meanwhile are left out."""
        taken = [self.waiting.popleft() for _ in range(min(count, len(self.waiting)))]
        return [answer for answer in taken if answer.finish_reason is None]


class Generator:
    """Generates at most ``max_concurrent`` answers at a time. Not safe to use from several threads at once."""

    def __init__(self, max_concurrent: int = MAX_CONCURRENT) -> None:
        self.max_concurrent = max_concurrent
        self._queues: dict[int, _Queue] = {}

    @property
    def busy(self) -> bool:
        return any(queue.waiting or queue.batches for queue in self._queues.values())

    @property
    def count(self) -> int:
        """The number of answers that are being generated or wait."""
        return sum(queue.active + len(queue.waiting) for queue in self._queues.values())

    def submit(self, loaded: LoadedModel, prompt: list[int], sampling: Sampling) -> Answer:
        """Queues an answer, which starts with one of the next steps. Raises :class:`PromptError`."""
        max_new_tokens = min(sampling.max_new_tokens, remaining_tokens(loaded, prompt))
        answer = Answer.start(prompt, replace(sampling, max_new_tokens=max_new_tokens))
        # By identity; the queue keeps `loaded` alive, so its id is not given to another object.
        self._queues.setdefault(id(loaded), _Queue(loaded)).waiting.append(answer)
        return answer

    def forget(self, loaded: LoadedModel) -> None:
        """Cancels the answers of a result and keeps nothing of it, so that it can be unloaded."""
        queue = self._queues.pop(id(loaded), None)
        if queue is None:
            return
        for answer in (*(each for batch in queue.batches for each in batch.answers), *queue.waiting):
            if answer.finish_reason is None:
                answer.finish_reason = "cancelled"

    @torch.no_grad()
    def step(self) -> list[Answer]:
        """Adds a token to every answer that is being generated and starts waiting ones while there is capacity.

        Returns the answers that got a token or failed: an error fails the answers alone that it belongs to.
        """
        advanced: list[Answer] = []
        for queue in self._queues.values():
            capacity = self._capacity(queue)
            if queue.batches or (queue.waiting and capacity > 0):
                advanced += _advance(queue, capacity)
        return advanced

    def _capacity(self, queue: _Queue) -> int:
        """How many of its answers may start."""
        capacity = self.max_concurrent - sum(each.active for each in self._queues.values())
        shared = queue.loaded.shared
        if shared.policy.generates.one_at_a_time:
            running = sum(each.active for each in self._queues.values() if each.loaded.shared is shared)
            return min(capacity, 1 - running)
        return capacity


def _advance(queue: _Queue, capacity: int) -> list[Answer]:
    """A step of the result's answers and of up to ``capacity`` new ones."""
    batches, queue.batches = queue.batches, []
    new = queue.take(capacity)
    answers = [*(answer for batch in batches for answer in batch.answers), *new]
    try:
        with queue.loaded.active() as policy, contiguous_head_input(policy):
            queue.batches = _stepped(policy, batches, new)
    except Exception as error:  # the model can't be used at all
        _fail(answers, error)
    return answers


def _fail(answers: Sequence[Answer], error: Exception) -> None:
    for answer in answers:
        if answer.finish_reason is None:
            answer.fail(error)


def _stepped(policy: Any, batches: list[Batch], new: list[Answer]) -> list[Batch]:
    """The batches after a step, with the new answers and without those that have ended."""
    start = partial(start_batches, policy, end_ids=end_tokens(policy))
    batches = _unfinished(batches)  # the caller may have ended answers since the last step
    # Running batches take their step first: a new batch gets its first token while it runs its prompts.
    steps = [(batch.answers, partial(_take_step, batch)) for batch in batches]
    steps += [(answers, partial(start, answers)) for answers in _starting(policy, new)]
    stepped = [batch for answers, step in steps for batch in _isolated(step, start, answers)]
    running = [answer for batch in stepped for answer in batch.answers]
    return _isolated(partial(_joined, stepped), start, running)


def _isolated(
    step: Callable[[], list[Batch]],
    start: Callable[[Sequence[Answer]], list[Batch]],
    answers: Sequence[Answer],
) -> list[Batch]:
    """The batches that ``step`` gives for the answers.

    If that fails, each unfinished answer continues in a batch of its own, so that only those fail which fail alone.
    """
    with suppress(Exception):
        return step()
    batches = []
    for answer in answers:
        if answer.finish_reason is None:
            try:
                batches += start([answer])
            except Exception as error:
                answer.fail(error)
    return _unfinished(batches)


def _take_step(batch: Batch) -> list[Batch]:
    batch.step()
    return [batch]


def _starting(policy: Any, new: list[Answer]) -> list[list[Answer]]:
    """The new answers in groups that start together."""
    if policy.generates.joins:
        return [new] if new else []
    return [[answer] for answer in new]


def _unfinished(batches: list[Batch]) -> list[Batch]:
    remaining = [batch.without_finished() for batch in batches]
    return [batch for batch in remaining if batch is not None]


def _joined(batches: list[Batch]) -> list[Batch]:
    """The batches without answers that have ended, as few as possible."""
    batches = _unfinished(batches)
    joinable = [batch for batch in batches if isinstance(batch.rows, JoinedRows)]
    for batch in joinable[1:]:
        joinable[0].join(batch)
    return joinable[:1] + [batch for batch in batches if not isinstance(batch.rows, JoinedRows)]


def stream_answer(
    loaded: LoadedModel, prompt: list[int], sampling: Sampling, generator: Generator | None = None
) -> Iterator[str]:
    """Yields the text of one answer piece by piece while it is generated.

    Raises :class:`PromptError` and :class:`AnswerFailed`.
    """
    generator = generator or Generator()
    answer = generator.submit(loaded, prompt, sampling)
    stream, streamed = TextStream(loaded.tokenizer, sampling.stop), 0  # tokens given to the stream so far
    while answer.finish_reason is None:
        generator.step()
        if answer.failure is not None:
            raise AnswerFailed(f"{loaded.result.name} failed: {describe(answer.failure)}") from answer.failure
        text, streamed = stream.add(answer.tokens[streamed:]), len(answer.tokens)
        if stream.stopped:
            # The generator drops a finished answer at its next step.
            answer.finish_reason = "stop"
        if text:
            yield text
    if rest := stream.finish():
        yield rest
