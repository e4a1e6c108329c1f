"""More families whose published text is in no package: conversations worked by hand from it, as in test_rules."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from tests.helpers.template_rules import (
    ACTIONS,
    CHAT,
    FUNCTIONS,
    KIMI,
    LISTED,
    TOLD,
    TOOLS,
    family_tokenizer,
    rendered,
    require_rules,
    require_thoughts,
    turns_of,
)
from trainables import templates
from trainables.data.rows import Conversation
from trainables.stages import SFT

CITY = '{"city": "Zürich"}'
ACTION = f"Action: weather\nAction Input: {CITY}\nAction: clock\nAction Input: {CITY}"
CHATML = "<|im_start|>{role}\n{text}<|im_end|>\n"
TALK = tuple((turn["role"], turn["content"]) for turn in CHAT)
SYSTEM = ("system", "Be brief.")
ENDS = ("user", "Warm?"), ("assistant", "Yes")
HERMES = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function "
    f"signatures within <tools></tools> XML tags:\n<tools>\n{json.dumps(TOOLS[0])}\n{json.dumps(TOOLS[1])}\n</tools>"
    "\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> "
    'XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)
HERMES_CALLS = "\n".join(
    f'<tool_call>\n{{"name": "{name}", "arguments": {CITY}}}\n</tool_call>' for name in ("weather", "clock")
)
OLMO_TOLD = (
    ENDS[0],
    ("assistant", '<function_calls>weather(city="Zürich")\nclock(city="Zürich")</function_calls>'),
    ("environment", "21"),
    ("environment", "noon"),
    ENDS[1],
)
NO_FUNCTIONS = " You do not currently have access to any functions. <functions></functions>"
RESULTS = "<tool_response>\n21\n</tool_response>\n<tool_response>\nnoon\n</tool_response>"


def hermes(tool_role: str) -> str:
    """The conversation with tools in ChatML."""
    return turns_of(
        CHATML,
        ("system", f"Be brief.\n\n{HERMES}"),
        ENDS[0],
        ("assistant", HERMES_CALLS),
        (tool_role, RESULTS),
        ENDS[1],
    )


def date_turn(*lines: str) -> str:
    """SmolLM 3's system turn up to its custom instructions, thinking."""
    return (
        "<|im_start|>system\n## Metadata\n\nKnowledge Cutoff Date: June 2025\nToday Date: "
        f"{datetime.now():%d %B %Y}\nReasoning Mode: /think\n\n## Custom Instructions\n\nBe brief.\n\n"
        + "".join(lines)
    )


MISTRAL = "<s>[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT]"
MISTRAL_CHAT = MISTRAL + "[INST]Hi[/INST]Hello</s>[INST]2 + 2?[/INST]4</s>"
MISTRAL_TOOLS = f"{MISTRAL}[AVAILABLE_TOOLS]{LISTED}[/AVAILABLE_TOOLS][INST]Warm?[/INST]"
GLM = "[gMASK]<sop><|system|>{}<|user|>{}<|assistant|>{}"
GLM_TOOLS = (
    "\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function "
    f"signatures within <tools></tools> XML tags:\n<tools>\n{json.dumps(TOOLS[0])}\n{json.dumps(TOOLS[1])}\n</tools>"
    "\n\nFor each function call, output the function name and arguments within the following XML format:\n<tool_call>"
    "{function-name}<arg_key>{arg-key-1}</arg_key><arg_value>{arg-value-1}</arg_value><arg_key>{arg-key-2}</arg_key>"
    "<arg_value>{arg-value-2}</arg_value>...</tool_call><|system|>Be brief."
)
GLM_CALL = "<tool_call>{}<arg_key>city</arg_key><arg_value>Zürich</arg_value></tool_call>"
MIMO = "<|im_start|>{role}\n{text}<|im_end|>"
MIMO_TOOLS = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou have access to the following "
    "functions:\n\n<tools>\n<function>\n<name>weather</name>\n<description>The weather</description>\n<parameters>\n"
    "</parameters>\n</function>\n<function>\n<name>clock</name>\n<description>The time</description>\n<parameters>\n"
    "</parameters>\n</function>\n</tools>\n\nFor each function call, output the function name and arguments in the "
    "following format:\n<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>value_1"
    "</parameter>\n<parameter=example_parameter_2>This is the value for the second parameter\nthat can span\nmultiple "
    "lines</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\n- Function calls MUST follow the specified format: "
    "an inner <function=...></function> block must be nested within <tool_call></tool_call> XML tags\n- DO NOT use "
    "function calls inside <think></think> tags.\n- The value enclosed between parameter tags is preserved exactly "
    "as-is, including newlines and spaces.\n</IMPORTANT>"
)
MIMO_CALL = "<tool_call>\n<function={}>\n<parameter=city>Zürich</parameter>\n</function>\n</tool_call>"
ERNIE = "<|im_start|>{role}\n{text}<|im_end|>\n\n"
THINKS = "<global_setting>\nthink_mode=True\n</global_setting>"
HY_END = "<｜hy_Assistant｜>{}<｜hy_place▁holder▁no▁2｜>"
HY = "<｜hy_begin▁of▁sentence｜>{}<｜hy_place▁holder▁no▁3｜><｜hy_User｜>{}" + HY_END
WORKED: dict[str, tuple[str, str]] = {
    "mistral-small-3.2": (
        MISTRAL_CHAT,
        f"{MISTRAL_TOOLS}[TOOL_CALLS]weather[CALL_ID]abcdefghi[ARGS]{CITY}[TOOL_CALLS]clock[CALL_ID]jklmnopqr[ARGS]{CITY}"
        "</s>[TOOL_RESULTS]abcdefghi[TOOL_CONTENT]21[/TOOL_RESULTS][TOOL_RESULTS]jklmnopqr[TOOL_CONTENT]noon"
        "[/TOOL_RESULTS]Yes</s>",
    ),
    "ministral3": (
        MISTRAL_CHAT,
        f"{MISTRAL_TOOLS}[TOOL_CALLS]weather[ARGS]{CITY}[TOOL_CALLS]clock[ARGS]{CITY}</s>"
        "[TOOL_RESULTS]21[/TOOL_RESULTS][TOOL_RESULTS]noon[/TOOL_RESULTS]Yes</s>",
    ),
    "kimi-k2": (
        turns_of(KIMI, *TALK),
        turns_of(
            KIMI,
            ("tool_declare", LISTED),
            SYSTEM,
            ENDS[0],
            (
                "assistant",
                f"<|tool_calls_section_begin|><|tool_call_begin|>abcdefghi<|tool_call_argument_begin|>{CITY}"
                f"<|tool_call_end|><|tool_call_begin|>jklmnopqr<|tool_call_argument_begin|>{CITY}<|tool_call_end|>"
                "<|tool_calls_section_end|>",
            ),
            ("weather", "## Return of abcdefghi\n21"),
            ("clock", "## Return of jklmnopqr\nnoon"),
            ENDS[1],
        ),
    ),
    "glm4.7": (
        GLM.format("Be brief.", "Hi", "</think>Hello<|user|>2 + 2?<|assistant|></think>4"),
        GLM.format(GLM_TOOLS, "Warm?", f"</think>{GLM_CALL.format('weather')}{GLM_CALL.format('clock')}")
        + "<|observation|><tool_response>21</tool_response><tool_response>noon</tool_response><|assistant|></think>Yes",
    ),
    "smollm3": (
        date_turn() + turns_of(CHATML, *TALK[1:]),
        date_turn(
            "### Tools\n\nYou may call one or more functions to assist with the user query.\nYou are provided with "
            f"function signatures within <tools></tools> XML tags:\n\n<tools>\n{TOOLS[0]}\n{TOOLS[1]}\n</tools>",
            HERMES[HERMES.index("\n\nFor each function call") :],
            "\n\n<|im_end|>\n",
        )
        + turns_of(CHATML, ENDS[0], ("assistant", HERMES_CALLS), ("user", "21"), ("user", "noon"), ENDS[1]),
    ),
    "olmo2": (
        "<s><|system|>\nBe brief.\n<|user|>\nHi\n<|assistant|>\nHello</s>\n<|user|>\n2 + 2?\n<|assistant|>\n4</s>",
        f"<s><|system|>\nBe brief.\n\n{ACTIONS}\n<|user|>\nWarm?\n<|assistant|>\n{ACTION}</s>\n<|user|>\n21\n"
        "<|user|>\nnoon\n<|assistant|>\nYes</s>",
    ),
    "olmo3": (
        turns_of(CHATML, *TALK),
        turns_of(
            CHATML,
            ("system", f"Be brief.<functions>{LISTED}</functions>"),
            *OLMO_TOLD,
        ),
    ),
    "olmo3-think": (
        turns_of(CHATML, ("system", f"Be brief.{NO_FUNCTIONS}"), *TALK[1:]),
        turns_of(CHATML, ("system", f"Be brief. <functions>{LISTED}</functions>"), *OLMO_TOLD),
    ),
    **dict.fromkeys(("falcon-h1", "minicpm4"), ("<s>" + turns_of(CHATML, *TALK), "<s>" + hermes("tool"))),
    "mimo": (turns_of(CHATML, *TALK), hermes("user")),
    "mimo-v2": (
        turns_of(MIMO, *((role, "<think></think>" * (role == "assistant") + text) for role, text in TALK)),
        turns_of(
            MIMO,
            ("system", f"Be brief.\n\n{MIMO_TOOLS}"),
            ENDS[0],
            ("assistant", f"<think></think>{MIMO_CALL.format('weather')}{MIMO_CALL.format('clock')}"),
            ("tool", f"{RESULTS}\n"),
            ("assistant", "<think></think>Yes"),
        ),
    ),
    "hunyuan": (
        "<|startoftext|>Be brief.<|extra_4|>Hi<|extra_0|>Hello<|eos|>2 + 2?<|extra_0|>4<|eos|>",
        f"<|startoftext|>Be brief.\n\n{ACTIONS}<|extra_4|>Warm?<|extra_0|>{ACTION}<|eos|>21<|extra_0|>noon<|extra_0|>"
        "Yes<|eos|>",
    ),
    "hunyuan-dense": (
        HY.format("Be brief.", "Hi", "Hello") + "<｜hy_User｜>2 + 2?" + HY_END.format("4"),
        HY.format(f"Be brief.\n\n{ACTIONS}", "Warm?", ACTION)
        + "<｜hy_User｜>21<｜hy_User｜>noon"
        + HY_END.format("Yes"),
    ),
    "minicpm": (
        "<s>Be brief.<用户>Hi<AI>Hello</s><用户>2 + 2?<AI>4</s>",
        f"<s>Be brief.\n\n{ACTIONS}<用户>Warm?<AI>{ACTION}</s><用户>21<AI><用户>noon<AI>Yes</s>",
    ),
    "baichuan2": (
        "Be brief.<reserved_106>Hi<reserved_107>Hello</s><reserved_106>2 + 2?<reserved_107>4</s>",
        f"Be brief.\n\n{ACTIONS}<reserved_106>Warm?<reserved_107>{ACTION}</s><reserved_106>21<reserved_107>"
        "<reserved_106>noon<reserved_107>Yes</s>",
    ),
    "chatglm3": (
        "[gMASK]sop<|system|>\n Be brief.<|user|>\n Hi<|assistant|>\n Hello<|user|>\n 2 + 2?<|assistant|>\n 4",
        "[gMASK]sop<|system|>\n Be brief.\nAnswer the following questions as best as you can. You have access to the "
        f"following tools:\n{json.dumps(FUNCTIONS, indent=4)}<|user|>\n Warm?"
        + "".join(
            f"<|assistant|>{name}\n ```python\ntool_call(city='Zürich')\n```" for name in ("weather", "clock")
        )
        + "<|observation|>\n 21<|observation|>\n noon<|assistant|>\n Yes",
    ),
    "internlm3": (
        "<s>" + turns_of(CHATML, *TALK),
        "<s>"
        + turns_of(
            CHATML,
            SYSTEM,
            ("system name=<|plugin|>", json.dumps(FUNCTIONS, indent=4) + "\n"),
            ENDS[0],
            (
                "assistant",
                "".join(
                    f'<|action_start|><|plugin|>\n{{"name": "{name}", "parameters": {CITY}}}<|action_end|>'
                    for name in ("weather", "clock")
                ),
            ),
            ("environment name=<|plugin|>", "21"),
            ("environment name=<|plugin|>", "noon"),
            ENDS[1],
        ),
    ),
    "ernie4.5-thinking": (
        turns_of(
            ERNIE,
            ("system", f"<system_setting>\nBe brief.\n</system_setting>\n\n{THINKS}"),
            ("user", "Hi"),
            ("assistant", "<response>\nHello\n</response>\n"),
            ("user", "2 + 2?"),
            ("assistant", "<response>\n4\n</response>\n"),
        ),
        turns_of(
            ERNIE,
            ("system", f"<system_setting>\nBe brief.\n\n{ACTIONS}\n</system_setting>\n\n{THINKS}"),
            ENDS[0],
            ("assistant", f"<response>\n{ACTION}\n</response>\n"),
            ("tool", "21"),
            ("tool", "noon"),
            ("assistant", "<response>\nYes\n</response>\n"),
        ),
    ),
}
# The prompt of a question and the rest of an answer with thoughts.
THOUGHTS = {
    "ministral3": ("[INST]Hi[/INST]", "[THINK]Two.[/THINK]4</s>"),
    "glm4.7": ("<|assistant|><think>", "Two.</think>4"),
    "mimo": ("<|im_start|>assistant\n", "<think>\nTwo.\n</think>\n\n4<|im_end|>\n"),
    "mimo-v2": ("<|im_start|>assistant\n", "<think>Two.</think>4<|im_end|>"),
    "ernie4.5-thinking": (
        "<|im_start|>assistant\n<think>\n",
        "Two.\n</think>\n\n<response>\n4\n</response>\n<|im_end|>\n\n",
    ),
    "command-r7b": (
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        "<|START_THINKING|>Two.<|END_THINKING|><|START_RESPONSE|>4<|END_RESPONSE|><|END_OF_TURN_TOKEN|>",
    ),
}


@pytest.mark.parametrize("name", THOUGHTS)
def test_thoughts_follow_the_prompt(name: str) -> None:
    require_thoughts(name, *THOUGHTS[name])


@pytest.mark.parametrize("name", WORKED)
def test_a_template_writes_what_its_rules_give(name: str) -> None:
    require_rules(name, *WORKED[name])


@pytest.mark.parametrize(("name", "end"), [("glm4.7", "</think>"), ("mimo-v2", "<think></think>")])
def test_with_thinking_off_the_prompt_ends_the_thoughts(name: str, end: str) -> None:
    tokenizer = family_tokenizer(name)
    templates.apply_settings(tokenizer, {}, {"enable_thinking": False})
    prompt = rendered(tokenizer, CHAT[:2], prompt=True)
    assert prompt.endswith(f"assistant|>{end}" if name == "glm4.7" else f"assistant\n{end}")
    assert rendered(tokenizer, CHAT[:3]).startswith(f"{prompt}Hello")


def test_smollm_3_opens_every_answer_with_an_empty_block_where_it_does_not_think() -> None:
    tokenizer = family_tokenizer("smollm3")
    text = rendered(
        tokenizer, [{"role": "system", "content": "Be brief. /no_think"}, *CHAT[1:3]], prompt=True
    )
    assert "Reasoning Mode: /no_think\n\n## Custom Instructions\n\nBe brief.\n\n<|im_start|>user" in text
    empty = "<|im_start|>assistant\n<think>\n\n</think>\n"
    assert text.endswith(f"{empty}Hello<|im_end|>\n{empty}")


def test_command_r7b_numbers_calls_through_the_conversation() -> None:
    tokenizer = family_tokenizer("command-r7b")
    turn, end = "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"
    again: list[Any] = [*TOLD[:-1], *TOLD[1:-1]]
    text = rendered(tokenizer, again, TOOLS, prompt=True)
    assert text.startswith(f"<s>{turn}<|SYSTEM_TOKEN|># System Preamble\nYou are in contextual safety mode.")
    assert (
        '```json\n[\n    {"name": "weather", "description": "The weather", "parameters": {}, "responses": null},\n'
        in text
    )
    talk = text.partition("system preamble instructions.\n")[2]
    written = f"Be brief.{end}"
    for first in (0, 2):
        calls = ",\n".join(
            f'    {{"tool_call_id": "{first + n}", "tool_name": "{name}", "parameters": {CITY}}}'
            for n, name in enumerate(("weather", "clock"))
        )
        results = ",\n".join(
            f'    {{\n        "tool_call_id": "{first + n}",\n        "results": {{\n            "0": "{told}"\n'
            '        },\n        "is_error": null\n    }'
            for n, told in enumerate(("21", "noon"))
        )
        written += (
            f"{turn}<|USER_TOKEN|>Warm?{end}{turn}<|CHATBOT_TOKEN|><|START_THINKING|><|END_THINKING|><|START_ACTION|>[\n"
            f"{calls}\n]<|END_ACTION|>{end}{turn}<|SYSTEM_TOKEN|><|START_TOOL_RESULT|>[\n{results}\n]<|END_TOOL_RESULT|>{end}"
        )
    assert talk == f"{written}{turn}<|CHATBOT_TOKEN|>"


def test_a_template_that_ends_the_thoughts_of_an_answer_without_any_does_so_once() -> None:
    """GLM 4.7's prompt opens a thought, and its answers without one begin with the end of it."""
    tokenizer = family_tokenizer("glm4.7")
    (example,) = SFT().encode(tokenizer, Conversation(({"role": "user", "content": "Q"},), "Hello"), 64)
    assert tokenizer.decode(example.input_ids) == "[gMASK]<sop><|user|>Q<|assistant|><think></think>Hello</s>"


def test_the_thoughts_of_olmo_3_are_text_behind_the_opening_that_the_prompt_has() -> None:
    tokenizer = family_tokenizer("olmo3-think")
    begins = "You are OLMo, a helpful function-calling AI assistant built by Ai2."
    rest = f"allenai.{NO_FUNCTIONS}<|im_end|>\n"
    question = ({"role": "user", "content": "Hi"},)
    for answer, learned in (
        ("<think>Two.</think>4", "Two.</think>4<|im_end|>\n"),
        ("4", "</think>\n\n4<|im_end|>\n"),
    ):
        (example,) = SFT().encode(tokenizer, Conversation(question, answer), 400)
        assert tokenizer.decode(example.answer) == learned
        prompt = tokenizer.decode(example.prompt)
        assert prompt.startswith(f"<|im_start|>system\n{begins}")
        assert prompt.endswith(f"{rest}<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>")
