"""A conversation as the chat template writes it, up to any of its answers, and what the template loses of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from trainables import templates
from trainables.data.rows import Message
from trainables.data.thinking import thoughts_of, without_thinking
from trainables.templates.control_tokens import held_control_tokens, protect, unmarked
from trainables.tokenization.segments import special_tokens

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


class RenderedConversation:
    """Messages and the texts that a chat template makes of the first of them.

    Control tokens in contents are marked (``templates.control_tokens``), in the messages and in all texts.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: list[Any] | None
    ) -> None:
        self.tokenizer = tokenizer
        self.messages: list[Message] = protect(tokenizer, list(messages))
        self.tools: list[Any] | None = protect(tokenizer, tools or None)
        self._texts: dict[tuple[int, bool], str] = {}

    @property
    def answers(self) -> list[int]:
        """The numbers of the answers: the assistant's messages, without a greeting that opens the conversation."""
        roles = [message["role"] for message in self.messages]
        first = next((number for number, role in enumerate(roles) if role not in ("system", "assistant")), 0)
        return [number for number, role in enumerate(roles) if role == "assistant" and number > first]

    def before(self, answer: int) -> str:
        """The text before message number ``answer``, with the template's generation prompt."""
        return self._text(answer, True)

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

    def remarks(self, text: str) -> tuple[str, ...]:
        """What a user should know about ``text``, the whole conversation as rendered: what it loses, and what in the
        contents looks like a token.
        """
        return (*self._lost_remarks(text), *self._token_remarks())

    def _text(self, count: int, add_generation_prompt: bool) -> str:
        key = count, add_generation_prompt
        if key not in self._texts:
            self._texts[key] = templates.render(
                self.tokenizer,
                self.messages[:count],
                self.tools,
                add_generation_prompt=add_generation_prompt,
            )
        return self._texts[key]

    def _lost_remarks(self, text: str) -> Iterator[str]:
        lost = list(dict.fromkeys(self._lost(text)))
        if lost:
            yield f"the chat template does not write {' and '.join(lost)} (data.template: chatml does)"

    def _lost(self, text: str) -> Iterator[str]:
        if any(_name(tool) not in text for tool in self.tools or ()):
            yield "the tool definitions"
        for number, message in enumerate(self.messages):
            role, content = message["role"], str(message.get("content") or "")
            # Templates may take the thoughts of earlier answers out, and that is right.
            if not _occurs(without_thinking(content) if role == "assistant" else content, text):
                yield NAMES.get(role, f"the text of role {role}")
            if number == len(self.messages) - 1 and not _occurs(thoughts_of(content), text):
                yield "the thoughts of the last answer"
            for call in message.get("tool_calls", ()):
                leaves = [_name(call), *_texts(call["function"].get("arguments"))]
                if not all(_occurs(leaf, text) for leaf in leaves):
                    yield "the tool calls"

    def _token_remarks(self) -> Iterator[str]:
        contents = [unmarked(str(message.get("content") or "")) for message in self.messages]
        held = dict.fromkeys(
            token for content in contents for token in held_control_tokens(self.tokenizer, content)
        )
        if held:
            yield (
                f"the contents have {' and '.join(held)}, written as ordinary text (data.special_tokens: keep "
                "makes them control tokens)"
            )
        answers = [
            content.rstrip() for n, content in enumerate(contents) if self.messages[n]["role"] == "assistant"
        ]
        special = set(special_tokens(self.tokenizer).values())
        for marker in END_MARKERS:
            if marker not in special and any(answer.endswith(marker) for answer in answers):
                yield f"an answer ends with {marker}, which is not an end token here and is learned as ordinary text"


NAMES = {
    "system": "the system message",
    "user": "a message of the user",
    "assistant": "the text of an answer",
    "tool": "the tool results",
}


def _name(call_or_tool: Any) -> str:
    function = call_or_tool.get("function", call_or_tool)
    return str(function.get("name", "")) if isinstance(function, dict) else ""


def _texts(value: Any) -> Iterator[str]:
    """All texts in the arguments of a call."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _occurs(content: str, text: str) -> bool:
    """Whether a text has the content, apart from white space around it, or written inside JSON."""
    content = content.strip()
    # In JSON quotes and line feeds are escaped, and some templates write other letters as numbers, too.
    return content in text or any(
        json.dumps(content, ensure_ascii=ascii_only)[1:-1] in text for ascii_only in (False, True)
    )
