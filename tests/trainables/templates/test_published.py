"""Templates beside the models' own, as TRL has copies of them: the same text at every point of a conversation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trl

from tests.helpers.template_rules import family_tokenizer
from tests.trainables.templates.test_more_families import THOUGHTS, WORKED
from tests.trainables.templates.test_rules import WORKED_BY_HAND
from tests.trainables.templates.test_templates import RENDERED
from trainables import templates
from trainables.templates import NAMES

COPIES = Path(trl.__file__).parent / "chat_templates"
# Ours, the published one, and arguments that both are given.
PAIRS: list[tuple[str, str, dict[str, Any]]] = [
    ("qwen3.5", "qwen3_5_think", {}),
    ("qwen3.5", "qwen3_5_think", {"enable_thinking": False}),
    ("qwen3.5-nothink", "qwen3_5_nothink", {}),
    ("qwen3.5-nothink", "qwen3_5_nothink", {"enable_thinking": True}),
    ("qwen3.6", "qwen3_6", {}),
    ("qwen3.6", "qwen3_6", {"preserve_thinking": True}),
    ("gpt-oss", "gptoss", {}),
    ("gpt-oss", "gptoss", {"reasoning_effort": "high"}),
    ("glm4.5", "glm4moe", {}),
    ("glm4.5", "glm4moe", {"enable_thinking": False}),
    ("lfm2", "lfm2_v2", {}),
    ("lfm2.5", "lfm2_2_5_v2", {}),
    ("lfm2.5", "lfm2_2_5_v2", {"preserve_thinking": True}),
    ("cohere", "cohere", {}),
    ("gemma4", "gemma4_v5", {}),
    ("gemma4", "gemma4_v5", {"enable_thinking": True}),
]
# What the published template has no place for, or writes for one call alone.
NOT_COMPARED = {
    "cohere": ("called", "called with others", "called after a thought", "called after a text"),
    "gpt-oss": ("called with others",),
    "gemma4": ("called after a text",),  # which it writes behind the results
}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: str, thoughts: str = "", *calls: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"reasoning_content": thoughts, "thinking": thoughts} if thoughts else {}
    return {"role": "assistant", "content": text, **fields, **({"tool_calls": list(calls)} if calls else {})}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "function", "id": f"{name:x<9}", "function": {"name": name, "arguments": arguments}}


def result(text: str, name: str = "weather") -> dict[str, Any]:
    return {"role": "tool", "content": text, "name": name, "tool_call_id": f"{name:x<9}"}


PARAMETERS = {
    "city": {"type": "string", "description": "Where"},
    "days": {"type": "integer", "default": 1},
    "hours": {"type": "array", "items": {"type": "integer"}},
    "unit": {"type": "string", "enum": ["C", "F"]},
    "place": {"type": "object", "properties": {"zip": {"type": "string"}}},
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather <now>",
            "parameters": {"type": "object", "properties": PARAMETERS, "required": ["city"]},
        },
    },
    {
        "type": "function",
        "function": {
            "name": "clock",
            "description": "The time",
            "parameters": {"type": "object", "properties": {}},
        },
    },
]
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = call("weather", city="It's Zürich", days=2, hours=[1, 2], place={"zip": "8001"}, sunny=True)
TALKS: dict[str, list[dict[str, Any]]] = {
    "single": [user("Hi"), answer("Hello")],
    "system and several turns": [SYSTEM, user("Hi"), answer("Hello"), user("2 + 2?"), answer("4")],
    "thoughts": [SYSTEM, user("Hi"), answer("Hello", "Hm."), user("2 + 2?"), answer("4", "Two\nand two.")],
    "called": [
        SYSTEM,
        user("Warm?"),
        answer("", "", CALL),
        result("21"),
        answer("Yes"),
        user("b"),
        answer("c"),
    ],
    "called with others": [
        user("Warm?"),
        answer("", "", CALL, call("clock")),
        result("21"),
        result("noon", "clock"),
        answer("Yes"),
    ],
    "called after a thought": [user("Warm?"), answer("", "Look.", call("weather", city="A")), result("21")],
    "called after a text": [user("Warm?"), answer("I look.", "", call("weather", city="A")), result("21")],
}


@pytest.mark.parametrize(("name", "published", "arguments"), PAIRS)
def test_a_template_writes_what_the_published_one_writes(
    name: str, published: str, arguments: dict[str, Any]
) -> None:
    tokenizer: Any = family_tokenizer(name)
    ours, theirs = tokenizer.chat_template, (COPIES / f"{published}.jinja").read_text(encoding="utf-8")
    for kind, talk in TALKS.items():
        if kind in NOT_COMPARED.get(name, ()):
            continue
        tools = TOOLS if "called" in kind else None
        prompts = [talk[: number + 1] for number, turn in enumerate(talk) if turn["role"] in ("user", "tool")]
        for messages, prompt in [(talk, False), *((messages, True) for messages in prompts)]:
            texts = [
                tokenizer.apply_chat_template(
                    messages,
                    tools=tools,
                    chat_template=template,
                    add_generation_prompt=prompt,
                    tokenize=False,
                    **arguments,
                )
                for template in (ours, theirs)
            ]
            assert texts[0] == texts[1], kind


def test_every_template_is_compared_with_one() -> None:
    compared = (
        {name for name, *_ in PAIRS} | set(RENDERED) | set(WORKED_BY_HAND) | set(WORKED) | set(THOUGHTS)
    )
    assert compared == set(NAMES)


def test_calls_made_together_go_to_the_channel_of_harmony_one_after_the_other() -> None:
    text = templates.render(
        family_tokenizer("gpt-oss"), TALKS["called with others"], TOOLS, add_generation_prompt=False
    )
    assert text.endswith(
        "<|call|><|start|>assistant to=functions.clock<|channel|>commentary json<|message|>{}<|call|>"
        '<|start|>functions.weather to=assistant<|channel|>commentary<|message|>"21"<|end|>'
        '<|start|>functions.clock to=assistant<|channel|>commentary<|message|>"noon"<|end|>'
        "<|start|>assistant<|channel|>final<|message|>Yes<|return|>"
    )


def test_a_text_between_a_thought_and_a_call_is_kept() -> None:
    talk = [user("Warm?"), answer("I look.", "Look.", call("weather", city="A"))]
    for name in ("gpt-oss", "qwen3.5", "glm4.5", "lfm2.5", "gemma4"):
        text = templates.render(family_tokenizer(name), talk, TOOLS, add_generation_prompt=False)
        assert text.index("Look.") < text.index("I look.") < text.rindex("weather")
