"""Templates whose published text is not in a package: conversations worked by hand from it."""

from __future__ import annotations

import json

import pytest

from tests.helpers.template_rules import (
    ACTIONS,
    CHAT,
    FUNCTIONS,
    KIMI,
    LISTED,
    THOUGHT,
    TOLD,
    TOOLS,
    family_tokenizer,
    rendered,
    require_rules,
    require_thoughts,
    turns_of,
)
from trainables import templates

# As mistral-common 1.13 writes it for versions 3 and 7 with a Tekken tokenizer, but for the place of the system prompt
# and of the tools, which it moves to the last question.
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

DEEPSEEK_TOOLS = (
    "## Tools\nYou have access to the following tools:\n\n### weather\nDescription: The weather\n\nParameters: {}\n"
    "\n### clock\nDescription: The time\n\nParameters: {}\n\nIMPORTANT: ALWAYS adhere to this exact format for tool "
    "use:\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>tool_call_name<｜tool▁sep｜>tool_call_arguments<｜tool▁call▁end｜>"
    "{{additional_tool_calls}}<｜tool▁calls▁end｜>\n\nWhere:\n\n- `tool_call_name` must be an exact match to one of "
    "the available tools\n- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters "
    "Schema\n- For multiple tool calls, chain them directly without separators or spaces\n"
)
MINIMAX_TOOLS = (
    "# Tools\nYou may call one or more tools to assist with the user query.\nHere are the tools available in "
    f"JSONSchema format:\n\n<tools>\n<tool>{json.dumps(FUNCTIONS[0])}</tool>\n<tool>{json.dumps(FUNCTIONS[1])}</tool>"
    "\n</tools>\n\nWhen making tool calls, use XML format to invoke tools and pass parameters:\n\n"
    '<minimax:tool_call>\n<invoke name="tool-name-1">\n<parameter name="param-key-1">param-value-1</parameter>\n'
    '<parameter name="param-key-2">param-value-2</parameter>\n...\n</invoke>\n</minimax:tool_call>'
)
SEED_TOOLS = (
    '\n\nFunction:\ndef weather():\n    """\n    The weather\n\n\n\n    """\n\nFunction:\ndef clock():\n    """\n'
    '    The time\n\n\n\n    """\n工具调用请遵循如下格式:\n<seed:tool_call>\n<function=example_function_name>\n'
    "<parameter=example_parameter_1>value_1</parameter>\n<parameter=example_parameter_2>This is the value for the "
    "second parameter\nthat can span\nmultiple lines</parameter>\n</function>\n</seed:tool_call>\n"
)
SEED = "<seed:bos>{role}\n{text}<seed:eos>"
PHI = "<|{role}|>{text}<|end|>"


THOUGHTLESS = "<think></think>"
WORKED_BY_HAND |= {
    "deepseek3.1": (
        "<s>Be brief.<｜User｜>Hi<｜Assistant｜></think>Hello</s><｜User｜>2 + 2?<｜Assistant｜></think>4</s>",
        f"<s>Be brief.\n\n{DEEPSEEK_TOOLS}<｜User｜>Warm?<｜Assistant｜></think><｜tool▁calls▁begin｜>"
        '<｜tool▁call▁begin｜>weather<｜tool▁sep｜>{"city": "Zürich"}<｜tool▁call▁end｜>'
        '<｜tool▁call▁begin｜>clock<｜tool▁sep｜>{"city": "Zürich"}<｜tool▁call▁end｜><｜tool▁calls▁end｜></s>'
        "<｜tool▁output▁begin｜>21<｜tool▁output▁end｜><｜tool▁output▁begin｜>noon<｜tool▁output▁end｜>Yes</s>",
    ),
    "phi4-mini": (
        turns_of(PHI, *((turn["role"], turn["content"]) for turn in CHAT)),
        turns_of(
            PHI,
            ("system", f"Be brief.<|tool|>{json.dumps(FUNCTIONS)}<|/tool|>"),
            ("user", "Warm?"),
            (
                "assistant",
                f"<|tool_call|>{WEATHER}}}<|/tool_call|><|tool_call|>{CLOCK}}}<|/tool_call|>",
            ),
            ("tool_response", "21"),
            ("tool_response", "noon"),
            ("assistant", "Yes"),
        ),
    ),
    "kimi-k2-thinking": (
        turns_of(
            KIMI,
            ("system", "Be brief."),
            ("user", "Hi"),
            ("assistant", f"{THOUGHTLESS}Hello"),
            ("user", "2 + 2?"),
            ("assistant", f"{THOUGHTLESS}4"),
        ),
        turns_of(
            KIMI,
            ("tool_declare", LISTED),
            ("system", "Be brief."),
            ("user", "Warm?"),
            (
                "assistant",
                f"{THOUGHTLESS}<|tool_calls_section_begin|><|tool_call_begin|>abcdefghi<|tool_call_argument_begin|>"
                '{"city": "Zürich"}<|tool_call_end|><|tool_call_begin|>jklmnopqr<|tool_call_argument_begin|>'
                '{"city": "Zürich"}<|tool_call_end|><|tool_calls_section_end|>',
            ),
            ("weather", "## Return of abcdefghi\n21"),
            ("clock", "## Return of jklmnopqr\nnoon"),
            ("assistant", f"{THOUGHTLESS}Yes"),
        ),
    ),
    "minimax-m2": (
        "]~!b[]~b]system\nBe brief.[e~[\n]~b]user\nHi[e~[\n]~b]ai\nHello[e~[\n]~b]user\n2 + 2?[e~[\n]~b]ai\n4[e~[\n",
        f"]~!b[]~b]system\nBe brief.\n\n{MINIMAX_TOOLS}[e~[\n]~b]user\nWarm?[e~[\n]~b]ai\n\n<minimax:tool_call>\n"
        '<invoke name="weather">\n<parameter name="city">Zürich</parameter>\n</invoke>\n<invoke name="clock">\n'
        '<parameter name="city">Zürich</parameter>\n</invoke>\n</minimax:tool_call>[e~[\n]~b]tool\n'
        "<response>21</response>\n<response>noon</response>[e~[\n]~b]ai\nYes[e~[\n",
    ),
    "seed-oss": (
        turns_of(SEED, *((turn["role"], turn["content"]) for turn in CHAT)),
        turns_of(
            SEED,
            ("system", f"Be brief.{SEED_TOOLS}"),
            ("user", "Warm?"),
            (
                "assistant",
                "<seed:tool_call>\n<function=weather>\n<parameter=city>Zürich</parameter>\n</function>\n"
                "</seed:tool_call>\n<seed:tool_call>\n<function=clock>\n<parameter=city>Zürich</parameter>\n</function>\n"
                "</seed:tool_call>",
            ),
            ("tool", "21"),
            ("tool", "noon"),
            ("assistant", "Yes"),
        ),
    ),
}
NO_THOUGHTS = "<think>\n\n</think>\n\n"
EXAONE = "[|{role}|]\n{text}[|endofturn|]\n"
EXAONE_TOOLS = (
    "# Available Tools\nYou can use none, one, or multiple of the following tools by calling them as functions to help "
    "with the user’s query.\nHere are the tools available to you in JSON format within <tool> and </tool> tags:\n"
    f"<tool>{json.dumps(TOOLS[0])}</tool>\n<tool>{json.dumps(TOOLS[1])}</tool>\n\nFor each function call you want to "
    "make, return a JSON object with function name and arguments within <tool_call> and </tool_call> tags, like:\n"
    '<tool_call>{"name": function_1_name, "arguments": {argument_1_name: argument_1_value, argument_2_name: '
    'argument_2_value}}</tool_call>\n<tool_call>{"name": function_2_name, "arguments": {...}}</tool_call>\n...\nNote '
    "that if no argument name is specified for a tool, you can just print the argument value directly, without the "
    "argument name or JSON formatting."
)
WORKED_BY_HAND |= {
    "ernie4.5": (
        "<|begin_of_sentence|>Be brief.\nUser: Hi\nAssistant: Hello<|end_of_sentence|>User: 2 + 2?\n"
        "Assistant: 4<|end_of_sentence|>",
        f"<|begin_of_sentence|>Be brief.\n\n{ACTIONS}\nUser: Warm?\nAssistant: Action: weather\n"
        'Action Input: {"city": "Zürich"}\nAction: clock\nAction Input: {"city": "Zürich"}<|end_of_sentence|>'
        "User: 21\nUser: noon\nAssistant: Yes<|end_of_sentence|>",
    ),
    "exaone4": (
        turns_of(
            EXAONE,
            ("system", "Be brief."),
            ("user", "Hi"),
            ("assistant", f"{NO_THOUGHTS}Hello"),
            ("user", "2 + 2?"),
            ("assistant", f"{NO_THOUGHTS}4"),
        ),
        turns_of(
            EXAONE,
            ("system", f"Be brief.\n\n{EXAONE_TOOLS}"),
            ("user", "Warm?"),
            (
                "assistant",
                f"{NO_THOUGHTS}<tool_call>{WEATHER}}}</tool_call>\n<tool_call>{CLOCK}}}</tool_call>",
            ),
            (
                "tool",
                '<tool_result>{"result": "21"}</tool_result>\n<tool_result>{"result": "noon"}</tool_result>',
            ),
            ("assistant", f"{NO_THOUGHTS}Yes"),
        ),
    ),
}
# The prompt of a question and the rest of an answer with thoughts.
THOUGHTS = {
    "kimi-k2-thinking": ("assistant<|im_middle|>", "<think>Two.</think>4<|im_end|>"),
    "minimax-m2": ("]~b]ai\n<think>\n", "Two.\n</think>\n\n4[e~[\n"),
    "seed-oss": ("<seed:bos>assistant\n", "<seed:think>Two.</seed:think>\n4<seed:eos>"),
}


@pytest.mark.parametrize("name", THOUGHTS)
def test_thoughts_follow_the_prompt(name: str) -> None:
    require_thoughts(name, *THOUGHTS[name])


@pytest.mark.parametrize("name", WORKED_BY_HAND)
def test_a_template_writes_what_its_rules_give(name: str) -> None:
    require_rules(name, *WORKED_BY_HAND[name])


def test_exaone_4_shows_the_thoughts_of_the_last_answer_where_it_thinks() -> None:
    tokenizer = family_tokenizer("exaone4")
    templates.apply_settings(tokenizer, {}, {"enable_thinking": True})
    prompt = rendered(tokenizer, CHAT[:2], prompt=True)
    assert prompt.endswith("[|assistant|]\n<think>\n")
    assert rendered(tokenizer, [*CHAT[:2], THOUGHT]) == f"{prompt}Two.\n</think>\n\n4[|endofturn|]\n"


def test_deepseek_3_1_shows_the_thoughts_of_the_last_answer_where_it_thinks() -> None:
    tokenizer = family_tokenizer("deepseek3.1")
    templates.apply_settings(tokenizer, {}, {"thinking": True})
    prompt = rendered(tokenizer, CHAT[:2], prompt=True)
    assert prompt.endswith("<｜Assistant｜><think>")
    assert rendered(tokenizer, [*CHAT[:2], THOUGHT]) == f"{prompt}Two.</think>4</s>"


def test_mistral_nemo_writes_what_mistral_common_writes() -> None:
    mistral = pytest.importorskip("mistral_common.tokens.tokenizers.mistral")
    request = pytest.importorskip("mistral_common.protocol.instruct.request")
    # It puts results that are no JSON between quotes, which Mistral's published templates do not.
    told = [{**turn, "content": "12"} if turn["content"] == "noon" else turn for turn in TOLD[:-1]]
    theirs = mistral.MistralTokenizer.v3(is_tekken=True).encode_chat_completion(
        request.ChatCompletionRequest(messages=told, tools=TOOLS)
    )
    assert theirs.text == rendered(family_tokenizer("mistral-nemo"), told, TOOLS, prompt=True)
