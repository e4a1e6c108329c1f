"""Parses lists of messages, whatever their keys and role names, and the tools that they may call."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trainables.data.parsed_row import InvalidRow, SkippedRow, abbreviated
from trainables.data.rows import Message

# LLaMA-Factory's tags: the keys of a message (role_tag, content_tag), and the word for each role.
OPENAI = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "function_call",
    "system_tag": "system",
}
SHAREGPT_TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}
ROLES = {
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "function_call",
    "system_tag": "system",
}
# Words that stand for a role whatever the tags are, since files mix the two families.
ROLE_SYNONYMS = {
    "developer": "system",
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
# Which roles may follow a message. `call` is an assistant's message with tool calls, None the beginning.
ROLES_AFTER = {
    None: {"system", "user"},
    "system": {"user"},
    "user": {"assistant"},
    "assistant": {"user"},
    "call": {"tool"},
    "tool": {"tool", "assistant", "user"},
}


def read_messages(value: Any, tags: Mapping[str, str], system: str = "") -> tuple[Message, ...]:
    """The messages in their order, with roles, contents and the order of turns checked.

    ``system``: a system text from a column of its own. Raises ``InvalidRow`` for the wrong shape, ``SkippedRow`` for
    an order of turns that makes no sense.
    """
    value = _parse_json(value)
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        raise InvalidRow(f"messages must be a list of objects, got {abbreviated(value)}")
    messages = [_message(message, tags) for message in value]
    # A system message in the list takes precedence over the column.
    if system and not (messages and messages[0]["role"] == "system"):
        messages.insert(0, {"role": "system", "content": system})
    if not messages:
        raise SkippedRow("it has no messages")
    _check_order(messages)
    return tuple(messages)


def answer_text(value: Any, tags: Mapping[str, str]) -> str:
    """The text of an answer, given as a text, a message, or a conversation that ends with it."""
    # CSV cells and Arrow columns hold messages as JSON; other texts, such as a list of numbers, stay texts.
    value = _parse_json(value) if isinstance(value, str) and value.startswith(("[{", "{")) else value
    if isinstance(value, list) and value:
        value = value[-1]
    if isinstance(value, dict):
        message = _message(value, tags)
        if message["role"] != "assistant" or "tool_calls" in message:
            raise InvalidRow(f"an answer must be a text of the assistant, got {abbreviated(value)}")
        value = message["content"]
    if value is None or value == []:
        raise SkippedRow("its answer is empty")
    if not isinstance(value, str):
        raise InvalidRow(f"an answer must be a text or a message, got {abbreviated(value)}")
    if not value.strip():
        raise SkippedRow("its answer is empty")
    return value


def read_tools(value: Any) -> str | None:
    """Tools, given as a list or as JSON, as a JSON list of ``{"type": "function", "function": {...}}``."""
    if value in (None, "", [], "[]"):
        return None
    tools = _parse_json(value)
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise InvalidRow(
            f"tools must be a list of functions, or such a list as JSON, got {abbreviated(value)}"
        )
    wrapped = [tool if "function" in tool else {"type": "function", "function": tool} for tool in tools]
    return json.dumps(wrapped, ensure_ascii=False)


def _message(message: Mapping[str, Any], tags: Mapping[str, str]) -> Message:
    role_key, content_key = _keys(message, tags)
    role = _role(message.get(role_key), tags)
    content = _content(message.get(content_key))
    # ShareGPT writes a call as a message of its own, whose content is the call as JSON.
    if role == "function_call":
        return {"role": "assistant", "content": "", "tool_calls": _calls(content)}
    if role == "assistant" and message.get("tool_calls"):
        return {"role": role, "content": content, "tool_calls": _openai_calls(message["tool_calls"])}
    parsed: Message = {"role": role, "content": content}
    return parsed | ({"name": message["name"]} if role == "tool" and message.get("name") else {})


def _keys(message: Mapping[str, Any], tags: Mapping[str, str]) -> tuple[str, str]:
    # The file's own tags come first; the usual keys of both families follow, since files mix them.
    for role, content in ((tags["role_tag"], tags["content_tag"]), ("role", "content"), ("from", "value")):
        if role in message and (content in message or message.get("tool_calls")):
            return role, content
    raise InvalidRow(
        f"a message needs {tags['role_tag']} and {tags['content_tag']}, found {', '.join(map(str, message))}"
    )


def _role(word: Any, tags: Mapping[str, str]) -> str:
    for tag, role in ROLES.items():
        if word == tags[tag]:
            return role
    if word in ROLE_SYNONYMS:
        return ROLE_SYNONYMS[word]
    if word in ROLES.values():
        return str(word)
    known = ", ".join(tags[tag] for tag in ROLES)
    raise InvalidRow(f"unknown role {word!r}; known: {known}")


def _content(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        media = {part.get("type") for part in value} - {"text"}
        if media:
            raise InvalidRow(f"a message holds {', '.join(map(str, media))}; only texts can be trained on")
        return "".join(str(part.get("text", "")) for part in value)
    raise InvalidRow(f"a message's content must be a text, got {abbreviated(value)}")


def _calls(text: str) -> list[dict[str, Any]]:
    """Tool calls in ShareGPT's ``function_call``: one call, or a list of calls, as JSON."""
    try:
        value = json.loads(text)
    except ValueError:
        raise InvalidRow(
            f"a function_call must be JSON with name and arguments, got {abbreviated(text)}"
        ) from None
    return _openai_calls(value if isinstance(value, list) else [value])


def _openai_calls(value: Any) -> list[dict[str, Any]]:
    calls = []
    for call in value if isinstance(value, list) else [value]:
        # Both ``{"function": {...}}``, as OpenAI writes calls, and the bare ``{"name": ..., "arguments": ...}``.
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise InvalidRow(f"a tool call needs a name and arguments, got {abbreviated(call)}")
        arguments = _parse_json(function.get("arguments", {}))
        calls.append({"type": "function", "function": {"name": function["name"], "arguments": arguments}})
    return calls


def _parse_json(value: Any) -> Any:
    """The value that a text holds as JSON, as lists do in CSV and Arrow files; values that are no text, unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise InvalidRow(f"expected JSON, got {abbreviated(value)}") from None


def _check_order(messages: Sequence[Message]) -> None:
    previous = None
    for number, message in enumerate(messages, start=1):
        role = message["role"]
        if role not in ROLES_AFTER[previous]:
            position = f"after {previous}" if previous else "first"
            raise SkippedRow(f"odd turn order: message {number} is the {role}'s, {position}")
        previous = "call" if "tool_calls" in message else role
        if role in ("user", "assistant") and not message["content"].strip() and "tool_calls" not in message:
            raise SkippedRow(f"message {number}, the {role}'s, is empty")
