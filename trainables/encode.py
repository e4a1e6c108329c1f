"""From a conversation to tokens, with labels on the answer alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables import files
from trainables.rows import Conversation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # the label of a token that the loss leaves out


@dataclass(frozen=True)
class Encoded:
    """``input_ids`` and ``labels`` are as long as each other; the first ``prompt_tokens`` are the prompt's.

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


def template_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """The hash of the chat template that rows are rendered with."""
    return files.sha256(tokenizer.chat_template)


def encode(
    row: Conversation, tokenizer: PreTrainedTokenizerBase, cutoff: int, whole: bool = False
) -> Encoded:
    """Tokens of prompt and answer, at most ``cutoff``; labels on the answer, or on everything if ``whole``.

    The answer is what the chat template adds to the prompt, its end-of-turn token included. Raises
    ``ValueError`` for a template that renders the prompt differently once the answer follows.
    """
    messages = [*row.prompt, {"role": "assistant", "content": row.answer}]
    head = str(tokenizer.apply_chat_template(list(row.prompt), add_generation_prompt=True, tokenize=False))
    text = str(tokenizer.apply_chat_template(messages, tokenize=False))
    if not text.startswith(head):
        raise ValueError("the chat template renders the prompt differently once the answer follows it")
    tokens = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = list(tokens["input_ids"])
    source = sum(start < len(head) for start, _ in tokens["offset_mapping"])
    keep_source, keep_target = split_cutoff(source, len(ids) - source, cutoff)
    kept = ids[:keep_source] + ids[source : source + keep_target]
    labels = kept if whole else [IGNORED] * keep_source + kept[keep_source:]
    return Encoded(kept, list(labels), keep_source, truncated=len(kept) < len(ids))


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
