"""A conversation as the chat template writes it, up to any of its answers, and what the template loses of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from trainables import templates
from trainables.data.rows import Message
from trainables.data.thinking import opened_thought, split_thoughts, thoughts_of
from trainables.templates.control_tokens import (
    MARKED,
    control_tokens,
    protect,
    protect_messages,
    unmarked,
    with_marks,
)
from trainables.templates.settings import setting
from trainables.tokenization.lost_contents import lost_contents, occurs
from trainables.tokenization.message_forms import form_of
from trainables.tokenization.segments import special_tokens, takes_space_before

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What other families end answers with. Where the tokenizer has no such token, it is learned letter by letter.
END_MARKERS = (
    "</s>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<end_of_turn>",
    "<|return|>",
    "<|eom_id|>",
    "<eos>",
)
NO_PLACE = "the chat template has no place for"  # begins the remark on tools, calls and results
AS_TEXT = "written as ordinary text (data.special_tokens: keep makes them control tokens)"


class RenderedConversation:
    """Messages and the texts that a chat template makes of the first of them. ``given`` are the messages as they were.

    Control tokens in contents are marked (``templates.control_tokens``), in the messages and in all texts.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: list[Any] | None
    ) -> None:
        self.tokenizer, self.given, self._given_tools = tokenizer, list(messages), tools
        form = form_of(tokenizer)
        given = form.with_common_thoughts(messages, tokenizer.chat_template or "")
        self.messages: list[Message] = protect_messages(tokenizer, given)
        self.tools: list[Any] | None = protect(tokenizer, tools or None)
        self._written = form.written(self.messages)
        self._texts: dict[tuple[int, bool], str] = {}

    @property
    def answers(self) -> list[int]:
        """The numbers of the answers: the assistant's messages, without a greeting that opens the conversation."""
        roles = [message["role"] for message in self.messages]
        first = next((number for number, role in enumerate(roles) if role not in ("system", "assistant")), 0)
        return [number for number, role in enumerate(roles) if role == "assistant" and number > first]

    def of(self, messages: Sequence[Message]) -> RenderedConversation:
        """Other messages with the same tools and the same template."""
        return RenderedConversation(self.tokenizer, messages, self._given_tools)

    def before(self, answer: int) -> str:
        """The text before message number ``answer``, with the template's generation prompt."""
        return self._text(answer, True)

    def turns_before(self, answer: int) -> str:
        """The text before message number ``answer``, without a generation prompt."""
        return self._text(answer, False)

    def through(self, answer: int) -> str:
        """The text up to the end of message number ``answer``."""
        return self._text(answer + 1, False)

    def answer_cuts(self, text: str, end: int) -> list[int]:
        """Where the answers before message number ``end`` begin and end in ``text``, as far as it has them."""
        cuts: list[int] = []
        for answer in (number for number in self.answers if number < end):
            for part in (self.before(answer), self.through(answer)):
                if text.startswith(part):
                    cuts.append(len(part))
        return cuts

    def spaced_ends(self, text: str) -> list[int]:
        """Where answers end in ``text`` with white space that the special token behind it would take.

        It is part of what the model has to write, one token after the other.
        """
        pattern = takes_space_before(self.tokenizer)
        if pattern is None:
            return []
        contents = [str(each.get("content") or "") for each in self.messages if each["role"] == "assistant"]
        # The template may have written the thoughts elsewhere.
        ends = tuple(
            part for each in contents for part in (each, split_thoughts(each)[1]) if part[-1:].isspace()
        )
        return [match.end() for match in pattern.finditer(text) if text.endswith(ends, 0, match.end())]

    def remarks(self, text: str) -> tuple[str, ...]:
        """What a user should know about ``text``, the whole conversation as rendered: what it loses, and what in the
        contents looks like a token.
        """
        return (*self._lost_remarks(text), *self._token_remarks(), *self._prompt_remarks())

    def _text(self, count: int, add_generation_prompt: bool) -> str:
        key = count, add_generation_prompt
        if key not in self._texts:
            text = templates.render(
                self.tokenizer,
                self._written[:count],
                self.tools,
                add_generation_prompt=add_generation_prompt,
            )
            self._texts[key] = with_marks(text)
        return self._texts[key]

    def _lost_remarks(self, text: str) -> Iterator[str]:
        lost = lost_contents(self.tokenizer, self.messages, self.tools, text)
        others = list(lost.others)
        if any(self._loses_thoughts(answer) for answer in self.answers):
            others.append("the thoughts of an answer")
        if lost.tools:
            yield f"{NO_PLACE} {' and '.join(lost.tools)}"
        if others:
            yield f"the chat template does not write {' and '.join(others)} (data.template: chatml does)"
        elif any(self._is_trimmed(message, text) for message in self.messages):
            yield "the chat template takes white space from the beginning or end of an answer"

    def _loses_thoughts(self, answer: int) -> bool:
        """Whether an answer that was rendered as the last one lacks its thoughts there; later turns may remove them."""
        text = self._texts.get((answer + 1, False))
        thoughts = thoughts_of(str(self.messages[answer].get("content") or ""))
        if text is None or occurs(thoughts, text):
            return False
        opened = opened_thought(self.before(answer))
        # Behind a prompt that opens a thought they are written anyway.
        return opened is None or opened[3] is not None

    def _prompt_remarks(self) -> Iterator[str]:
        """Whether the prompt of the last answer, if it ends the conversation, stops short of where it begins."""
        last = len(self.messages) - 1
        content = str(self.messages[last].get("content") or "").strip()
        if last not in self.answers or "tool_calls" in self.messages[last] or thoughts_of(content):
            return
        rest = self.through(last)[len(self.before(last)) :].lstrip()
        if not rest.startswith(content) and self.before(last) == self.turns_before(last):
            yield "the chat template has no generation prompt, so that the answer's own heading is learned"

    @staticmethod
    def _is_trimmed(message: Message, text: str) -> bool:
        """Whether the text has an answer without the white space around it; calls and thoughts are written apart."""
        content = str(message.get("content") or "")
        has_thoughts = "</think>" in content
        is_plain = message["role"] == "assistant" and "tool_calls" not in message and not has_thoughts
        return is_plain and content not in text

    def _token_remarks(self) -> Iterator[str]:
        # In tools and calls, too. Not `str`, which would write the marks in another way.
        whole = json.dumps([self.messages, self.tools], ensure_ascii=False, default=str)
        held = dict.fromkeys(f"{first}{rest}" for first, rest in MARKED.findall(whole))
        known = set(control_tokens(self.tokenizer)) if held else set()
        if whole_tokens := [token for token in held if token in known]:
            yield f"the contents have {' and '.join(whole_tokens)}, {AS_TEXT}"
        if parts := [part for part in held if part not in known]:
            yield f"two contents spell a control token together, which begins with {parts[0]}, {AS_TEXT}"
        kept = [token for token in special_tokens(self.tokenizer).values() if token in whole]
        if kept and setting(self.tokenizer, "special_tokens") != "keep":
            # Marked ones are not found in `whole`; these are no control tokens.
            yield (
                f"the contents have {' and '.join(kept)}, special tokens that the chat template does not write, and "
                "keep them (data.special_tokens: keep says that this is meant)"
            )
        contents = [unmarked(str(message.get("content") or "")) for message in self.messages]
        answers = [
            content.rstrip() for n, content in enumerate(contents) if self.messages[n]["role"] == "assistant"
        ]
        special = set(special_tokens(self.tokenizer).values())
        for marker in END_MARKERS:
            if marker not in special and any(answer.endswith(marker) for answer in answers):
                yield f"an answer ends with {marker}, which is not an end token here and is learned as ordinary text"
