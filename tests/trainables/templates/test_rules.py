"""Templates whose published text is not in a package: conversations worked by hand from it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.trainables.templates.test_templates import CHAT, family_tokenizer, rendered

TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": {}}},
    {"type": "function", "function": {"name": "clock", "description": "The time", "parameters": {}}},
]
FUNCTIONS = [tool["function"] for tool in TOOLS]
LISTED = json.dumps(TOOLS)


def call(name: str, identity: str) -> dict[str, Any]:
    return {"type": "function", "id": identity, "function": {"name": name, "arguments": {"city": "Zürich"}}}


# As mistral-common 1.13 writes it for versions 3 and 7 with a Tekken tokenizer, but for the place of the system prompt
# and of the tools, which it moves to the last question.
TOLD = [
    CHAT[0],
    {"role": "user", "content": "Warm?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [call("weather", "abcdefghi"), call("clock", "jklmnopqr")],
    },
    {"role": "tool", "name": "weather", "content": "21", "tool_call_id": "abcdefghi"},
    {"role": "tool", "name": "clock", "content": "noon", "tool_call_id": "jklmnopqr"},
    {"role": "assistant", "content": "Yes"},
]
WEATHER = '{"name": "weather", "arguments": {"city": "Zürich"}'
CLOCK = '{"name": "clock", "arguments": {"city": "Zürich"}'
MISTRAL_CALLS = f'[TOOL_CALLS][{WEATHER}, "id": "abcdefghi"}}, {CLOCK}, "id": "jklmnopqr"}}]</s>'
GRANITE = "<|start_of_role|>{role}<|end_of_role|>{text}<|end_of_text|>\n"
GRANITE_CHAT = "".join(GRANITE.format(role=turn["role"], text=turn["content"]) for turn in CHAT)


def granite(*turns: tuple[str, str]) -> str:
    return "".join(GRANITE.format(role=role, text=text) for role, text in turns)


GRANITE_TOOLS = (
    "Be brief.\n\nYou are a helpful assistant with access to the following tools. You may call one or more tools to "
    "assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n"
    f"<tools>\n{json.dumps(TOOLS[0])}\n{json.dumps(TOOLS[1])}\n</tools>\n\nFor each tool call, return a json object "
    "with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>. If a tool does not exist in the '
    "provided list of tools, notify the user that you do not have the ability to fulfill the request."
)
GLM_TOOLS = "".join(
    f"\n\n## {function['name']}\n\n{json.dumps(function, indent=4)}\n"
    "在调用上述函数时，请使用 Json 格式表示调用的参数。"
    for function in FUNCTIONS
)
WORKED_BY_HAND = {
    "mistral-nemo": (
        "<s>[INST]Be brief.\n\nHi[/INST]Hello</s>[INST]2 + 2?[/INST]4</s>",
        f"<s>[AVAILABLE_TOOLS]{LISTED}[/AVAILABLE_TOOLS][INST]Be brief.\n\nWarm?[/INST]{MISTRAL_CALLS}"
        '[TOOL_RESULTS]{"content": 21, "call_id": "abcdefghi"}[/TOOL_RESULTS]'
        '[TOOL_RESULTS]{"content": noon, "call_id": "jklmnopqr"}[/TOOL_RESULTS]Yes</s>',
    ),
    "mistral-small": (
        "<s>[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][INST]Hi[/INST]Hello</s>[INST]2 + 2?[/INST]4</s>",
        f"<s>[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][AVAILABLE_TOOLS]{LISTED}[/AVAILABLE_TOOLS]"
        f"[INST]Warm?[/INST]{MISTRAL_CALLS}[TOOL_RESULTS]abcdefghi[TOOL_CONTENT]21[/TOOL_RESULTS]"
        "[TOOL_RESULTS]jklmnopqr[TOOL_CONTENT]noon[/TOOL_RESULTS]Yes</s>",
    ),
    "granite3": (
        GRANITE_CHAT,
        granite(
            ("available_tools", "\n" + "\n\n".join(json.dumps(tool, indent=4) for tool in TOOLS)),
            ("system", "Be brief."),
            ("user", "Warm?"),
            ("assistant", f"<|tool_call|>[{WEATHER}}}, {CLOCK}}}]"),
            ("tool_response", "21"),
            ("tool_response", "noon"),
            ("assistant", "Yes"),
        ),
    ),
    "granite4": (
        GRANITE_CHAT,
        granite(
            ("system", GRANITE_TOOLS),
            ("user", "Warm?"),
            (
                "assistant",
                f"<tool_call>\n{WEATHER}}}\n</tool_call>\n<tool_call>\n{CLOCK}}}\n</tool_call>",
            ),
            (
                "user",
                "\n<tool_response>\n21\n</tool_response>\n<tool_response>\nnoon\n</tool_response>",
            ),
            ("assistant", "Yes"),
        ),
    ),
    "glm4": (
        "[gMASK]<sop><|system|>\nBe brief.<|user|>\nHi<|assistant|>\nHello<|user|>\n2 + 2?<|assistant|>\n4",
        "[gMASK]<sop><|system|>\n你是一个名为 ChatGLM 的人工智能助手。你是基于智谱AI训练的语言模型 GLM-4 模型开发的，"
        f"你的任务是针对用户的问题和要求提供适当的答复和支持。\n\n# 可用工具{GLM_TOOLS}<|system|>\nBe brief."
        '<|user|>\nWarm?<|assistant|>weather\n{"city": "Zürich"}<|assistant|>clock\n{"city": "Zürich"}'
        "<|observation|>\n21<|observation|>\nnoon<|assistant|>\nYes",
    ),
}


@pytest.mark.parametrize("name", WORKED_BY_HAND)
def test_a_template_writes_what_its_rules_give(name: str) -> None:
    tokenizer = family_tokenizer(name)
    assert (rendered(tokenizer, CHAT), rendered(tokenizer, TOLD, TOOLS)) == WORKED_BY_HAND[name]
    for turns, tools in ((CHAT, None), (TOLD, TOOLS)):
        for number, turn in enumerate(turns):
            if turn["role"] == "assistant":
                prompt = rendered(tokenizer, turns[:number], tools, prompt=True)
                assert rendered(tokenizer, turns[: number + 1], tools).startswith(prompt)
