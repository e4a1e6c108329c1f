"""Several results answer prompts that come at any time: their answers are generated together, step by step.

>>> generator = Speaker()
>>> answer = generator.submit(loaded, generator.prompt(loaded, [{"role": "user", "content": "2 + 2?"}]), Sampling())
>>> while generator.busy:  # doctest: +SKIP
...     generator.step()
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from trainables import templates
from trainables.data.rows import Message
from trainables.inference.continuous_batch import Answer, Batch, can_join
from trainables.inference.model_pool import LoadedModel
from trainables.inference.sampling import Sampling
from trainables.inference.text_stream import TextStream
from trainables.scoring.generation import contiguous_head, end_tokens

MAX_CONCURRENT = 32  # answers that are generated at a time


class PromptTooLong(ValueError):  # noqa: N818
    """A prompt that leaves no room for an answer."""


@dataclass
class _Group:
    """What one result is asked: ``batches`` under way, and answers that have not begun."""

    loaded: LoadedModel
    batches: list[Batch] = field(default_factory=list)
    waiting: deque[Answer] = field(default_factory=deque)

    @property
    def count(self) -> int:
        return sum(len(batch.answers) for batch in self.batches)


class Generator:
    """Not for several threads at once."""

    def __init__(self, most: int = MAX_CONCURRENT) -> None:
        self.most = most
        self._groups: dict[int, _Group] = {}

    @property
    def busy(self) -> bool:
        return any(group.waiting or group.batches for group in self._groups.values())

    @property
    def count(self) -> int:
        """Answers that are under way or wait."""
        return sum(group.count + len(group.waiting) for group in self._groups.values())

    def submit(self, loaded: LoadedModel, prompt: list[int], sampling: Sampling) -> Answer:
        """An answer that begins with one of the next steps. Raises :class:`TooLong`."""
        room = context_length(loaded) - len(prompt)
        if room < 1:
            raise PromptTooLong(
                f"the prompt has {len(prompt)} tokens; {loaded.result.name} takes {context_length(loaded)}"
            )
        least = min(sampling.max_new_tokens, room)
        answer = Answer.begun(prompt, Sampling(**{**vars(sampling), "max_new_tokens": least}))
        self._groups.setdefault(id(loaded), _Group(loaded)).waiting.append(answer)
        return answer

    @torch.no_grad()
    def step(self) -> list[Answer]:
        """Every answer under way goes on by a token, and those that wait begin if there is room; those that went on."""
        moved: list[Answer] = []
        for group in self._groups.values():
            room = self.most - sum(each.count for each in self._groups.values())
            if group.batches or (group.waiting and room > 0):
                with group.loaded.active() as policy, contiguous_head(policy):
                    moved += self._moved(group, policy, room)
        return moved

    def _moved(self, group: _Group, policy: Any, room: int) -> list[Answer]:
        ends = end_tokens(policy)
        for batch in group.batches:
            batch.step(policy, ends)
        moved = [answer for batch in group.batches for answer in batch.answers]
        new = [group.waiting.popleft() for _ in range(min(room, len(group.waiting)))]
        new = [answer for answer in new if answer.finish_reason is None]  # given up while it waited
        group.batches += _begun(policy, new, ends)
        group.batches = _joined(
            [left for batch in group.batches if (left := batch.without_ended()) is not None]
        )
        return moved + new


def _begun(policy: Any, answers: list[Answer], ends: Sequence[int]) -> list[Batch]:
    """The answers with their first tokens; alone where rows can't be put beside one another."""
    if not answers:
        return []
    first = Batch.of(policy, answers[:1], ends)
    rest = answers[1:]
    if rest and can_join(first.cache):
        return [first, Batch.of(policy, rest, ends)]
    return [first, *(Batch.of(policy, [answer], ends) for answer in rest)]


def _joined(batches: list[Batch]) -> list[Batch]:
    together = [batch for batch in batches if can_join(batch.cache)]
    for batch in together[1:]:
        together[0].join(batch)
    return together[:1] + [batch for batch in batches if not can_join(batch.cache)]


def prompt_tokens(loaded: LoadedModel, messages: Sequence[Message], tools: list[Any] | None = None) -> list[int]:
    """The tokens of a conversation up to where the answer begins. Raises ``TemplateError``."""
    if loaded.tokenizer.chat_template is None:
        raise templates.TemplateError(templates.NONE)
    return templates.prompt_ids(loaded.tokenizer, messages, tools)


def context_length(loaded: LoadedModel) -> int:
    """How many tokens a result takes, prompt and answer together."""
    config = loaded.shared.policy.causal.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or 2**20)


def remaining_tokens(loaded: LoadedModel, prompt: list[int]) -> int:
    """How many tokens an answer may have. Raises :class:`TooLong`."""
    most = context_length(loaded)
    if len(prompt) >= most:
        raise PromptTooLong(f"the prompt has {len(prompt)} tokens; {loaded.result.name} takes {most}")
    return most - len(prompt)


def stream_answer(
    loaded: LoadedModel, prompt: list[int], sampling: Sampling, generator: Generator | None = None
) -> Iterator[str]:
    """One answer's text, piece by piece as it is generated."""
    generator = generator or Generator()
    answer = generator.submit(loaded, prompt, sampling)
    spoken, told = TextStream(loaded.tokenizer, sampling.stop), 0
    while answer.finish_reason is None:
        generator.step()
        piece, told = spoken.add(answer.tokens[told:]), len(answer.tokens)
        if spoken.stopped:
            answer.finish_reason = "stop"
        if piece:
            yield piece
    if rest := spoken.end():
        yield rest
