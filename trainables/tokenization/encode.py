"""From a conversation to tokens, with labels on the answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables import templates
from trainables.data.rows import Conversation, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # the label of a token that the loss leaves out


@dataclass(frozen=True)
class Encoded:
    """``input_ids`` and ``labels`` are as long as each other; the first ``prompt_tokens`` precede the last answer.

    ``truncated``: tokens were cut to fit the cutoff.
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
    """The tokens of one answer (``target``), and of what stands between it and the answer before (``source``)."""

    source: list[int]
    target: list[int]

    def cut(self, cutoff: int) -> Turn:
        source, target = split_cutoff(len(self.source), len(self.target), cutoff)
        return Turn(self.source[:source], self.target[:target])

    def __len__(self) -> int:
        return len(self.source) + len(self.target)


def encode(row: Conversation, tokenizer: PreTrainedTokenizerBase, cutoff: int) -> Encoded:
    """Tokens of prompt and last answer, at most ``cutoff``; labels on that answer.

    The answer is what the chat template adds to the prompt, its end-of-turn token included. Raises
    ``ValueError`` for a template that renders the prompt differently once the answer follows.
    """
    turn = _last_turn(_Renderer(row, tokenizer), len(row.prompt))
    kept = turn.cut(cutoff)
    return _joined([kept], len(kept) < len(turn), train_on_prompt=False, last_only=True)


def training_rows(
    row: Conversation,
    tokenizer: PreTrainedTokenizerBase,
    cutoff: int,
    *,
    train_on_prompt: bool = False,
    mask_history: bool = False,
) -> list[Encoded]:
    """What to train on: labels on every answer, on the last alone (``mask_history``), or on everything.

    One row, as a rule. A template may show an answer differently once later turns follow (thoughts taken out of
    the history); then there is one row for each answer, as the model sees it when it answers. Cut turn by turn,
    as LLaMA-Factory cuts; no row where nothing would be left to learn.
    """
    if train_on_prompt and mask_history:
        raise ValueError("train_on_prompt learns everything, mask_history the last answer alone; choose one")
    render = _Renderer(row, tokenizer)
    # A greeting that opens the conversation answers nothing, so it is only read.
    answers = [n for n, message in enumerate(render.messages) if message["role"] == "assistant" and n > 0]
    turns = _turns(render, answers)
    apart = answers[-1:] if mask_history else answers  # the answers to learn, if each needs a row of its own
    conversations = [turns] if turns else [[_last_turn(render, answer)] for answer in apart]
    rows = (_training_row(turns, cutoff, train_on_prompt, mask_history) for turns in conversations)
    return [found for found in rows if any(label != IGNORED for label in found.labels)]


def split_cutoff(source: int, target: int, cutoff: int) -> tuple[int, int]:
    """How many tokens of the prompt and of the answer fit into ``cutoff`` together (LLaMA-Factory's rule).

    The shorter of the two keeps what it needs up to its half; otherwise each keeps its share.

    >>> split_cutoff(3000, 2000, 1000), split_cutoff(1000, 100, 1000), split_cutoff(10, 10, 1000)
    ((600, 400), (900, 100), (10, 10))
    """
    if target * 2 < cutoff:
        most_target = cutoff
    elif source * 2 < cutoff:
        most_target = cutoff - source
    else:
        # At least one: a row without an answer has no loss.
        most_target = max(1, int(cutoff * target / (source + target)))
    target = min(most_target, target)
    return min(max(cutoff - target, 0), source), target


class _Renderer:
    """A row's messages, and the text of the first so many of them."""

    def __init__(self, row: Conversation, tokenizer: PreTrainedTokenizerBase) -> None:
        self.messages: list[Message] = [*row.prompt, row.last()]
        self._tools = json.loads(row.tools) if row.tools else None
        self.tokenizer = tokenizer

    def question(self, answer: int) -> str:
        """Up to where message ``answer`` is to be written."""
        return self._text(self.messages[:answer], add_generation_prompt=True)

    def answered(self, answer: int) -> str:
        """Up to the end of message ``answer``."""
        return self._text(self.messages[: answer + 1], add_generation_prompt=False)

    def _text(self, messages: list[Message], add_generation_prompt: bool) -> str:
        return templates.render(
            self.tokenizer, messages, self._tools or None, add_generation_prompt=add_generation_prompt
        )


def _last_turn(render: _Renderer, answer: int) -> Turn:
    """All up to message ``answer`` as one turn."""
    head, text = render.question(answer), render.answered(answer)
    if not text.startswith(head):
        raise ValueError("the chat template renders the prompt differently once the answer follows it")
    return _tokenized(text, [(len(head), len(text))], render.tokenizer)[0]


def _turns(render: _Renderer, answers: Sequence[int]) -> list[Turn]:
    """A turn for each answer; none where an earlier part reads differently once a later one follows."""
    text = render.answered(answers[-1])
    ends: list[tuple[int, int]] = []
    for answer in answers:
        head, body = render.question(answer), text if answer == answers[-1] else render.answered(answer)
        if not (text.startswith(body) and body.startswith(head)):
            return []
        ends.append((len(head), len(body)))
    return _tokenized(text, ends, render.tokenizer)


def _tokenized(text: str, ends: Sequence[tuple[int, int]], tokenizer: PreTrainedTokenizerBase) -> list[Turn]:
    """The text's tokens by turn; each turn's source and target end at the given characters.

    The whole text is tokenized at once, so tokens are those that a model sees; a token belongs where it starts.
    """
    tokens: Any = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, starts = list(tokens["input_ids"]), [start for start, _ in tokens["offset_mapping"]]
    turns, at = [], 0
    for end in ends:
        middle, after = (_before(starts, character, at) for character in end)
        turns.append(Turn(ids[at:middle], ids[middle:after]))
        at = after
    return turns


def _before(starts: Sequence[int], character: int, at: int) -> int:
    """The first token from ``at`` on that doesn't start before ``character``."""
    while at < len(starts) and starts[at] < character:
        at += 1
    return at


def _training_row(turns: Sequence[Turn], cutoff: int, train_on_prompt: bool, mask_history: bool) -> Encoded:
    # With mask_history the last answer is all there is to learn, so room goes to the last turns first.
    kept = list(_fitting(reversed(turns) if mask_history else turns, cutoff))
    cut = sum(map(len, kept)) < sum(map(len, turns))
    return _joined(kept[::-1] if mask_history else kept, cut, train_on_prompt, last_only=mask_history)


def _fitting(turns: Iterable[Turn], cutoff: int) -> Iterable[Turn]:
    """Turn after turn, each cut to the room that is left."""
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
        learnt = not last_only or number == len(turns)
        ids += turn.source + turn.target
        labels += turn.source if train_on_prompt else [IGNORED] * len(turn.source)
        labels += turn.target if learnt or train_on_prompt else [IGNORED] * len(turn.target)
    return Encoded(ids, labels, len(ids) - len(turns[-1].target), truncated)
