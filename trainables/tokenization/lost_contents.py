"""What a chat template has no place for: each content of a conversation is looked for in what the template writes.

A content may stand somewhere else by chance (a short result inside the answer that quotes it). So the template also
renders a conversation of the same form with made-up words in place of the contents, each of which occurs once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from trainables import templates
from trainables.data.rows import Message
from trainables.data.thinking import without_thinking
from trainables.tokenization.message_forms import form_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NAMES = {
    "system": "the system message",
    "user": "a message of the user",
    "assistant": "the text of an answer",
    "tool": "the tool results",
}
TOOLS, DESCRIPTIONS = "the tool definitions", "the descriptions of the tools"
PARAMETERS = "the parameters of the tools"
CALLS, ARGUMENTS = "the tool calls", "the arguments of the tool calls"
RESULTS = NAMES["tool"]


@dataclass(frozen=True)
class LostContents:
    """What of a conversation is not in its rendered text: descriptions of contents, each once.

    ``tools``: what of tools, calls and results the template has no place for, whatever they are. ``others``: the rest.
    """

    tools: tuple[str, ...]
    others: tuple[str, ...]


def lost_contents(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], tools: list[Any] | None, text: str
) -> LostContents:
    """What of a conversation is not in ``text``, all of it as rendered."""
    form = json.dumps([[_form(message) for message in messages], [_tool_form(tool) for tool in tools or ()]])
    unplaced = _unplaced(tokenizer, tokenizer.chat_template, form)
    found = dict.fromkeys([*unplaced, *_missing(messages, tools, text)])
    # What is lost as a whole says enough.
    whole = {DESCRIPTIONS: TOOLS, PARAMETERS: TOOLS, ARGUMENTS: CALLS}
    lost = [what for what in found if whole.get(what) not in found]
    # Names stand in a text as they are; results and arguments may be written in another notation.
    refused = {TOOLS, CALLS, *({ARGUMENTS, RESULTS} & set(unplaced))}
    return LostContents(
        tools=tuple(what for what in lost if what in refused),
        others=tuple(what for what in lost if what not in refused),
    )


def occurs(content: str, text: str) -> bool:
    """Whether a text has the content, apart from white space around it, or written inside JSON."""
    content = content.strip()
    # In JSON quotes and line feeds are escaped, and some templates write other letters as numbers, too.
    return content in text or any(
        json.dumps(content, ensure_ascii=ascii_only)[1:-1] in text for ascii_only in (False, True)
    )


def _missing(messages: Sequence[Message], tools: list[Any] | None, text: str) -> Iterator[str]:
    """Contents that occur nowhere: also those that the template leaves out because of what they are."""
    if any(not occurs(_name(tool), text) for tool in tools or ()):
        yield TOOLS
    if not all(occurs(each, text) for tool in tools or () for each in _schema_texts(_function(tool))):
        yield PARAMETERS
    for message in messages:
        role, content = message["role"], str(message.get("content") or "")
        # Templates may take the thoughts of earlier answers out, and that is right.
        if not occurs(without_thinking(content) if role == "assistant" else content, text):
            yield _of_role(role)
        for call in message.get("tool_calls", ()):
            if not occurs(_name(call), text):
                yield CALLS
            elif not all(occurs(leaf, text) for leaf in _texts(_arguments(call))):
                yield ARGUMENTS


@lru_cache(maxsize=512)
def _unplaced(tokenizer: PreTrainedTokenizerBase, template: str | None, form: str) -> tuple[str, ...]:
    """What a conversation of this form would lose, whatever its contents are.

    ``template`` is in the key since it may change while the tokenizer stays the same. Nothing is known where the
    template can't render made-up contents.
    """
    words: dict[str, str] = {}  # what each made-up word stands for

    def word(what: str) -> str:
        made_up = f"qx{len(words)}wz"
        words[made_up] = what
        return made_up

    message_forms, tool_forms = json.loads(form)
    tools = [_made_up_tool(each, word) for each in tool_forms] or None
    messages = form_of(tokenizer).written([_made_up_message(each, word) for each in message_forms])
    answered = bool(messages) and messages[-1]["role"] == "assistant"
    try:
        text = templates.render(tokenizer, messages, tools, add_generation_prompt=not answered)
    except templates.TemplateError:
        return ()
    return tuple(dict.fromkeys(what for made_up, what in words.items() if made_up not in text))


def _form(message: Message) -> list[Any]:
    """A message without its texts: role, whether it has a content, and the argument names of its calls."""
    calls = [
        sorted(arguments) if isinstance(arguments := _arguments(call), dict) else None
        for call in message.get("tool_calls", ())
    ]
    # Thoughts have places of their own.
    content = without_thinking(str(message.get("content") or ""))
    return [message["role"], bool(content), calls]


def _tool_form(tool: Any) -> bool:
    function = tool.get("function", tool) if isinstance(tool, dict) else {}
    return isinstance(function, dict) and bool(function.get("description"))


def _made_up_message(form: list[Any], word: Any) -> Message:
    role, has_content, calls = form
    message: Message = {"role": role, "content": word(_of_role(role)) if has_content else ""}
    if calls:
        message["tool_calls"] = [
            {
                "type": "function",
                "id": "abcdefghi",
                "function": {
                    "name": word(CALLS),
                    "arguments": {name: word(ARGUMENTS) for name in names}
                    if names is not None
                    else word(ARGUMENTS),
                },
            }
            for names in calls
        ]
    return message | ({"name": "f", "tool_call_id": "abcdefghi"} if role == "tool" else {})


def _made_up_tool(described: bool, word: Any) -> dict[str, Any]:
    function: dict[str, Any] = {"name": word(TOOLS)}
    if described:
        function["description"] = word(DESCRIPTIONS)
    return {"type": "function", "function": function | {"parameters": {"type": "object", "properties": {}}}}


def _of_role(role: str) -> str:
    return NAMES.get(role, f"the text of role {role}")


def _name(call_or_tool: Any) -> str:
    return str(_function(call_or_tool).get("name", ""))


def _function(call_or_tool: Any) -> dict[str, Any]:
    function = call_or_tool.get("function", call_or_tool) if isinstance(call_or_tool, dict) else {}
    return function if isinstance(function, dict) else {}


def _schema_texts(function: dict[str, Any]) -> Iterator[str]:
    """The names of a function's parameters and of their parts, and what they are said to mean."""
    left = [function.get("parameters")]
    while left:
        schema = left.pop()
        if isinstance(schema, list):
            left += schema
        elif isinstance(schema, dict):
            properties = schema.get("properties")
            if isinstance(properties, dict):
                yield from properties
                left += properties.values()
            if isinstance(schema.get("description"), str):
                yield schema["description"]
            left += [schema.get(key) for key in ("items", "anyOf", "oneOf", "allOf")]


def _arguments(call: Any) -> Any:
    return call["function"].get("arguments") if isinstance(call.get("function"), dict) else None


def _texts(value: Any) -> Iterator[str]:
    """All texts and numbers in the arguments of a call."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield json.dumps(value)
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
