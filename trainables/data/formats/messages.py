"""Parses lists of messages, whatever their keys and role names: texts, thoughts, calls, and marks not to learn them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trainables.data.formats.marks import is_learned, is_mark
from trainables.data.formats.parts import (
    BETWEEN_THOUGHTS,
    CALL_PARTS,
    EMPTY,
    TEXT_PARTS,
    THOUGHTS,
    as_parts,
    has_parts,
    inner_text,
    read_text,
    texts,
    with_results_apart,
)
from trainables.data.formats.tool_calls import parse_json, read_call_text, read_calls, read_identity
from trainables.data.parsed_row import InvalidRow, Remarks, SkippedRow, abbreviated, as_text
from trainables.data.rows import Message
from trainables.data.thinking import thoughts_of, with_thoughts

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
# Words that stand for a role whatever the tags are, since files mix the families.
ROLE_SYNONYMS = {
    "developer": "system",
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "observation": "tool",
    "function": "tool",  # OpenAI's older form, whose calls are in function_call
    "tool_response": "tool",  # ms-swift's, as tool_call
    "ipython": "tool",
    "tool_call": "function_call",
    "tool_calls": "function_call",
}
CALLS = ("tool_calls", "tool_call", "function_call")
# What the files of others note about a message; none of it is a text that a model would see.
BOOKKEEPING = {"id", "index", "timestamp", "created_at", "model"}
RESULT_KEYS = ("name", "tool_call_id")
TEXT_OF_MESSAGES = "is the JSON of messages in a text, and is read as this text"
PYTHON_TEXT_OF_MESSAGES = (
    "is a list of messages as Python shows it, and is read as this text; write it as JSON"
)
_PYTHON_MESSAGES = re.compile(
    r"\s*(?:array\()?\s*\[?\s*\{.*?['\"](?:role|from)['\"]\s*:\s*['\"](?:system|user|assistant|human|gpt|tool)['\"]",
    re.DOTALL,
)


def read_messages(
    value: Any, tags: Mapping[str, str], remarks: Remarks, name: str = "messages"
) -> list[Message]:
    """The messages of a list, or of its JSON, as they stand; ``turns.arranged`` puts them in order.

    ``name``: their column. A message of the assistant that is marked not to be learned has ``train: False``. Raises
    ``InvalidRow`` for the wrong shape.
    """
    value = parse_json(value, name)
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        raise InvalidRow(f"{name} must be a list of messages, which are objects, got {abbreviated(value)}")
    parsed: list[Message] = []
    for number, message in enumerate(value, start=1):
        try:
            parsed += [_message(part, tags, remarks) for part in _with_results_apart(message, tags)]
        except InvalidRow as error:
            raise InvalidRow(f"{error}; it is number {number} of {name}") from None
    return parsed


def _with_results_apart(message: Mapping[str, Any], tags: Mapping[str, str]) -> list[Mapping[str, Any]]:
    role_key, content_key = _keys(message, tags)
    if isinstance(message.get(content_key), str):  # as most are
        return [message]
    return with_results_apart(message, _role(message.get(role_key), tags), content_key)


def read_answer(
    value: Any, name: str, tags: Mapping[str, str], remarks: Remarks, as_json: bool = False
) -> list[Message]:
    """The messages of an answer in the column ``name``, which is a text, a message, or a list of messages.

    A text stays a text, however it begins, unless ``as_json``: then it may be the JSON of messages, as in a file whose
    cells are all texts. Other values are written as JSON. Raises ``SkippedRow`` for an empty answer.
    """
    if as_json and isinstance(value, str) and (parsed := messages_in_json(value, tags)) is not None:
        value = parsed
    remark_on_text(value, name, tags, remarks)
    if is_message(value, tags):
        value = [value]
    if isinstance(value, list) and value and is_message(value[0], tags):
        return read_messages(value, tags, remarks)
    text = "" if value is None or value == [] else as_text(_only_text(value, name, remarks), name, remarks)
    if not text.strip():
        raise SkippedRow("its answer is empty")
    return [{"role": "assistant", "content": text}]


def _only_text(value: Any, name: str, remarks: Remarks) -> Any:
    """The one text of a list of texts. Raises ``InvalidRow`` for a list of several."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return value
    if len(value) > 1:
        raise InvalidRow(
            f"{name} is a list of {len(value)} texts, such as a ranking; write a row for each of them, which for pairs "
            "has one chosen and one rejected answer"
        )
    remarks.append(f"{name} is a list with one text, and is read as the text")
    return value[0]


def remark_on_text(value: Any, name: str, tags: Mapping[str, str], remarks: Remarks) -> None:
    """A remark on a text that messages were written to, as JSON or as Python shows them, and that stays a text."""
    if not isinstance(value, str):
        return
    if messages_in_json(value, tags) is not None:
        remarks.append(f"{name} {TEXT_OF_MESSAGES}")
    elif _PYTHON_MESSAGES.match(value):
        remarks.append(f"{name} {PYTHON_TEXT_OF_MESSAGES}")


def messages_in_json(text: str, tags: Mapping[str, str]) -> Any:
    """The message or the messages that a text holds as JSON; ``None`` for other texts."""
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        value = parse_json(text, "a text")
    except InvalidRow:
        return None
    first = value[0] if isinstance(value, list) and value else value
    return value if is_message(first, tags) else None


def is_message(value: Any, tags: Mapping[str, str]) -> bool:
    """Whether an answer's value is a message, and not an object that is to be written as JSON."""
    if not isinstance(value, dict):
        return False
    if (tags["role_tag"] in value and tags["content_tag"] in value) or {"role", "content"} <= value.keys():
        return True
    # `from` and `value` may be the keys of anything: {"from": "Oslo", "value": 12}.
    return _known_role(value.get("role", value.get("from")), tags) is not None


def _message(message: Mapping[str, Any], tags: Mapping[str, str], remarks: Remarks) -> Message:
    role_key, content_key = _keys(message, tags)
    role = _role(message.get(role_key), tags)
    # Most messages have nothing else to look for.
    if len(message) == 2 and role != "function_call" and isinstance(message.get(content_key), str):
        return {"role": role, "content": message[content_key]}
    _remark_on_keys(message, {role_key, content_key}, role, remarks)
    learned = is_learned(message, role, remarks)
    value = as_parts(message.get(content_key), role)
    parsed: Message = {"role": role, "content": ""}
    if role != "function_call":
        parsed["content"] = read_text(value, content_key, role, remarks)
    elif value not in EMPTY or not any(map(message.get, CALLS)):
        parsed = _call_message(value)
    if role in ("assistant", "function_call") and (calls := _calls(message, value, parsed, remarks)):
        parsed |= {"role": "assistant", "tool_calls": calls}
    if role == "tool":
        return parsed | {key: text for key in RESULT_KEYS if (text := read_identity(message.get(key)))}
    if parsed["role"] == "assistant":
        parsed["content"] = _with_thoughts(parsed["content"], message, value, remarks)
        return parsed if learned else parsed | {"train": False}
    return parsed


def _keys(message: Mapping[str, Any], tags: Mapping[str, str]) -> tuple[str, str]:
    # The file's own tags come first; the usual keys of both families follow, since files mix them.
    for role, content in ((tags["role_tag"], tags["content_tag"]), ("role", "content"), ("from", "value")):
        if role in message and (content in message or any(map(message.get, (*CALLS, *THOUGHTS)))):
            return role, content
    raise InvalidRow(
        f"a message needs {tags['role_tag']} and {tags['content_tag']}, found {', '.join(map(str, message))}"
    )


def _known_role(word: Any, tags: Mapping[str, str]) -> str | None:
    for spelling in (word, word.strip().lower()) if isinstance(word, str) else ():
        for tag, role in ROLES.items():
            if spelling == tags.get(tag):
                return role
        if spelling in ROLE_SYNONYMS:
            return ROLE_SYNONYMS[spelling]
        if spelling in ROLES.values():
            return str(spelling)
    return None


def _role(word: Any, tags: Mapping[str, str]) -> str:
    if (role := _known_role(word, tags)) is None:
        known = dict.fromkeys((*(tags[tag] for tag in ROLES), *ROLES.values(), *ROLE_SYNONYMS))
        raise InvalidRow(
            f"unknown role {word!r}; say in data whose it is, as in tags: {{assistant_tag: {word}}} (also user_tag, "
            f"system_tag, observation_tag, function_tag); known: {', '.join(known)}"
        )
    return role


def _remark_on_keys(message: Mapping[str, Any], used: set[str], role: str, remarks: Remarks) -> None:
    """A remark for each key whose value is left aside."""
    read = used | BOOKKEEPING | {"role", "from"}
    read |= {*CALLS, *THOUGHTS} if role in ("assistant", "function_call") else set()
    read |= set(RESULT_KEYS) if role == "tool" else set()
    for key, value in message.items():
        if key not in read and not is_mark(key) and value not in EMPTY:
            remarks.append(f"the key {key} of a message is left aside")


def _call_message(value: Any) -> Message:
    """A message whose content is a call, as ShareGPT's ``function_call`` and ms-swift's ``tool_call``."""
    if has_parts(value):
        value = "".join(texts(value, (*TEXT_PARTS, *CALL_PARTS)))
    text, calls = read_call_text(value) if isinstance(value, str) else ("", read_calls(value))
    return {"role": "assistant", "content": text, "tool_calls": calls}


def _calls(
    message: Mapping[str, Any], content: Any, parsed: Message, remarks: Remarks
) -> list[dict[str, Any]]:
    """The calls of all places that a message has for them, which may repeat one another."""
    in_parts = [call for text in texts(content, CALL_PARTS) for call in read_calls(text)]
    places = [
        parsed.get("tool_calls", in_parts),
        *(read_calls(message[key]) for key in CALLS if message.get(key)),
    ]
    calls: list[dict[str, Any]] = []
    for place in filter(None, places):
        if calls and _functions(place) != _functions(calls):
            remarks.append("calls in several places of a message are made together")
        if _functions(place) != _functions(calls):
            calls += place
    return calls


def _functions(calls: list[dict[str, Any]]) -> list[Any]:
    return [call["function"] for call in calls]


def _with_thoughts(text: str, message: Mapping[str, Any], content: Any, remarks: Remarks) -> str:
    """The answer, opened by the thoughts that the message has elsewhere."""
    parts = BETWEEN_THOUGHTS.join(filter(None, texts(content, THOUGHTS)))
    for key, value in (*((key, message.get(key)) for key in THOUGHTS), ("reasoning", parts)):
        # `thinking: true` is a setting, and not a thought.
        if isinstance(value, bool) or not value:
            continue
        thoughts = inner_text(value, key, BETWEEN_THOUGHTS)
        if thoughts.strip() == thoughts_of(text) != "":
            continue
        if not thoughts.strip():
            if not isinstance(value, str):
                remarks.append(f"the key {key} of a message has no text and is left aside")
        elif thoughts_of(text):
            remarks.append(
                f"the key {key} of a message is left aside, since its answer opens with thoughts of its own"
            )
        else:
            text = with_thoughts(thoughts, text)
    return text
