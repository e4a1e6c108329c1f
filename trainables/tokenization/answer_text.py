"""The texts of generated answers, as references are compared with them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from trainables.tokenization.message_forms import form_of
from trainables.tokenization.segments import tokenize_segments

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def decode_answers(tokenizer: PreTrainedTokenizerBase, answers: Sequence[Sequence[int]]) -> list[str]:
    """The text of each answer's tokens, without special tokens and stripped.

    Of a template that writes thoughts in a channel of its own, as gpt-oss's does, what follows the thoughts: without
    its special tokens nothing would tell one from the other.
    """
    starts = _starts(tokenizer, tokenizer.chat_template) if tokenizer.chat_template else ()
    finals = [_behind_last(list(answer), starts) for answer in answers]
    return [text.strip() for text in tokenizer.batch_decode(finals, skip_special_tokens=True)]


@lru_cache(maxsize=16)
def _starts(tokenizer: PreTrainedTokenizerBase, template: str | None) -> tuple[tuple[int, ...], ...]:
    """The tokens that may stand before the answer proper; ``template`` is in the key since it may change."""
    texts = form_of(tokenizer).answer_headings
    return tuple(tuple(tokenize_segments(tokenizer, text, [len(text)])[0]) for text in texts)


def _behind_last(tokens: list[int], starts: Sequence[tuple[int, ...]]) -> list[int]:
    ends = (
        place + len(start)
        for start in starts
        for place in range(len(tokens) - len(start) + 1)
        if tuple(tokens[place : place + len(start)]) == start
    )
    return tokens[max(ends, default=0) :]
