"""A prompt that is too long for its share of the cutoff, shortened as messages, so that it still ends as every prompt.

Whole turns are left out first, the oldest ones, but never the system text; then the longest texts lose their ends. The
chat template writes the shorter messages anew, so that what marks the beginning of an answer is always there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from trainables.data.rows import Message
from trainables.tokenization.remarks import OLD_TURNS, PROMPT_PART, cut_prompt_remark
from trainables.tokenization.rendered_conversation import RenderedConversation
from trainables.tokenization.segments import tokenize_segments

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHARACTERS_A_TOKEN = 32  # more than any text has on average
MAX_TRIES = 8  # tokens at a cut may join otherwise than before, so that a text is cut again


@dataclass(frozen=True)
class ShortPrompt:
    """What is left of a prompt: ``ids`` (tokens,), and remarks on what is not."""

    ids: list[int]
    remarks: tuple[str, ...]


def shorten_prompt(
    conversation: RenderedConversation, answer: int, whole: list[int], limit: int
) -> ShortPrompt:
    """The prompt of message number ``answer``, which is ``whole`` (tokens,), in at most ``limit`` tokens.

    Where neither turns nor texts can be left out so far (long tool definitions), its end is kept.
    """
    given = conversation.given[:answer]
    prompts = _Prompts(conversation)
    turns = _last_turns(given, limit, prompts)
    messages = _with_shorter_texts(turns, limit, prompts)
    ids = prompts.ids(messages)
    if len(ids) <= limit:
        dropped = (OLD_TURNS,) if len(turns) < len(given) else ()
        return ShortPrompt(ids, dropped + ((PROMPT_PART,) if messages != turns else ()))
    ids = whole[max(0, len(whole) - limit) :]
    return ShortPrompt(ids, (cut_prompt_remark(given[answer - 1], ids, conversation.tokenizer),))


class _Prompts:
    """Prompts of one conversation's template, tokenizer and tools."""

    def __init__(self, conversation: RenderedConversation) -> None:
        self.conversation = conversation
        self.tokenizer: PreTrainedTokenizerBase = conversation.tokenizer

    def ids(self, messages: Sequence[Message]) -> list[int]:
        return prompt_tokens(self.conversation.of(messages), len(messages))


def prompt_tokens(conversation: RenderedConversation, answer: int) -> list[int]:
    """The tokens before message number ``answer``."""
    text = conversation.before(answer)
    cuts = [*conversation.answer_cuts(text, answer), len(text)]
    return list(chain(*tokenize_segments(conversation.tokenizer, text, cuts, conversation.spaced_ends(text))))


def _last_turns(given: Sequence[Message], limit: int, prompts: _Prompts) -> list[Message]:
    """The system text and as many of the last turns as fit, at least the last one."""
    roles = [message["role"] for message in given]
    system = next((number for number, role in enumerate(roles) if role != "system"), len(given))
    starts = [number for number, role in enumerate(roles) if role == "user" and number > system]
    shorter = [[*given[:system], *given[start:]] for start in starts]
    # The later a prompt starts, the shorter it is.
    place = bisect_left(shorter, True, key=lambda messages: len(prompts.ids(messages)) <= limit)
    return shorter[min(place, len(shorter) - 1)] if shorter else list(given)


def _with_shorter_texts(messages: list[Message], limit: int, prompts: _Prompts) -> list[Message]:
    """The messages, of which the longest texts lose their ends as far as necessary; answers stay whole."""
    tokenizer, shorter = prompts.tokenizer, list(messages)
    sizes = {number: len(str(message.get("content") or "")) for number, message in enumerate(messages)}
    texts = [number for number, message in enumerate(messages) if message["role"] != "assistant"]
    for number in sorted(texts, key=lambda each: -sizes[each]):
        text = str(messages[number].get("content") or "")
        # So far a text of a million characters is not tokenized again and again.
        text = text[: limit * CHARACTERS_A_TOKEN]
        ends = _token_ends(tokenizer, text)
        shorter[number] = {**messages[number], "content": text}
        kept = len(ends)
        for _ in range(MAX_TRIES):
            excess = len(prompts.ids(shorter)) - limit
            if excess <= 0:
                return shorter
            if kept <= 1:
                break
            kept = max(1, kept - excess)
            shorter[number] = {**messages[number], "content": text[: ends[kept - 1]]}
    return shorter


def _token_ends(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Where each token of a text ends, in characters: (tokens,)."""
    options: dict[str, Any] = {"add_special_tokens": False, "verbose": False}
    if tokenizer.is_fast:
        encoded = tokenizer(text, return_offsets_mapping=True, **options)
        return [end for _, end in encoded["offset_mapping"]]
    ids = tokenizer(text, **options)["input_ids"]
    # Without offsets: tokens of the same length each, which the tries correct.
    return [len(text) * (number + 1) // len(ids) for number in range(len(ids))]
