"""What a user should know about the tokens of a row: what the template loses, what the cutoff takes, and the like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainables.data.rows import Message
from trainables.templates.control_tokens import unmarked
from trainables.tokenization.rendered_conversation import AS_TEXT, RenderedConversation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WHOLE_QUESTION = "the whole question is cut off, as data.cutoff is too small"
PROMPT_PART = "the prompt loses a part of it, as data.cutoff is too small"
OLD_TURNS = "the oldest turns of the prompt are left out, as data.cutoff is too small"
LAST_TURNS = "the last turns are left out, as data.cutoff is too small"
EMPTY_ANSWER = "the chat template writes nothing of an answer, which is not learned"
ANSWER_END = "the answer loses its end, as data.cutoff is too small"
QUESTION_CHARACTERS = 24  # of the beginning of a question, looked for in what the cutoff leaves


def remarks_on_answers(conversation: RenderedConversation, ids: Sequence[int]) -> tuple[str, ...]:
    """The remarks on an example of a conversation, whatever stage learns or scores it.

    ``ids`` (tokens,) are the tokens of the example.
    """
    text = conversation.through(len(conversation.messages) - 1)
    return (*conversation.remarks(text), *unknown_remarks(conversation.tokenizer, ids, text))


def unknown_remarks(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], text: str) -> tuple[str, ...]:
    """A remark if characters of the text became the tokenizer's token for what it does not know."""
    unknown, word = tokenizer.unk_token_id, str(tokenizer.unk_token)
    if unknown is None or unknown not in ids or word in text:
        return ()
    return (f"the tokenizer has no tokens for some characters, which become {word}",)


def text_remarks(held: Sequence[str]) -> tuple[str, ...]:
    """A remark on the control tokens that running text holds."""
    if not held:
        return ()
    return (f"the text has {' and '.join(held)}, {AS_TEXT}",)


def cut_prompt_remark(question: Message, left: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """What the cutoff took from a prompt that ends with ``question``, of which the tokens ``left`` remain."""
    # Its first words are enough to know that it is not lost as a whole.
    words = unmarked(str(question.get("content") or "")).strip()[:QUESTION_CHARACTERS]
    return WHOLE_QUESTION if words not in str(tokenizer.decode(list(left))) else PROMPT_PART
