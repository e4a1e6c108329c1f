"""Texts as an encoder reads them: between the tokens that begin and end its inputs, without a chat template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from trainables.templates import TemplateError
from trainables.tokenization.encode import IGNORED, Encoded, encode_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from trainables.data.rows import Message

READS_TEXTS = "reads_texts"  # the attribute of a tokenizer that is an encoder's
TEXTS_ALONE = (
    "an encoder reads the texts of messages alone, without their"  # begins the remark on tools and calls
)


def mark_as_encoder_of_texts(tokenizer: PreTrainedTokenizerBase) -> None:
    """Notes in an encoder's tokenizer that the model reads texts as they are, and takes away its chat template."""
    tokenizer.chat_template = None
    setattr(tokenizer, READS_TEXTS, True)


def reads_texts(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer is that of an encoder, which reads texts without a chat template.

    One of a decoder may lack a template, too, and can't be used without.
    """
    return bool(getattr(tokenizer, READS_TEXTS, False))


def encode_pieces(tokenizer: PreTrainedTokenizerBase, text: str, cutoff: int) -> list[Encoded]:
    """A text in pieces of at most ``cutoff`` tokens, each with the first and the last token of the model's inputs.

    All tokens of the text have a label; those around it have none. An empty list where the text has no tokens.
    """
    first, last = _ends(tokenizer)
    ids, remarks = encode_text(tokenizer, text)
    size = max(1, cutoff - 2)
    parts = [ids[place : place + size] for place in range(0, len(ids), size)]
    return [Encoded([first, *part, last], [IGNORED, *part, IGNORED], 1, False, remarks) for part in parts]


def encode_messages(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: str | None, cutoff: int
) -> list[Encoded]:
    """The texts of messages as one input (:func:`encode_whole`), with a remark where they have tools or calls."""
    examples = encode_whole(tokenizer, [str(message.get("content") or "") for message in messages], cutoff)
    lost = {
        "tools": bool(tools),
        "calls of tools": any(message.get("tool_calls") for message in messages),
    }
    if not any(lost.values()):
        return examples
    remark = f"{TEXTS_ALONE} {' and '.join(name for name, there in lost.items() if there)}"
    return [replace(each, remarks=(*each.remarks, remark)) for each in examples]


def encode_whole(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], cutoff: int) -> list[Encoded]:
    """Texts as one input, with the token that ends an input after each, and a label on the first token.

    A text without tokens is skipped. What is beyond ``cutoff`` tokens is cut off at the end. An empty list where no
    text has tokens.
    """
    first, last = _ends(tokenizer)
    encoded = [found for text in texts if (found := encode_text(tokenizer, text))[0]]
    if not encoded:
        return []
    whole = [first, *(token for ids, _ in encoded for token in (*ids, last))]
    kept = whole if len(whole) <= cutoff else [*whole[: cutoff - 1], last]
    remarks = tuple(dict.fromkeys(remark for _, remarks in encoded for remark in remarks))
    labels = [first] + [IGNORED] * (len(kept) - 1)
    return [Encoded(kept, labels, len(kept), len(whole) > cutoff, remarks)]


def _ends(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    first = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    last = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    if first is None or last is None:
        raise TemplateError(
            "the tokenizer doesn't name the tokens that an encoder's inputs begin and end with (cls_token, sep_token)"
        )
    return int(first), int(last)
