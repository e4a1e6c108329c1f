"""Lists of messages, under whatever names, as messages with a role and a content; and the tools they may call."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trainables.data.parsed_row import Skip, Wrong, shown
from trainables.data.rows import Message

# A tag names a key (role_tag, content_tag) or the word that stands for a role. LLaMA-Factory's names.
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
# Words that mean a role whatever the tags say: files mix the two families.
ALSO = {"developer": "system", "human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
AFTER = {  # who may speak after whom
    None: {"system", "user"},
    "system": {"user"},
    "user": {"assistant"},
    "assistant": {"user"},
    "call": {"tool"},
    "tool": {"tool", "assistant", "user"},
}


def read_messages(value: Any, tags: Mapping[str, str], system: str = "") -> tuple[Message, ...]:
    """Messages in the order they are in, checked: known roles, texts, turns that take turns.

    ``system``: a system text from a column of its own. Raises ``Wrong`` for the shape, ``Skip`` for an order
    of turns that makes no sense.
    """
    value = _parsed(value)
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        raise Wrong(f"messages must be a list of objects, got {shown(value)}")
    found = [_message(message, tags) for message in value]
    if system and not (found and found[0]["role"] == "system"):
        found.insert(0, {"role": "system", "content": system})
    if not found:
        raise Skip("it has no messages")
    _check_order(found)
    return tuple(found)


def answer_text(value: Any, tags: Mapping[str, str]) -> str:
    """The text of an answer that is given as a text, a message, or a conversation that ends with it."""
    value = _parsed(value) if isinstance(value, str) and value.startswith(("[{", "{")) else value
    if isinstance(value, list) and value:
        value = value[-1]
    if isinstance(value, dict):
        message = _message(value, tags)
        if message["role"] != "assistant" or "tool_calls" in message:
            raise Wrong(f"an answer must be a text of the assistant's, got {shown(value)}")
        value = message["content"]
    if value is None or value == []:
        raise Skip("its answer is empty")
    if not isinstance(value, str):
        raise Wrong(f"an answer must be a text or a message, got {shown(value)}")
    if not value.strip():
        raise Skip("its answer is empty")
    return value


def read_tools(value: Any) -> str | None:
    """Tools as a JSON list of ``{"type": "function", "function": {...}}``, whichever way they were given."""
    if value in (None, "", [], "[]"):
        return None
    tools = _parsed(value)
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise Wrong(f"tools must be a list of functions, or such a list as JSON, got {shown(value)}")
    wrapped = [tool if "function" in tool else {"type": "function", "function": tool} for tool in tools]
    return json.dumps(wrapped, ensure_ascii=False)


def _message(message: Mapping[str, Any], tags: Mapping[str, str]) -> Message:
    keys = _keys(message, tags)
    role = _role(message.get(keys[0]), tags)
    content = _content(message.get(keys[1]))
    if role == "function_call":
        return {"role": "assistant", "content": "", "tool_calls": _calls(content)}
    if role == "assistant" and message.get("tool_calls"):
        return {"role": role, "content": content, "tool_calls": _openai_calls(message["tool_calls"])}
    found: Message = {"role": role, "content": content}
    return found | ({"name": message["name"]} if role == "tool" and message.get("name") else {})


def _keys(message: Mapping[str, Any], tags: Mapping[str, str]) -> tuple[str, str]:
    for keys in ((tags["role_tag"], tags["content_tag"]), ("role", "content"), ("from", "value")):
        if keys[0] in message and (keys[1] in message or message.get("tool_calls")):
            return keys
    raise Wrong(
        f"a message needs {tags['role_tag']} and {tags['content_tag']}, found {', '.join(map(str, message))}"
    )


def _role(word: Any, tags: Mapping[str, str]) -> str:
    for tag, role in ROLES.items():
        if word == tags[tag]:
            return role
    if word in ALSO:
        return ALSO[word]
    if word in ROLES.values():
        return str(word)
    known = ", ".join(tags[tag] for tag in ROLES)
    raise Wrong(f"unknown role {word!r}; known: {known}")


def _content(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        kinds = {part.get("type") for part in value} - {"text"}
        if kinds:
            raise Wrong(f"a message holds {', '.join(map(str, kinds))}; only texts can be trained on")
        return "".join(str(part.get("text", "")) for part in value)
    raise Wrong(f"a message's content must be a text, got {shown(value)}")


def _calls(text: str) -> list[dict[str, Any]]:
    """Tool calls from ShareGPT's ``function_call``: one call, or a list of calls, as JSON."""
    try:
        value = json.loads(text)
    except ValueError:
        raise Wrong(f"a function_call must be JSON with name and arguments, got {shown(text)}") from None
    return _openai_calls(value if isinstance(value, list) else [value])


def _openai_calls(value: Any) -> list[dict[str, Any]]:
    calls = []
    for call in value if isinstance(value, list) else [value]:
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Wrong(f"a tool call needs a name and arguments, got {shown(call)}")
        arguments = _parsed(function.get("arguments", {}))
        calls.append({"type": "function", "function": {"name": function["name"], "arguments": arguments}})
    return calls


def _parsed(value: Any) -> Any:
    """What a text holds as JSON: csv and Arrow files carry lists that way. Other values are as they are."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise Wrong(f"expected JSON, got {shown(value)}") from None


def _check_order(messages: Sequence[Message]) -> None:
    before = None
    for number, message in enumerate(messages, start=1):
        role = message["role"]
        if role not in AFTER[before]:
            at = f"after {before}" if before else "first"
            raise Skip(f"odd turn order: message {number} is the {role}'s, {at}")
        before = "call" if "tool_calls" in message else role
        if role in ("user", "assistant") and not message["content"].strip() and "tool_calls" not in message:
            raise Skip(f"message {number}, the {role}'s, is empty")
