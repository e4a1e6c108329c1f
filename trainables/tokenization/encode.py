"""Encodes a conversation as tokens, with labels on the answers that are learned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

from trainables.data.rows import Conversation, Message
from trainables.templates.control_tokens import end_tokens, held_control_tokens, protect
from trainables.templates.settings import setting
from trainables.tokenization.answer_end import ends_with_any, with_end
from trainables.tokenization.answer_start import answer_behind_prompt
from trainables.tokenization.cut_turns import cut_source, cut_turn, cut_turns, lost_ends
from trainables.tokenization.cutoff import Turn, kept_as_one_answer
from trainables.tokenization.remarks import (
    EMPTY_ANSWER,
    remarks_on_answers,
    text_remarks,
    unknown_remarks,
)
from trainables.tokenization.rendered_conversation import RenderedConversation
from trainables.tokenization.segments import special_tokens, tokenize_segments
from trainables.tokenization.short_prompt import prompt_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # the label of a token without a loss
_DIFFERENTLY = "since the chat template renders or ends earlier answers differently once later ones follow"
SPLIT = f"each answer becomes an example of its own, {_DIFFERENTLY} (data.turns: last keeps the last alone)"
SPLIT_TO_LAST = f"only the last answer is learned, {_DIFFERENTLY} (data.turns: all learns each of them)"
LAST_COMPARED = (
    f"only the last of several answers is compared, {_DIFFERENTLY} (data.thinking: strip may help)"
)


@dataclass(frozen=True)
class Encoded:
    """An example: ``input_ids`` (tokens,) and ``labels`` (tokens,); ``prompt_tokens`` of them precede the last answer.

    ``truncated``: tokens were cut off to fit the cutoff. ``remarks``: what a user should know about the row's tokens,
    each a clause such as "the whole question is cut off".
    """

    input_ids: list[int]
    labels: list[int]
    prompt_tokens: int
    truncated: bool
    remarks: tuple[str, ...] = ()

    @property
    def prompt(self) -> list[int]:
        return self.input_ids[: self.prompt_tokens]

    @property
    def answer(self) -> list[int]:
        return self.input_ids[self.prompt_tokens :]


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: list[Any] | None = None
) -> list[int]:
    """The tokens of the messages up to the beginning of the next answer, which are those before it in training.

    Raises ``TemplateError`` for messages that the chat template can't render.
    """
    return encode_prompt(tokenizer, messages, tools)[0]


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: list[Any] | None = None
) -> tuple[list[int], tuple[str, ...]]:
    """The tokens as in :func:`prompt_ids`, and the remarks on them."""
    conversation = RenderedConversation(tokenizer, messages, tools)
    ids = prompt_tokens(conversation, len(messages))
    text = conversation.before(len(messages))
    return ids, (*conversation.remarks(text), *unknown_remarks(tokenizer, ids, text))


def has_start_token(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether texts begin with a token of their own; where not, an end token tells of a beginning."""
    return tokenizer.bos_token_id not in (None, tokenizer.eos_token_id)


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[int], tuple[str, ...]]:
    """The tokens of running text, and the remarks on them. Control tokens in it are text, as in any content."""
    held = held_control_tokens(tokenizer, text)
    protected = protect(tokenizer, text)
    (ids,) = tokenize_segments(tokenizer, protected, [len(protected)])
    return ids, (*text_remarks(held), *unknown_remarks(tokenizer, ids, text))


def encode(
    row: Conversation, tokenizer: PreTrainedTokenizerBase, cutoff: int, most_prompt: int | None = None
) -> Encoded:
    """The prompt and the last answer, at most ``cutoff`` tokens, with labels on that answer.

    The answer is the text that the chat template adds to the prompt, including its end-of-turn token. A prompt that is
    longer than its share, or than ``most_prompt`` tokens, is shortened (:mod:`trainables.tokenization.short_prompt`).
    """
    conversation = _rendered(row, tokenizer)
    last, start = _last_turn(conversation, len(row.prompt))
    (turn,), ends = with_end([last], tokenizer)
    kept, cuts = cut_turn(conversation, len(row.prompt), turn, cutoff, most_prompt)
    example = _joined([kept], bool(cuts), train_on_prompt=False, learned=[True])
    remarks = remarks_on_answers(conversation, example.input_ids)
    return replace(example, remarks=(*start, *ends, *remarks, *cuts))


def encode_answers(
    row: Conversation, tokenizer: PreTrainedTokenizerBase, cutoff: int, most_prompt: int | None = None
) -> Encoded:
    """The prompt and the answers after it that are not ``untrained``, as one example with labels on these answers.

    At most ``cutoff`` tokens, which the prompt and all that follows its end share like a prompt and a single answer;
    the prompt has at most ``most_prompt`` of them. Where the template renders an answer differently once later turns
    follow, the last answer alone is learned.
    """
    conversation = _rendered(row, tokenizer)
    first = next(answer for answer in conversation.answers if answer not in row.untrained)
    answers = [answer for answer in conversation.answers if answer >= first]
    if len(answers) == 1:
        return encode(row, tokenizer, cutoff, most_prompt)
    turns = _turns(conversation, answers, must_end=False)
    if not turns:
        example = encode(row, tokenizer, cutoff, most_prompt)
        return replace(example, remarks=(LAST_COMPARED, *example.remarks))
    ended, ends = with_end(turns, tokenizer)
    following = sum(map(len, ended)) - len(ended[0].source)
    source, cuts = cut_source(conversation, first, ended[0].source, following, cutoff, most_prompt)
    kept = kept_as_one_answer([Turn(source, ended[0].target), *ended[1:]], cutoff - len(source))
    cuts = (*cuts, *lost_ends(ended, kept))
    marked = [answer not in row.untrained for answer in answers[: len(kept)]]
    is_learned, empty = _learned_texts(kept, marked, tokenizer)
    example = _joined(kept, bool(cuts), False, is_learned)
    remarks = remarks_on_answers(conversation, example.input_ids)
    return replace(example, remarks=(*ends, *remarks, *cuts, *empty))


def training_examples(
    row: Conversation,
    tokenizer: PreTrainedTokenizerBase,
    cutoff: int,
    *,
    train_on_prompt: bool = False,
    mask_history: bool = False,
) -> list[Encoded]:
    """The training examples of a row, usually one.

    Labels are on every answer, on the last one alone (``mask_history``), or on every token (``train_on_prompt``); never
    on the row's ``untrained`` answers. If the template renders an answer differently once later turns follow (without
    its thoughts, say), each answer gets an example of its own, as the model sees it when it answers. The first turns
    are kept, or with ``mask_history`` the last ones; the first of these is shortened to its share of the cutoff, as
    LLaMA-Factory cuts it. Examples without a label, or with labels on end tokens alone, are left out.
    """
    if train_on_prompt and mask_history:
        raise ValueError("train_on_prompt learns every token, mask_history only the last answer; choose one")
    conversation = _rendered(row, tokenizer)
    # A row ends with its answer and its prompt is not empty, so there is at least one.
    answers = conversation.answers
    earlier = [not mask_history and answer not in row.untrained for answer in answers[:-1]]
    is_learned = [*earlier, True]
    # Turns with their answers' numbers, which of them are learned, and remarks: one example each.
    parts: list[tuple[list[Turn], list[int], list[bool], tuple[str, ...]]] = []
    turns = _turns(conversation, answers)
    if turns and mask_history and sum(map(len, turns)) > cutoff:
        turn, start = _last_turn(conversation, answers[-1])
        parts = [([turn], answers[-1:], [True], start)]
    elif turns:
        parts = [(turns, answers, is_learned, ())]
    else:
        learned = [answer for answer, learn in zip(answers, is_learned, strict=True) if learn]
        only_last = setting(tokenizer, "turns") == "last"
        split = (SPLIT_TO_LAST if only_last else SPLIT,) if len(learned) > 1 else ()
        for answer in learned[-1:] if only_last else learned:
            turn, start = _last_turn(conversation, answer)
            parts.append(([turn], [answer], [True], (*split, *start)))
    examples = []
    for turns, numbers, learned_turns, noted in parts:
        ended, ends = with_end(turns, tokenizer)
        kept, cuts = cut_turns(conversation, numbers, ended, cutoff)
        learned_texts, empty = _learned_texts(kept, learned_turns, tokenizer)
        example = _joined(kept, bool(cuts), train_on_prompt, learned_texts)
        remarks = remarks_on_answers(conversation, example.input_ids)
        examples.append(replace(example, remarks=(*noted, *ends, *remarks, *cuts, *empty)))
    return [example for example in examples if learns_something(example, tokenizer)]


def _rendered(row: Conversation, tokenizer: PreTrainedTokenizerBase) -> RenderedConversation:
    tools = json.loads(row.tools) if row.tools else None
    return RenderedConversation(tokenizer, [*row.prompt, row.last()], tools)


def _last_turn(conversation: RenderedConversation, answer: int) -> tuple[Turn, tuple[str, ...]]:
    """All messages up to number ``answer`` as one turn, and the remarks on how the answer follows its prompt."""
    head = conversation.before(answer)
    rest, remarks = answer_behind_prompt(conversation, answer)
    cuts = [*conversation.answer_cuts(head, answer), len(head), len(head) + len(rest)]
    text = head + rest
    *sources, target = tokenize_segments(conversation.tokenizer, text, cuts, conversation.spaced_ends(text))
    return Turn(list(chain(*sources)), target), remarks


def _turns(conversation: RenderedConversation, answers: Sequence[int], must_end: bool = True) -> list[Turn]:
    """A turn for each answer; empty if the template renders an earlier part differently once a later one follows, or,
    if each answer ``must_end``, writes no token at which generation stops behind it.
    """
    text = conversation.through(answers[-1])
    # As a prompt, what precedes the first of these answers is cut at the answers that it has.
    earlier = conversation.answer_cuts(text, answers[0])
    cuts = list(earlier)
    for answer in answers:
        head, body = conversation.before(answer), conversation.through(answer)
        if not text.startswith(body):
            body = _without_last_end(conversation.tokenizer, body)
        # Each rendering must begin the next one; otherwise lengths don't tell where a turn ends in `text`.
        if not (text.startswith(body) and body.startswith(head)):
            return []
        cuts += [len(head), len(body)]
    segments = tokenize_segments(conversation.tokenizer, text, cuts, conversation.spaced_ends(text))
    segments = [list(chain(*segments[: len(earlier) + 1])), *segments[len(earlier) + 1 :]]
    turns = [Turn(source, target) for source, target in zip(segments[::2], segments[1::2], strict=True)]
    return turns if not must_end or _each_ends(turns, conversation.tokenizer) else []


def _each_ends(turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a token at which generation stops is the last of each answer but the last, or the first behind it."""
    ends = end_tokens(tokenizer)
    if not ends or setting(tokenizer, "end") == "keep":
        return True
    return all(
        ends_with_any(turn.target, ends, tokenizer) or not ends.isdisjoint(following.source[:1])
        for turn, following in pairwise(turns)
    )


def _without_last_end(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """A rendering without the token that ends the text as a whole, if it ends its last answer before that.

    Phi 3's template writes ``<|endoftext|>`` behind the last ``<|end|>`` alone.
    """
    ends = [str(tokenizer.convert_ids_to_tokens(number)) for number in end_tokens(tokenizer)]
    shorter = next((text[: -len(end)] for end in ends if text.endswith(end)), text)
    return shorter if shorter.rstrip().endswith(tuple(ends)) else text


def learns_something(example: Encoded, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a label is on more than end tokens and white space."""
    return _has_text([label for label in example.labels if label != IGNORED], tokenizer)


def _has_text(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> bool:
    special = special_tokens(tokenizer)
    return any(str(tokenizer.decode([token])).strip() for token in ids if token not in special)


def _learned_texts(
    turns: Sequence[Turn], learned: Sequence[bool], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[bool], tuple[str, ...]]:
    """Which answers are learned: those marked ``learned`` of which more than an end is written; a remark on others.

    A call that the template has no place for would teach to answer nothing. A single answer is left to
    :func:`learns_something`.
    """
    filled = [_has_text(turn.target, tokenizer) for turn in turns]
    if len(turns) == 1:
        return list(learned[:1]), ()
    empty = any(mark and not has_text for mark, has_text in zip(learned, filled, strict=False))
    kept = [mark and has_text for mark, has_text in zip(learned, filled, strict=False)]
    return kept, (EMPTY_ANSWER,) if empty else ()


def _joined(
    turns: Sequence[Turn], truncated: bool, train_on_prompt: bool, learned: Sequence[bool]
) -> Encoded:
    """The turns as one example; ``learned`` says for each whether its answer has labels."""
    ids: list[int] = []
    labels: list[int] = []
    for turn, is_learned in zip(turns, learned, strict=True):
        # Labels have the length of the ids: position i is learned unless its label is IGNORED.
        ids += turn.source + turn.target
        labels += turn.source if train_on_prompt else [IGNORED] * len(turn.source)
        labels += turn.target if is_learned else [IGNORED] * len(turn.target)
    return Encoded(ids, labels, len(ids) - len(turns[-1].target), truncated)
