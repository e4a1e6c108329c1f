"""Requests of the chat protocol: what a line asks for, and what is said of one that asks for nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sweeps.console.chat_protocol.requests import Ask, Load, Stop, Unload, WrongRequest, parse_request

USER = {"role": "user", "content": "2 + 2?"}


def ask(**keys: Any) -> Ask:
    request = parse_request(json.dumps({"id": 1, **keys}))
    assert isinstance(request, Ask)
    return request


def test_a_line_is_what_its_key_says() -> None:
    assert parse_request('{"stop": "a"}') == Stop(stop="a")
    assert parse_request('{"load": "runs/x:lora"}') == Load(load="runs/x:lora")
    assert parse_request('{"unload": "tiny"}') == Unload(unload="tiny")
    assert ask(message="hi", stop=["\n"]).sampling() == {"stop": ("\n",)}


def test_a_message_follows_its_history_behind_the_system_message() -> None:
    history = [USER, {"role": "assistant", "content": "4"}]
    asked = ask(message="and 3 + 3?", history=history, system="be brief")
    assert [each["role"] for each in asked.conversation("ignored")] == ["system", "user", "assistant", "user"]
    assert asked.conversation(None)[0]["content"] == "be brief"
    # Messages that begin with a system message keep it.
    own = {"role": "system", "content": "be long"}
    assert ask(messages=[own, USER]).conversation("be brief") == [own, USER]


@pytest.mark.parametrize(
    ("line", "message", "request_id"),
    [
        ("hello", "not a line of JSON", None),
        ("[1]", "a request is an object", None),
        ('{"prompt": "a"}', "give one of id, stop, load, unload", None),
        ('{"id": 7}', "give messages, or a message", 7),
        ('{"id": 7, "messages": []}', "messages is empty", 7),
        ('{"id": 7, "messages": [{"role": "user"}]}', "a message is", 7),
        ('{"id": "x", "message": "a", "temprature": 1}', "temprature: Extra inputs", "x"),
        ('{"id": "x", "message": "a", "seed": "1"}', "seed: Input should be a valid integer", "x"),
    ],
)
def test_a_line_that_is_no_request_is_refused_with_the_id_that_it_has(
    line: str, message: str, request_id: str | int | None
) -> None:
    with pytest.raises(WrongRequest, match=message) as caught:
        parse_request(line)
    assert caught.value.request_id == request_id
