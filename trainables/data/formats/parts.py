"""Contents that are lists of typed parts: texts, thoughts, calls and results, as OpenAI, LLaMA-Factory and Anthropic
write them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from trainables.data.formats.marks import PARTIAL_MARKS, is_learned, is_mark
from trainables.data.parsed_row import InvalidRow, Remarks, as_text

THOUGHTS = ("reasoning_content", "reasoning", "thinking")
TEXT_PARTS = ("text", "input_text", "output_text")
CALL_PARTS = ("tool_call", "tool_calls", "function_call", "tool_use")
RESULT_PART = "tool_result"  # Anthropic's, in a message of the user
# What the interfaces of models note about a part; none of it is a text that a model would see.
PART_BOOKKEEPING = ("type", "id", "index", "cache_control", "signature")
MEDIA = ("image", "image_url", "audio", "audio_url", "video", "video_url", "file")
PART_KINDS = {*TEXT_PARTS, *THOUGHTS, *CALL_PARTS, RESULT_PART}
EMPTY: tuple[Any, ...] = (None, "", [], {})
BETWEEN_THOUGHTS = "\n\n"


def as_parts(value: Any, role: str) -> Any:
    """A content's value, with one part alone as a list of it; a result of a tool may be an object of any type."""
    is_part = isinstance(value, dict) and role != "tool" and value.get("type") in PART_KINDS
    return [value] if is_part else value


def has_parts(value: Any) -> bool:
    """Whether a content is a list of typed parts."""
    return isinstance(value, list) and all(
        isinstance(part, str) or (isinstance(part, dict) and ("type" in part or "text" in part))
        for part in value
    )


def with_results_apart(message: Mapping[str, Any], role: str, content_key: str) -> list[Mapping[str, Any]]:
    """A message whose content may have results of calls as parts: each result as a message of role ``tool``.

    >>> result = {"type": "tool_result", "tool_use_id": "a", "content": "18"}
    >>> with_results_apart({"role": "user", "content": [result]}, "user", "content")
    [{'role': 'tool', 'tool_call_id': 'a', 'content': '18'}]
    """
    content = as_parts(message.get(content_key), role)
    if role != "user" or not has_parts(content) or not any(_kind(part) == RESULT_PART for part in content):
        return [message]
    messages: list[Mapping[str, Any]] = []
    for is_result, group in groupby(content, lambda part: _kind(part) == RESULT_PART):
        parts = list(group)
        messages += [_result(part) for part in parts] if is_result else [{**message, content_key: parts}]
    return messages


def _result(part: Mapping[str, Any]) -> Mapping[str, Any]:
    others = {
        key: value for key, value in part.items() if key not in (*PART_BOOKKEEPING, "tool_use_id", "content")
    }
    identity = {"tool_call_id": part["tool_use_id"]} if part.get("tool_use_id") else {}
    return {"role": "tool", **identity, "content": part.get("content") or "", **others}


def read_text(value: Any, name: str, role: str, remarks: Remarks) -> str:
    """The text of a message's content; what its parts have beside their texts is remarked.

    Raises ``InvalidRow`` for parts that are no texts, and for those of which only some are learned.
    """
    if value is None:
        return ""
    unknown = [_kind(part) for part in value if _kind(part) not in PART_KINDS] if has_parts(value) else []
    is_medium = any(kind.endswith(MEDIA) for kind in unknown)
    # The result of a call may be a list of texts, or of objects that have keys and types of their own.
    is_data = role == "tool" and has_parts(value) and not (is_medium or _are_plain_parts(value))
    if not has_parts(value) or is_data:
        return as_text(value, name, remarks)
    for kind in unknown:
        raise InvalidRow(
            f"a message holds {kind}; only texts can be trained on: parts of type text, reasoning or tool_call"
        )
    _check_parts(value, role, remarks)
    return "".join(texts(value, TEXT_PARTS))


def texts(value: Any, kinds: tuple[str, ...]) -> Iterator[str]:
    """The texts of the parts of these types."""
    for part in value if has_parts(value) else ():
        if (kind := _kind(part)) in kinds:
            yield part if isinstance(part, str) else _part_text(part, kind)


def inner_text(value: Any, kind: str = "text", between: str = "") -> str:
    """The text of a value: a text, an object with one, or a list of such; empty for anything else.

    >>> inner_text([{"type": "summary_text", "text": "Two"}, {"content": " and two."}])
    'Two and two.'
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return between.join(text for item in value if (text := inner_text(item, kind, between)))
    if isinstance(value, dict):
        return next(
            (text for key in _text_keys(kind) if (text := inner_text(value.get(key), kind, between))), ""
        )
    return ""


def _kind(part: Any) -> str:
    return "text" if isinstance(part, str) else str(part.get("type") or "text")


def _text_keys(kind: str) -> tuple[str, ...]:
    """Where the text of a part may be; LLaMA-Factory has it in ``value``, and OpenAI's thoughts in ``summary``."""
    return tuple(dict.fromkeys(("value", "text", kind, "content", "summary")))


def _are_plain_parts(parts: list[Any]) -> bool:
    """Whether a tool's result is a list of texts, each in a part of its own, and nothing else."""
    return bool(parts) and all(
        isinstance(part, dict)
        and _kind(part) in PART_KINDS
        and ("type" in part or all(value in EMPTY for key, value in part.items() if key != "text"))
        for part in parts
    )


def _part_text(part: Mapping[str, Any], kind: str) -> str:
    if kind in CALL_PARTS:
        given = next((part[key] for key in ("value", "text", kind, "content") if part.get(key)), None)
        # A part may be the call itself: {"type": "tool_call", "name": ..., "arguments": ...}.
        call = given
        if given is None:
            call = {key: value for key, value in part.items() if key not in ("type", "cache_control")}
        return call if isinstance(call, str) else json.dumps(call, ensure_ascii=False)
    text = inner_text(part, kind, BETWEEN_THOUGHTS if kind in THOUGHTS else "")
    filled = {key: value for key, value in part.items() if value not in EMPTY and key != "type"}
    if text or not filled:
        return text
    key = next((key for key in _text_keys(kind) if key in filled), None)
    if key is None:
        raise InvalidRow(f"a part of type {kind} holds {', '.join(filled)}, and no text; write it in text")
    return as_text(filled[key], f"the {key} of a part", [])


def _check_parts(parts: list[Any], role: str, remarks: Remarks) -> None:
    """Remarks on what is left aside of the parts. Raises ``InvalidRow`` for a part that is marked not to be learned."""
    if len(parts) > 1 and all(isinstance(part, str) for part in parts):
        remarks.append("the texts of a list in a message are joined")
    for part in parts:
        kind = _kind(part)
        if kind not in TEXT_PARTS and role not in ("assistant", "function_call"):
            remarks.append(f"the {kind} in a message of role {role} is left aside")
        if isinstance(part, dict) and len(part) > 2:
            _check_keys(part, kind, role, remarks)


def _check_keys(part: Mapping[str, Any], kind: str, role: str, remarks: Remarks) -> None:
    if not is_learned(part, role, remarks):
        raise InvalidRow(
            "a part of a message is marked not to be learned, and a message is learned as a whole or not at all; give "
            "the whole message train: true or false"
        )
    if kind in CALL_PARTS:
        return
    used = next((key for key in _text_keys(kind) if inner_text(part.get(key), kind)), "text")
    for key, value in part.items():
        if key not in (*PART_BOOKKEEPING, used, *PARTIAL_MARKS) and not is_mark(key) and value not in EMPTY:
            remarks.append(f"the {key} of a part of a message is left aside")
