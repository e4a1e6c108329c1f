"""How a chat template wants messages: thoughts in a field or in the text, arguments as an object or as text, ids.

Templates differ in what they read, and say nothing about it. So each is given a conversation of made-up words once in
each form, and gets the form in which it writes all of them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from trainables import templates
from trainables.data.rows import Message
from trainables.data.thinking import EMPTY, split_thoughts, with_common_tags

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# transformers gives templates this field under the names that others have for it, too.
THOUGHTS_FIELD = "reasoning_content"
_THOUGHT, _ANSWER, _KEY, _VALUE = "qxthought", "qxanswer", "qxkey", "qxvalue"
_NINE_CHARACTERS = re.compile(r"[A-Za-z0-9]{9}")  # Mistral's templates refuse other ids of calls
_ASK: Message = {"role": "user", "content": "qxquestion"}


@dataclass(frozen=True)
class MessageForm:
    """What a template reads.

    ``thoughts_in_field``: thoughts have a field of their own. ``own_thought_tags``: the template writes them without
    ``<think>``; ``writes_empty_thoughts``: it writes an empty block itself. ``arguments_as_text``: arguments of calls
    are JSON in a text. ``short_ids``: ids of calls have nine letters or digits. ``answer_headings``: what it writes
    between the prompt, or thoughts in tags of its own, and the answer proper.
    """

    thoughts_in_field: bool = False
    own_thought_tags: bool = False
    writes_empty_thoughts: bool = False
    arguments_as_text: bool = False
    short_ids: bool = False
    answer_headings: tuple[str, ...] = ()

    def written(self, messages: Sequence[Message]) -> list[Message]:
        """The messages as the template is given them."""
        ids = _short_ids(messages) if self.short_ids else {}
        return [self._written(number, message, ids) for number, message in enumerate(messages)]

    def with_common_thoughts(self, messages: Sequence[Message], template: str) -> list[Message]:
        """The messages with ``<think>`` around thoughts that are in the template's own tags, if it reads a field."""
        if not self.thoughts_in_field:
            return list(messages)
        return [
            {**message, "content": with_common_tags(message["content"], template)}
            if message["role"] == "assistant" and isinstance(message.get("content"), str)
            else message
            for message in messages
        ]

    def _written(self, number: int, message: Message, ids: dict[tuple[int, int], str]) -> Message:
        if message["role"] == "assistant":
            content = message.get("content")
            if self.thoughts_in_field and isinstance(content, str) and "</think>" in content:
                message = self._with_thoughts_in_field(message, content)
            if message.get("tool_calls"):
                calls = [
                    self._written_call(call, ids.get((number, place)))
                    for place, call in enumerate(message["tool_calls"])
                ]
                message = {**message, "tool_calls": calls}
        elif message["role"] == "tool" and (number, 0) in ids:
            message = {**message, "tool_call_id": ids[number, 0]}
        return message

    def _with_thoughts_in_field(self, message: Message, content: str) -> Message:
        if content.startswith(EMPTY):
            takes_out = self.own_thought_tags or self.writes_empty_thoughts
            return {**message, "content": content.removeprefix(EMPTY)} if takes_out else message
        thoughts, answer = split_thoughts(content)
        return {**message, "content": answer, THOUGHTS_FIELD: thoughts} if thoughts else message

    def _written_call(self, call: dict[str, Any], identity: str | None) -> dict[str, Any]:
        function = call.get("function")
        if isinstance(function, dict):
            arguments = self._written_arguments(function.get("arguments"))
            call = {**call, "function": {**function, "arguments": arguments}}
        return {**call, "id": identity} if identity else call

    def _written_arguments(self, arguments: Any) -> Any:
        if self.arguments_as_text:
            return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        try:
            # OpenAI's requests have them as text.
            value = json.loads(arguments) if isinstance(arguments, str) else None
        except ValueError:
            return arguments
        return value if isinstance(value, dict) else arguments


def form_of(tokenizer: PreTrainedTokenizerBase) -> MessageForm:
    """The form of the tokenizer's chat template."""
    return _form(tokenizer, tokenizer.chat_template)


@lru_cache(maxsize=8)
def _form(tokenizer: PreTrainedTokenizerBase, template: str | None) -> MessageForm:
    """``template`` is in the key since it may change while the tokenizer stays the same."""

    def text(*messages: Message) -> str:
        try:
            return templates.render(tokenizer, [_ASK, *messages], add_generation_prompt=not messages)
        except templates.TemplateError:
            return ""

    in_field = text({"role": "assistant", "content": _ANSWER, THOUGHTS_FIELD: _THOUGHT})
    has_field = _THOUGHT in in_field and _ANSWER in in_field
    plain = text({"role": "assistant", "content": _ANSWER})
    short_ids = not text(*_call({_KEY: _VALUE}, "call_0")) and bool(text(*_call({_KEY: _VALUE}, "abcdefghi")))
    identity = "abcdefghi" if short_ids else "call_0"
    has_own_tags = has_field and "</think>" not in in_field
    return MessageForm(
        thoughts_in_field=has_field,
        own_thought_tags=has_own_tags,
        writes_empty_thoughts=has_field and "</think>" in plain,
        arguments_as_text=_wants_text(
            text(*_call({_KEY: _VALUE}, identity)), text(*_call(json.dumps({_KEY: _VALUE}), identity))
        ),
        short_ids=short_ids,
        answer_headings=_answer_headings(text(), plain, in_field) if has_own_tags else (),
    )


def _answer_headings(prompt: str, plain: str, with_thoughts: str) -> tuple[str, ...]:
    heading = plain[len(prompt) : plain.find(_ANSWER)] if plain.startswith(prompt) else ""
    behind_thoughts = with_thoughts.partition(_THOUGHT)[2].partition(_ANSWER)[0]
    return tuple(dict.fromkeys(filter(None, (heading.strip(), behind_thoughts.strip()))))


def _wants_text(with_object: str, with_text: str) -> bool:
    """Whether arguments are to be given as text: an object is refused, left out, or written as Python does."""
    is_python = f"'{_KEY}': '{_VALUE}'" in with_object
    return (is_python or _VALUE not in with_object) and f'"{_KEY}": "{_VALUE}"' in with_text


def _call(arguments: Any, identity: str) -> list[Message]:
    call = {"type": "function", "id": identity, "function": {"name": "qxname", "arguments": arguments}}
    return [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "name": "qxname", "content": "qxresult", "tool_call_id": identity},
    ]


def _short_ids(messages: Sequence[Message]) -> dict[tuple[int, int], str]:
    """An id of nine characters for each call, by the numbers of its message and in it, and for each result, as its call
    has it: by the id that the row has, or in the order of the calls.
    """
    ids: dict[tuple[int, int], str] = {}
    waiting: list[tuple[str, str]] = []  # calls without a result: the row's id and the one that is written
    for number, message in enumerate(messages):
        for place, call in enumerate(message.get("tool_calls", ())):
            given = str(call.get("id") or "")
            written = given if _NINE_CHARACTERS.fullmatch(given) else _nine_characters(given, number, place)
            ids[number, place] = written
            waiting.append((given, written))
        if message["role"] == "tool":
            given = str(message.get("tool_call_id") or "")
            own = next(
                (pair for pair in waiting if given and pair[0] == given), waiting[0] if waiting else None
            )
            if own is not None:
                waiting.remove(own)
            ids[number, 0] = own[1] if own else _nine_characters(given, number, 0)
    return ids


def _nine_characters(given: str, number: int, place: int) -> str:
    return hashlib.sha256((given or f"{number}-{place}").encode()).hexdigest()[:9]
