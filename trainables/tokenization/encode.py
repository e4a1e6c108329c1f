"""Encodes a conversation as tokens, with labels on the answers that are learned."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables import templates
from trainables.data.rows import Conversation, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # the label of a token without a loss


@dataclass(frozen=True)
class Encoded:
    """An example: ``input_ids`` (tokens,) and ``labels`` (tokens,); ``prompt_tokens`` of them precede the last answer.

    ``truncated``: tokens were cut off to fit the cutoff.
    """

    input_ids: list[int]
    labels: list[int]
    prompt_tokens: int
    truncated: bool

    @property
    def prompt(self) -> list[int]:
        return self.input_ids[: self.prompt_tokens]

    @property
    def answer(self) -> list[int]:
        return self.input_ids[self.prompt_tokens :]


@dataclass(frozen=True)
class Turn:
    """The tokens of one answer (``target``), and those between the previous answer and it (``source``)."""

    source: list[int]
    target: list[int]

    def cut(self, cutoff: int) -> Turn:
        """The turn shortened to ``cutoff`` tokens."""
        source, target = split_cutoff(len(self.source), len(self.target), cutoff)
        return Turn(self.source[:source], self.target[:target])

    def __len__(self) -> int:
        return len(self.source) + len(self.target)


def encode(row: Conversation, tokenizer: PreTrainedTokenizerBase, cutoff: int) -> Encoded:
    """The prompt and the last answer, at most ``cutoff`` tokens, with labels on that answer.

    The answer is the text that the chat template adds to the prompt, including its end-of-turn token. Raises
    ``ValueError`` for a template that renders the prompt differently once the answer follows.
    """
    turn = _last_turn(_Renderer(row, tokenizer), len(row.prompt))
    kept = turn.cut(cutoff)
    return _joined([kept], len(kept) < len(turn), train_on_prompt=False, last_only=True)


def training_examples(
    row: Conversation,
    tokenizer: PreTrainedTokenizerBase,
    cutoff: int,
    *,
    train_on_prompt: bool = False,
    mask_history: bool = False,
) -> list[Encoded]:
    """The training examples of a row, usually one.

    Labels are on every answer, on the last one alone (``mask_history``), or on every token (``train_on_prompt``). If
    the template renders an answer differently once later turns follow (without its thoughts, say), each answer gets
    an example of its own, as the model sees it when it answers. Examples are cut turn by turn, as LLaMA-Factory does;
    those without a label are left out.
    """
    if train_on_prompt and mask_history:
        raise ValueError("train_on_prompt learns every token, mask_history only the last answer; choose one")
    render = _Renderer(row, tokenizer)
    # A greeting that opens the conversation answers no request, so it is not learned.
    answers = [n for n, message in enumerate(render.messages) if message["role"] == "assistant" and n > 0]
    # A row ends with its answer and its prompt is not empty, so there is at least one.
    turns = _turns(render, answers)
    learned = answers[-1:] if mask_history else answers
    conversations = [turns] if turns else [[_last_turn(render, answer)] for answer in learned]
    examples = (_training_example(turns, cutoff, train_on_prompt, mask_history) for turns in conversations)
    return [example for example in examples if any(label != IGNORED for label in example.labels)]


def split_cutoff(source: int, target: int, cutoff: int) -> tuple[int, int]:
    """How many tokens of the prompt and of the answer to keep, ``cutoff`` together (LLaMA-Factory's rule).

    If one of the two is shorter than half the cutoff, it is kept whole; otherwise both are cut in proportion.

    >>> split_cutoff(3000, 2000, 1000), split_cutoff(1000, 100, 1000), split_cutoff(10, 10, 1000)
    ((600, 400), (900, 100), (10, 10))
    """
    if target * 2 < cutoff:
        max_target = cutoff
    elif source * 2 < cutoff:
        max_target = cutoff - source
    else:
        # At least one: a row without an answer has no loss.
        max_target = max(1, int(cutoff * target / (source + target)))
    target = min(max_target, target)
    return min(max(cutoff - target, 0), source), target


class _Renderer:
    """Renders the first messages of a row as text."""

    def __init__(self, row: Conversation, tokenizer: PreTrainedTokenizerBase) -> None:
        self.messages: list[Message] = [*row.prompt, row.last()]
        self._tools = json.loads(row.tools) if row.tools else None
        self.tokenizer = tokenizer

    def before(self, answer: int) -> str:
        """The text before message number ``answer``, with the template's generation prompt."""
        return self._text(self.messages[:answer], add_generation_prompt=True)

    def through(self, answer: int) -> str:
        """The text up to the end of message number ``answer``."""
        return self._text(self.messages[: answer + 1], add_generation_prompt=False)

    def _text(self, messages: list[Message], add_generation_prompt: bool) -> str:
        return templates.render(
            self.tokenizer, messages, self._tools or None, add_generation_prompt=add_generation_prompt
        )


def _last_turn(render: _Renderer, answer: int) -> Turn:
    """All messages up to number ``answer`` as one turn."""
    head, text = render.before(answer), render.through(answer)
    if not text.startswith(head):
        raise ValueError("the chat template renders the prompt differently once the answer follows it")
    return _tokenized(text, [(len(head), len(text))], render.tokenizer)[0]


def _turns(render: _Renderer, answers: Sequence[int]) -> list[Turn]:
    """A turn for each answer; empty if the template renders an earlier part differently once a later one follows."""
    text = render.through(answers[-1])
    ends: list[tuple[int, int]] = []
    for answer in answers:
        head, body = render.before(answer), text if answer == answers[-1] else render.through(answer)
        # Each rendering must begin the next one; otherwise lengths don't tell where a turn ends in `text`.
        if not (text.startswith(body) and body.startswith(head)):
            return []
        ends.append((len(head), len(body)))
    return _tokenized(text, ends, render.tokenizer)


def _tokenized(text: str, ends: Sequence[tuple[int, int]], tokenizer: PreTrainedTokenizerBase) -> list[Turn]:
    """The text's tokens by turn; ``ends`` are the characters at which each turn's source and target end.

    The whole text is tokenized at once, as a model sees it; a token belongs to the part in which it starts.
    """
    # Templates write special tokens themselves; the tokenizer would add a second BOS.
    tokens: Any = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, starts = list(tokens["input_ids"]), [start for start, _ in tokens["offset_mapping"]]
    turns, first = [], 0
    for source_end, target_end in ends:
        middle = _first_token_from(starts, source_end, first)
        last = _first_token_from(starts, target_end, first)
        turns.append(Turn(ids[first:middle], ids[middle:last]))
        first = last
    return turns


def _first_token_from(starts: Sequence[int], character: int, token: int) -> int:
    """The first token, from number ``token`` on, that does not start before ``character``."""
    while token < len(starts) and starts[token] < character:
        token += 1
    return token


def _training_example(
    turns: Sequence[Turn], cutoff: int, train_on_prompt: bool, mask_history: bool
) -> Encoded:
    # With mask_history only the last answer is learned, so the last turns are kept first.
    kept = list(_fitting(reversed(turns) if mask_history else turns, cutoff))
    cut = sum(map(len, kept)) < sum(map(len, turns))
    return _joined(kept[::-1] if mask_history else kept, cut, train_on_prompt, last_only=mask_history)


def _fitting(turns: Iterable[Turn], cutoff: int) -> Iterable[Turn]:
    """The turns in order, each cut to what remains of the cutoff."""
    for turn in turns:
        if cutoff <= 0:
            return
        kept = turn.cut(cutoff)
        cutoff -= len(kept)
        yield kept


def _joined(turns: Sequence[Turn], truncated: bool, train_on_prompt: bool, last_only: bool) -> Encoded:
    ids: list[int] = []
    labels: list[int] = []
    for number, turn in enumerate(turns, start=1):
        is_learned = not last_only or number == len(turns)
        # Labels have the length of the ids: position i is learned unless its label is IGNORED.
        ids += turn.source + turn.target
        labels += turn.source if train_on_prompt else [IGNORED] * len(turn.source)
        labels += turn.target if is_learned or train_on_prompt else [IGNORED] * len(turn.target)
    return Encoded(ids, labels, len(ids) - len(turns[-1].target), truncated)
