"""Parses tools and the calls of them, in the forms of OpenAI, ShareGPT, ms-swift and Hermes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trainables.data.parsed_row import InvalidRow, ParsedRow, Remarks, abbreviated
from trainables.data.rows import Message

# What the arguments of a call are called; Anthropic's calls have an input. The rest says nothing of what is called.
ARGUMENTS = ("arguments", "parameters", "args", "kwargs", "params", "input", "tool_input", "arguments_json")
IDENTITIES = ("id", "call_id", "tool_call_id")
SCHEMAS = ("input_schema", "inputSchema")  # the parameters of a tool in Anthropic's form and in that of MCP
_NO_ARGUMENTS: tuple[Any, ...] = (None, "", [], {}, "{}", "null")
_ABOUT_A_CALL = {"name", "function", "type", "index", "status", *ARGUMENTS, *IDENTITIES}
_SHOWN_BY_PYTHON = re.compile(r"""\s*[\[{].*?'\w+'\s*:""", re.DOTALL)
_TAGGED = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
# In a JSON schema null is a value under these keys; anywhere else it is what a table of Arrow was filled up with.
_NULL_IS_A_VALUE = ("default", "const", "example")

_OPEN_SCHEMA = {"$ref", "anyOf", "oneOf", "allOf", "patternProperties"}


def parse_json(value: Any, name: str) -> Any:
    """The value that a text holds as JSON, as lists do in CSV and Arrow files; values that are no text, unchanged.

    Raises ``InvalidRow`` for other texts, with what the value is called.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        advice = f"it is no JSON ({error})"
        if _SHOWN_BY_PYTHON.match(value):
            advice = "it is written as Python shows lists and objects; write it with json.dumps"
        raise InvalidRow(f"{name} must be JSON, got {abbreviated(value)}: {advice}") from None


def read_tools(value: Any) -> list[dict[str, Any]]:
    """Tools, given as a list, as one tool, or as JSON, in OpenAI's form ``{"type": "function", "function": {...}}``.

    Raises ``InvalidRow`` for anything else, such as a list of names.
    """
    given = parse_json(value or None, "tools")
    # One function may be given without a list, and each function of a list as JSON.
    tools = [
        parse_json(tool, "a tool")
        for tool in (given if isinstance(given, list) else [given] if given else ())
    ]
    if not all(isinstance(tool, dict) and _tool_name(tool) for tool in tools):
        raise InvalidRow(
            f"tools must be a list of functions with their names, or such a list as JSON, got {abbreviated(value)}"
        )
    wrapped = [tool if "function" in tool else {"type": "function", "function": tool} for tool in tools]
    return [{**tool, "function": _with_parsed_parameters(tool["function"])} for tool in wrapped]


def _tool_name(tool: Mapping[str, Any]) -> str | None:
    function = tool.get("function", tool)
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def _with_parsed_parameters(function: dict[str, Any]) -> dict[str, Any]:
    if schema := next((key for key in SCHEMAS if key in function and "parameters" not in function), None):
        function = {"parameters" if key == schema else key: value for key, value in function.items()}
    parameters = function.get("parameters")
    if not isinstance(parameters, str) or not parameters.lstrip().startswith("{"):
        return function
    return {**function, "parameters": parse_json(parameters, "the parameters of a tool")}


def read_calls(value: Any) -> list[dict[str, Any]]:
    """Calls in OpenAI's form, from a call, a list of calls, or the JSON of either. Their ids are kept.

    >>> read_calls({"name": "now", "arguments": ""})
    [{'type': 'function', 'function': {'name': 'now', 'arguments': {}}}]
    """
    value = parse_json(value, "a tool call")
    return [
        _call(parse_json(call, "a tool call")) for call in (value if isinstance(value, list) else [value])
    ]


def _call(call: Any) -> dict[str, Any]:
    # Both ``{"function": {...}}``, as OpenAI writes calls, and the bare ``{"name": ..., "arguments": ...}``.
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRow(f"a tool call needs a name and arguments, got {abbreviated(call)}")
    # Some write the arguments beside the function, and not in it.
    places = [function] if function is call else [function, call]
    identities = [text for place in places for key in IDENTITIES if (text := read_identity(place.get(key)))]
    called = {"name": function["name"], "arguments": _arguments(function["name"], places)}
    return ({"id": identities[0]} if identities else {}) | {"type": "function", "function": called}


def _arguments(name: str, places: Sequence[Mapping[str, Any]]) -> Any:
    filled = [(key, value) for place in places for key, value in place.items() if value not in _NO_ARGUMENTS]
    if unknown := [key for key, _ in filled if key not in _ABOUT_A_CALL]:
        raise InvalidRow(
            f"a call of {name} holds {', '.join(unknown)}, which is none of the names of arguments "
            f"({', '.join(ARGUMENTS)}); write arguments: {{...}}"
        )
    given = [
        (key, parse_json(value, f"{key} of a call of {name}")) for key, value in filled if key in ARGUMENTS
    ]
    if any(other != given[0][1] for _, other in given):
        raise InvalidRow(
            f"a call of {name} has {' and '.join(key for key, _ in given)}, which differ; keep one of them as its "
            "arguments"
        )
    return given[0][1] if given else {}


def read_identity(value: Any) -> str:
    """The id of a call as a text, since some number their calls; empty if there is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value if isinstance(value, str) else ""


def read_call_text(text: str) -> tuple[str, list[dict[str, Any]]]:
    """The text before the calls, such as thoughts, and the calls: JSON, or JSON in ``<tool_call>`` tags.

    >>> read_call_text('<think>Which?</think> {"name": "now"}')[0]
    '<think>Which?</think>'
    """
    tagged = list(_TAGGED.finditer(text))
    if tagged and not _TAGGED.sub("", text[tagged[0].start() :]).strip():
        calls = [call for match in tagged for call in _decoded(match[1])]
        if all(map(_looks_like_a_call, calls)) and calls:
            return text[: tagged[0].start()].strip(), read_calls(calls)
    # Thoughts may hold brackets, too: the calls begin at the first one from which all of the rest is calls.
    for bracket in re.finditer(r"[\[{]", text):
        calls = _decoded(text[bracket.start() :])
        if calls and all(map(_looks_like_a_call, calls)):
            return text[: bracket.start()].strip(), read_calls(calls)
    raise InvalidRow(f"a function_call must be JSON with name and arguments, got {abbreviated(text)}")


def _decoded(text: str) -> list[Any]:
    """The values of one JSON text after another, the items of lists one by one; empty if there is anything else."""
    values: list[Any] = []
    text = text.strip()
    while text:
        try:
            value, end = json.JSONDecoder().raw_decode(text)
        except ValueError:
            return []
        values += value if isinstance(value, list) else [value]
        text = text[end:].lstrip(" \t\r\n,;")
    return values


def _looks_like_a_call(value: Any) -> bool:
    return isinstance(value, dict) and _tool_name(value) is not None


def with_tools(parsed: ParsedRow, value: Any, remarks: Remarks) -> ParsedRow:
    """The row with the tools of a column, both without the nulls that a table was filled up with before it became JSON.

    Arrow gives all objects of a column the same keys. A null in a tool's schema means nothing, and an argument that is
    null and that its function does not have wasn't written by anybody; an argument that the function has may be meant.
    """
    if not value or not (tools := read_tools(value)):
        for message in (*parsed.messages, *(parsed.chosen or ()), *(parsed.rejected or ())):
            _remark_on_nulls(message.get("tool_calls", ()), remarks)
        return parsed
    cleaned = [_without_nulls(tool) for tool in tools]
    if cleaned != tools:
        remarks.append("nulls in the schema of a tool are left out")
    known = {_tool_name(tool): _schema(tool) for tool in cleaned}

    def messages(given: Sequence[Message]) -> tuple[Message, ...]:
        return tuple(_with_known_arguments(message, known, remarks) for message in given)

    return replace(
        parsed,
        messages=messages(parsed.messages),
        chosen=parsed.chosen and messages(parsed.chosen),
        rejected=parsed.rejected and messages(parsed.rejected),
        tools=json.dumps(cleaned, ensure_ascii=False),
    )


def _without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: item if key in _NULL_IS_A_VALUE else _without_nulls(item)
        for key, item in value.items()
        if item is not None or key in _NULL_IS_A_VALUE
    }


def _schema(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = tool["function"].get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def _with_known_arguments(
    message: Message, known: Mapping[str | None, Mapping[str, Any]], remarks: Remarks
) -> Message:
    if "tool_calls" not in message:
        return message
    calls = []
    for call in message["tool_calls"]:
        function = call["function"]
        if function["name"] in known:
            kept = _without_unknown_nulls(function["arguments"], known[function["name"]])
            if kept != function["arguments"]:
                remarks.append(
                    "arguments that are null and that the called function does not have are left out"
                )
                call = {**call, "function": {**function, "arguments": kept}}
        else:
            _remark_on_nulls([call], remarks)
        calls.append(call)
    return {**message, "tool_calls": calls}


def _remark_on_nulls(calls: Iterable[Mapping[str, Any]], remarks: Remarks) -> None:
    """A remark on nulls in the arguments of functions that the row's tools don't have, which a table may have added."""
    if any(_holds_null(call["function"]["arguments"]) for call in calls):
        remarks.append(
            "arguments of a call are null and are kept; if a table added them, a column tools that has the called "
            "function, or rows without them, leaves them out"
        )


def _holds_null(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_holds_null, value.values() if isinstance(value, dict) else value))
    return value is None


def _without_unknown_nulls(value: Any, schema: Any) -> Any:
    """The value without the nulls, however deep, of properties that its JSON schema does not have."""
    schema = schema if isinstance(schema, dict) else {}
    if isinstance(value, list):
        return [_without_unknown_nulls(item, schema.get("items")) for item in value]
    if not isinstance(value, dict):
        return value
    # What a schema says elsewhere, such as by reference, is not looked up: there a null may be meant.
    if _OPEN_SCHEMA & schema.keys():
        return value
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    return {
        key: _without_unknown_nulls(item, properties.get(key))
        for key, item in value.items()
        if item is not None or key in properties
    }
