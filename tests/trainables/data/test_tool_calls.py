"""Tools and calls: every way of writing them gives the same row, and what table formats add to them is taken out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.tiny_model import make_tokenizer
from trainables import templates
from trainables.config.data import DataConfig
from trainables.data import converted_rows
from trainables.data.errors import DataError
from trainables.data.rows import Conversation
from trainables.stages import SFT
from trainables.tokenization.encode import IGNORED

ROOM = {"name": "find_room", "arguments": {"city": "Łódź", "nights": 2}}
TIME = {"name": "clock", "arguments": {}}


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def called(*calls: dict[str, Any], text: str = "", **ids: str) -> dict[str, Any]:
    return turn("assistant", text, tool_calls=[{"type": "function", "function": call} for call in calls])


ASK, DONE = turn("user", "A room, please."), turn("assistant", "Room 7.")
RESULTS = [turn("tool", "7"), turn("tool", "noon")]


def load(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> Any:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return converted_rows.load_uncut(DataConfig(train=str(path), **settings), Conversation)


def sharegpt(*turns: tuple[str, Any]) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": value} for role, value in turns]}


CALL_TEXT = json.dumps(ROOM)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASK, called(ROOM), RESULTS[0], DONE]},
        {
            "messages": [
                ASK,
                turn("assistant", None, tool_calls=json.dumps([{"function": ROOM}])),
                RESULTS[0],
                DONE,
            ]
        },
        # OpenAI's older form.
        {
            "messages": [
                ASK,
                turn("assistant", None, function_call={**ROOM, "arguments": json.dumps(ROOM["arguments"])}),
                turn("function", "7"),
                DONE,
            ]
        },
        # ms-swift's.
        {"messages": [ASK, turn("tool_call", CALL_TEXT), turn("tool_response", "7"), DONE]},
        {"messages": [ASK, turn("tool_call", ROOM), turn("tool", "7"), DONE]},
        # LLaMA-Factory's next format.
        {
            "messages": [
                ASK,
                turn("assistant", [{"type": "tool_call", "value": CALL_TEXT}]),
                turn("tool", [{"type": "text", "value": "7"}]),
                DONE,
            ]
        },
        sharegpt(
            ("human", ASK["content"]), ("function_call", CALL_TEXT), ("observation", "7"), ("gpt", "Room 7.")
        ),
        sharegpt(
            ("human", ASK["content"]), ("function_call", f"[{CALL_TEXT}]"), ("tool", "7"), ("gpt", "Room 7.")
        ),
        sharegpt(
            ("human", ASK["content"]),
            ("function_call", f"<tool_call>\n{CALL_TEXT}\n</tool_call>"),
            ("observation", "7"),
            ("gpt", "Room 7."),
        ),
    ],
)
def test_a_call_is_the_same_however_it_is_written(tmp_path: Path, row: dict[str, Any]) -> None:
    data = load(tmp_path, [row])
    assert list(data.rows) == [Conversation((ASK, called(ROOM), RESULTS[0]), "Room 7.")]
    assert data.warnings == ()


@pytest.mark.parametrize(
    "turns",
    [
        [called(ROOM, TIME)],
        [called(ROOM), called(TIME)],
        [turn("tool_call", CALL_TEXT), turn("tool_call", json.dumps(TIME))],
        [turn("tool_call", f"<tool_call>{CALL_TEXT}</tool_call>\n<tool_call>{json.dumps(TIME)}</tool_call>")],
        [turn("tool_call", f"{CALL_TEXT}\n{json.dumps(TIME)}")],
    ],
)
def test_calls_in_a_row_are_made_together(tmp_path: Path, turns: list[dict[str, Any]]) -> None:
    data = load(tmp_path, [{"messages": [ASK, *turns, *RESULTS, DONE]}])
    assert list(data.rows) == [Conversation((ASK, called(ROOM, TIME), *RESULTS), "Room 7.")]
    named = "in 1 of 1 row calls in a row are joined to one answer" in "".join(data.warnings)
    assert named == (len(turns) > 1)


@pytest.mark.parametrize(
    ("turns", "remark"),
    [
        ([turn("assistant", "I look."), called(ROOM)], "a text and a call in a row are joined"),
        ([called(ROOM), turn("assistant", "I look.")], "a text between a call and its result is put before"),
        ([called(ROOM, text="I look.")], ""),
        ([turn("tool_call", f"I look. {CALL_TEXT}")], ""),
    ],
)
def test_a_text_beside_a_call_is_part_of_its_answer(tmp_path: Path, turns: list[Any], remark: str) -> None:
    data = load(tmp_path, [{"messages": [ASK, *turns, RESULTS[0], DONE]}])
    assert data.rows[0].prompt[1] == called(ROOM, text="I look.")
    assert remark in "".join(data.warnings)
    assert bool(remark) == bool(data.warnings)


def test_a_text_after_a_call_without_a_result_is_left_out(tmp_path: Path) -> None:
    data = load(tmp_path, [{"messages": [ASK, called(ROOM), DONE]}, {"messages": [ASK, DONE]}])
    assert len(data.rows) == 1
    assert (
        "odd turn order: a message of role assistant follows a tool call (rows.jsonl:1)" in data.warnings[0]
    )


@pytest.mark.parametrize("before", ["<think>\nWhich {city}?\n</think>\n\n", "<think>a</think>"])
def test_thoughts_before_a_call_are_kept(tmp_path: Path, before: str) -> None:
    tagged = f"{before}<tool_call>{CALL_TEXT}</tool_call>"
    for text in (before + CALL_TEXT, tagged):
        row = load(tmp_path, [{"messages": [ASK, turn("tool_call", text)]}]).rows[0]
        assert (row.answer, row.calls[0]["function"]) == (before.strip(), ROOM)


def test_calls_that_hermes_writes_in_a_text_stay_text(tmp_path: Path) -> None:
    text = f"<tool_call>\n{CALL_TEXT}\n</tool_call>"
    turns = [ASK, turn("assistant", text), turn("tool", "<tool_response>7</tool_response>"), DONE]
    data = load(tmp_path, [{"messages": turns}])
    assert list(data.rows) == [Conversation(tuple(turns[:3]), "Room 7.")]
    assert data.warnings == ()


@pytest.mark.parametrize("arguments", [None, "", "{}", {}, [], "null"])
def test_a_call_may_have_no_arguments(tmp_path: Path, arguments: Any) -> None:
    for call in ({"name": "clock", "arguments": arguments}, {"name": "clock"}):
        for message in (called(call), turn("tool_call", json.dumps(call))):
            (row,) = load(tmp_path, [{"messages": [ASK, message]}]).rows
            assert row.calls == ({"type": "function", "function": TIME},)


@pytest.mark.parametrize("key", ["parameters", "args", "kwargs", "params", "input"])
def test_arguments_under_another_key_are_the_arguments(tmp_path: Path, key: str) -> None:
    bare = {"name": "find_room", key: ROOM["arguments"]}
    beside = {"type": "function", "function": {"name": "find_room"}, key: json.dumps(ROOM["arguments"])}
    rows = [
        {"messages": [ASK, called(bare)]},
        {"messages": [ASK, called({**bare, "arguments": None})]},
        {"messages": [ASK, turn("assistant", "", tool_calls=[beside])]},
        {
            "messages": [
                ASK,
                turn(
                    "assistant",
                    "",
                    tool_calls=[{**beside, "function": {"name": "find_room", "arguments": {}}}],
                ),
            ]
        },
        {"messages": [ASK, turn("assistant", "", tool_call=bare)]},
        {"messages": [ASK, turn("assistant", "", function_call=bare)]},
        sharegpt(("human", ASK["content"]), ("function_call", json.dumps(bare))),
        {"messages": [ASK, turn("assistant", [{"type": "tool_call", **bare}])]},
    ]
    data = load(tmp_path, rows)
    assert [row.calls for row in data.rows] == [({"type": "function", "function": ROOM},)] * len(rows)
    assert data.warnings == ()


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ({"name": "find_room", "city": "Łódź"}, "a call of find_room holds city"),
        ({"name": "find_room", "dry_run": False}, "a call of find_room holds dry_run"),
        (
            {"name": "find_room", "arguments": {"city": "Łódź"}, "args": {"city": "Gdynia"}},
            "arguments and args",
        ),
    ],
)
def test_a_call_whose_arguments_are_in_doubt_is_refused(
    tmp_path: Path, call: dict[str, Any], why: str
) -> None:
    for row in (
        {"messages": [ASK, called(call)]},
        sharegpt(("human", ASK["content"]), ("function_call", json.dumps(call))),
    ):
        with pytest.raises(DataError, match=rf"rows\.jsonl:1: .*{why}.* arguments"):
            load(tmp_path, [row])


def test_arguments_that_differ_in_a_call_and_beside_it_are_refused(tmp_path: Path) -> None:
    call = {"type": "function", "function": ROOM, "input": {"city": "Gdynia"}}
    with pytest.raises(
        DataError, match=r"rows\.jsonl:1: a call of find_room has arguments and input, which differ"
    ):
        load(tmp_path, [{"messages": [ASK, turn("assistant", "", tool_calls=[call])]}])


def test_calls_in_several_places_of_a_message_are_all_made(tmp_path: Path) -> None:
    part = {"type": "tool_call", "value": CALL_TEXT}
    both = [
        turn("assistant", "", tool_calls=[ROOM], function_call=TIME),
        turn("assistant", [part], tool_calls=[TIME]),
        turn("tool_call", CALL_TEXT, tool_calls=[TIME]),
    ]
    data = load(tmp_path, [{"messages": [ASK, message]} for message in both])
    assert [[call["function"] for call in row.calls] for row in data.rows] == [[ROOM, TIME]] * 3
    assert "in 3 of 3 rows calls in several places of a message are made together" in data.warnings[0]
    same = load(tmp_path, [{"messages": [ASK, turn("assistant", [part], tool_calls=[ROOM])]}])
    assert [call["function"] for call in same.rows[0].calls] == [ROOM]
    assert same.warnings == ()


def test_ids_that_are_numbers_are_texts(tmp_path: Path) -> None:
    calls = [{"id": number, "type": "function", "function": ROOM} for number in (0, 17)]
    results = [turn("tool", "7", tool_call_id=0), turn("tool", "8", tool_call_id=17)]
    talk = [ASK, turn("assistant", "", tool_calls=calls), *results, DONE]
    (row,) = load(tmp_path, [{"messages": talk}]).rows
    assert [call["id"] for call in row.prompt[1]["tool_calls"]] == ["0", "17"]
    assert [message["tool_call_id"] for message in row.prompt[2:]] == ["0", "17"]


def test_ids_of_calls_and_results_are_kept(tmp_path: Path) -> None:
    calls = [{"id": name, "type": "function", "function": ROOM} for name in ("a1", "a2")]
    results = [turn("tool", "7", tool_call_id="a2"), turn("tool", "8", tool_call_id="a1", name="find_room")]
    (row,) = load(
        tmp_path, [{"messages": [ASK, turn("assistant", "", tool_calls=calls), *results, DONE]}]
    ).rows
    assert row.prompt[1]["tool_calls"] == calls
    assert list(row.prompt[2:]) == results[::-1]  # in the order of their calls
    assert row.tools is None


def test_a_result_that_is_an_object_is_written_as_json(tmp_path: Path) -> None:
    found = [{"type": "room", "number": 7}]
    data = load(tmp_path, [{"messages": [ASK, called(ROOM), turn("tool", found), DONE]}])
    assert data.rows[0].prompt[2]["content"] == json.dumps(found)
    assert "content is a list and is written as JSON" in data.warnings[0]


@pytest.mark.parametrize(
    "found",
    [[{"text": "hit", "score": 0.9, "url": "a.example"}, {"text": "hat", "score": 0.1}], ["Oslo", "Ii"], []],
)
def test_a_result_that_is_a_list_of_more_than_texts_is_written_as_json(tmp_path: Path, found: Any) -> None:
    data = load(tmp_path, [{"messages": [ASK, called(ROOM), turn("tool", found), DONE]}])
    assert data.rows[0].prompt[2]["content"] == json.dumps(found)
    assert "content is a list and is written as JSON" in data.warnings[0]


@pytest.mark.parametrize("text", ["find_room(Łódź)", '{"city": "Łódź"}', "", "[1, 2]"])
def test_what_is_no_call_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(
        DataError, match=r"rows\.jsonl:1: a function_call must be JSON with name and arguments"
    ):
        load(tmp_path, [{"messages": [ASK, turn("tool_call", text)]}])


# Tools


TOOL = {
    "name": "find_room",
    "description": "Finds a room.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "nights": {"default": None}}},
}
WRAPPED = {"type": "function", "function": TOOL}


@pytest.mark.parametrize(
    "tools",
    [
        [TOOL],
        [WRAPPED],
        json.dumps([TOOL]),
        TOOL,
        json.dumps(WRAPPED),
        [json.dumps(TOOL)],
        [{**TOOL, "parameters": json.dumps(TOOL["parameters"])}],
    ],
)
def test_tools_are_the_same_however_they_are_written(tmp_path: Path, tools: Any) -> None:
    data = load(tmp_path, [{"messages": [ASK, DONE], "tools": tools}])
    assert json.loads(data.rows[0].tools) == [WRAPPED]
    assert data.warnings == ()


def test_tables_add_nothing_to_tools_and_calls(tmp_path: Path) -> None:
    """Parquet gives all objects of a column the same keys, and a map is a list of pairs there."""
    other = {
        "name": "clock",
        "description": "The time.",
        "parameters": {"type": "object", "zone": {"type": "string"}},
    }
    first = {
        "name": "find_room",
        "description": "Finds.",
        "parameters": {"type": "object", "city": {"type": "string"}},
    }
    talk = [
        {"role": "user", "content": "When, and a room?", "tool_calls": None},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"function": {"name": "find_room", "arguments": {"city": "Oslo"}}},
                {"function": {"name": "clock", "arguments": {"zone": "CET"}}},
            ],
        },
    ]
    pq.write_table(
        pa.Table.from_pylist([{"messages": talk, "tools": [first, other]}]), tmp_path / "rows.parquet"
    )
    raw = pq.read_table(tmp_path / "rows.parquet").to_pylist()[0]
    assert raw["tools"][0]["parameters"]["zone"] is None  # so the file does add something
    (row,) = converted_rows.load_uncut(DataConfig(train=str(tmp_path / "rows.parquet")), Conversation).rows
    assert [tool["function"] for tool in json.loads(row.tools)] == [first, other]
    assert [call["function"]["arguments"] for call in row.calls] == [{"city": "Oslo"}, {"zone": "CET"}]


@pytest.mark.parametrize("keys", [("from", "value"), ("role", "content")])
def test_arguments_that_are_called_as_a_message_is_get_no_nulls(
    tmp_path: Path, keys: tuple[str, str]
) -> None:
    calls = [{"name": "move", "arguments": dict.fromkeys(keys, "a")}, {"name": "wait", "arguments": {"s": 1}}]
    talk = [{"role": "user", "content": "Go."}, {"role": "assistant", "content": None, "tool_calls": calls}]
    pq.write_table(pa.Table.from_pylist([{"messages": talk}]), tmp_path / "rows.parquet")
    (row,) = converted_rows.load_uncut(DataConfig(train=str(tmp_path / "rows.parquet")), Conversation).rows
    assert [call["function"] for call in row.calls] == calls


def test_a_map_of_a_table_is_an_object(tmp_path: Path) -> None:
    call = pa.struct([("name", pa.string()), ("arguments", pa.map_(pa.string(), pa.string()))])
    message = pa.struct([("role", pa.string()), ("content", pa.string()), ("tool_calls", pa.list_(call))])
    talk = [
        {"role": "user", "content": "A room?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"name": "find_room", "arguments": [("city", "Oslo"), ("floor", None)]},
                {"name": "clock", "arguments": []},
            ],
        },
    ]
    table = pa.table({"messages": pa.array([talk], pa.list_(message))})
    with pa.ipc.new_file(tmp_path / "rows.arrow", table.schema) as writer:
        writer.write_table(table)
    (row,) = converted_rows.load_uncut(DataConfig(train=str(tmp_path / "rows.arrow")), Conversation).rows
    assert [call["function"]["arguments"] for call in row.calls] == [{"city": "Oslo", "floor": None}, {}]


def test_nulls_of_a_table_that_was_written_as_json_are_left_out_and_named(tmp_path: Path) -> None:
    padded = {
        **TOOL,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": None}, "zone": None},
        },
    }
    call = {"name": "find_room", "arguments": {"city": None, "zone": None}}
    data = load(tmp_path, [{"messages": [ASK, called(call)], "tools": [padded]}])
    (row,) = data.rows
    assert json.loads(row.tools)[0]["function"]["parameters"]["properties"] == {"city": {"type": "string"}}
    # The function has a city, so its null may be meant.
    assert row.calls[0]["function"]["arguments"] == {"city": None}
    assert any("nulls in the schema of a tool are left out" in warning for warning in data.warnings)
    assert any("arguments that are null" in warning for warning in data.warnings)


def test_nulls_that_a_table_added_to_nested_arguments_are_left_out(tmp_path: Path) -> None:
    place = {"type": "object", "properties": {"city": {"type": "string"}, "floor": {"type": "integer"}}}
    tool = {
        "name": "move",
        "parameters": {
            "type": "object",
            "properties": {
                "to": place,
                "via": {"type": "array", "items": place},
                "note": {"anyOf": [{"type": "null"}, {"type": "object"}]},
            },
        },
    }
    meant = {"city": "Oslo", "floor": None}
    note = {"any": None}
    padded = {**meant, "s": None}
    call = {"name": "move", "arguments": {"to": padded, "via": [padded], "note": note, "s": None}}
    data = load(tmp_path, [{"messages": [ASK, called(call)], "tools": [tool]}])
    kept = {"to": meant, "via": [meant], "note": note}
    assert data.rows[0].calls[0]["function"]["arguments"] == kept
    assert (
        "arguments that are null and that the called function does not have are left out" in data.warnings[0]
    )


def test_nulls_of_a_function_without_a_schema_are_kept_and_named(tmp_path: Path) -> None:
    call = {"name": "move", "arguments": {"to": {"city": "Oslo", "zone": None}}}
    for tools in ({}, {"tools": [TOOL]}):
        data = load(tmp_path, [{"messages": [ASK, called(call)], **tools}])
        assert data.rows[0].calls[0]["function"] == call
        assert "in 1 of 1 row arguments of a call are null and are kept" in data.warnings[0]


def test_a_message_of_a_table_whose_content_is_null_is_empty(tmp_path: Path) -> None:
    talk = [[ASK, {"role": "assistant", "content": None}], [ASK, DONE]]
    pq.write_table(pa.table({"messages": talk}), tmp_path / "rows.parquet")
    data = converted_rows.load_uncut(DataConfig(train=str(tmp_path / "rows.parquet")), Conversation)
    assert len(data.rows) == 1
    assert "a message, the assistant's, is empty (rows.parquet row 1)" in data.warnings[0]


# Up to the labels


@pytest.mark.parametrize("name", templates.NAMES)
def test_calls_made_together_are_learned_whole_and_their_results_are_not(tmp_path: Path, name: str) -> None:
    tokenizer: Any = make_tokenizer()
    templates.apply(tokenizer, name)
    turns = [
        turn("user", "QUESTION"),
        called(ROOM, text="LOOK"),
        called(TIME),
        *RESULTS,
        turn("assistant", "END"),
    ]
    (row,) = load(tmp_path, [{"messages": turns, "tools": [TOOL, {"name": "clock"}]}]).rows
    examples = SFT().encode(tokenizer, row, 10_000)
    labels = "".join(
        tokenizer.decode([label for label in example.labels if label != IGNORED]) for example in examples
    )
    for part in ("LOOK", "find_room", "clock", "END"):
        assert part in labels
    assert "noon" not in labels
    assert "QUESTION" not in labels
    assert any("noon" in tokenizer.decode(example.input_ids) for example in examples)


def test_anthropics_parts_are_calls_results_and_thoughts(tmp_path: Path) -> None:
    thoughts = {"type": "thinking", "thinking": "Which city?", "signature": "EqQB"}
    call = {"type": "tool_use", "id": "toolu_1", "name": ROOM["name"], "input": ROOM["arguments"]}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "7"}]}
    cached = {"type": "text", "text": "And quickly.", "cache_control": {"type": "ephemeral"}}
    row = {
        "messages": [
            ASK,
            turn("assistant", [thoughts, {"type": "text", "text": "I look."}, call]),
            turn("user", [result, cached]),
            DONE,
        ],
        "tools": [
            {"name": ROOM["name"], "description": "d", "input_schema": {"type": "object", "properties": {}}}
        ],
    }
    data = load(tmp_path, [row])
    (found,) = data.rows
    (ask, answer, told, question) = found.prompt
    assert answer["content"] == "<think>\nWhich city?\n</think>\n\nI look."
    assert answer["tool_calls"] == [{"id": "toolu_1", "type": "function", "function": ROOM}]
    assert (told, question) == (turn("tool", "7", tool_call_id="toolu_1"), turn("user", "And quickly."))
    assert (ask, found.answer) == (ASK, DONE["content"])
    assert json.loads(found.tools)[0]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert data.warnings == ()


def test_what_an_anthropic_result_has_beside_its_text_is_named(tmp_path: Path) -> None:
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "no room", "is_error": True}
    call = {"type": "tool_use", "id": "toolu_1", "name": "find_room", "input": {}}
    row = {"messages": [ASK, turn("assistant", [call]), turn("user", [result]), DONE]}
    data = load(tmp_path, [row])
    assert data.rows[0].prompt[2]["content"] == "no room"
    assert "the key is_error of a message is left aside" in data.warnings[0]
