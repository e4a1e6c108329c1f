"""LLaMA-Factory renders conversations as we do, except for the differences that are listed here.

Its strings are worked by hand from the rules in its ``data/template.py`` (commit 007303c) and ``data/tool_utils.py``
(0f14241), with <s> and </s> as the tokenizer's first and last token.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.helpers.template_rules import CHAT, family_tokenizer, rendered
from tests.trainables.templates.test_templates import (
    ACTION,
    DEEPSEEK_CALL,
    DEEPSEEK_RESULT,
    HERMES_CALL,
    HERMES_RESULT,
    JSON_CALL,
    LISTED,
    RESULT,
    TOOL_CHAT,
    TOOLS,
)
from trainables.templates import ALIASES

TOLD: list[dict[str, Any]] = [CHAT[0], *TOOL_CHAT]
TOOL = json.dumps(TOOLS[0])
HERMES_LISTED = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    f"You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n{TOOL}\n</tools>\n\n"
    "For each function call, return a json object with function name and arguments within <tool_call></tool_call> "
    'XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)
DATES = "Cutting Knowledge Date: December 2023\nToday Date: 23 Nov 2026\n\n"
LLAMA_LISTED = (
    "You have access to the following functions. To call a function, please respond with JSON for a function call. "
    'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}. '
    f"Do not use variables.\n\n{json.dumps(TOOLS[0], indent=4)}\n\n"
)
MISTRAL_LISTED = f"[AVAILABLE_TOOLS] {json.dumps(TOOLS)}[/AVAILABLE_TOOLS]"
MISTRAL_CALL = '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Zürich"}}]'
DEEPSEEK_LISTED = (
    "## Tools\n\n### Function\n\nYou have the following functions available:\n\n"
    f"- `weather`:\n```json\n{TOOL}\n```\n\nTo call a function, answer in this format:\n"
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>FUNCTION_NAME\n"
    '```json\n{"parameter": "value"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
)
NO_THOUGHTS = "<think>\n\n</think>\n\n"
CHATML = "<|im_start|>{role}\n{text}<|im_end|>\n"
LLAMA3 = "<|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|>"
LLAMA4 = "<|header_start|>{role}<|header_end|>\n\n{text}<|eot|>"
GEMMA = "<start_of_turn>{role}\n{text}<end_of_turn>\n"
PHI = "<|{role}|>\n{text}<|end|>\n"
PHI4 = "<|im_start|>{role}<|im_sep|>{text}<|im_end|>"
ZEPHYR = "<|{role}|>\n{text}</s>"


def turns(form: str, *pairs: tuple[str, str]) -> str:
    return "".join(form.format(role=role, text=text) for role, text in pairs)


def chat(form: str, thoughts: str = "") -> str:
    """The plain conversation where all turns look alike."""
    return turns(
        form,
        ("system", "Be brief."),
        ("user", "Hi"),
        ("assistant", f"{thoughts}Hello"),
        ("user", "2 + 2?"),
        ("assistant", f"{thoughts}4"),
    )


def tool_chat(
    form: str, listed: str, call: str, result: tuple[str, str] = ("user", RESULT), thoughts: str = ""
) -> str:
    """The conversation with tools where all turns look alike."""
    return turns(
        form,
        ("system", f"Be brief.{listed}"),
        ("user", "Warm?"),
        ("assistant", f"{thoughts}{call}"),
        result,
        ("assistant", f"{thoughts}Yes"),
    )


# By our name: what LLaMA-Factory writes for CHAT and for TOLD under the name it has for the family.
QWEN_TOOLS = (f"\n\n{HERMES_LISTED}", HERMES_CALL, ("user", HERMES_RESULT))
LLAMA_TOOLS = (f"{DATES}{LLAMA_LISTED}", JSON_CALL, ("ipython", RESULT))
LLAMA_FACTORY = {
    "chatml": (chat(CHATML), tool_chat(CHATML, LISTED, ACTION, ("tool", RESULT))),
    "yi": (chat(CHATML), tool_chat(CHATML, LISTED, ACTION)),
    "smollm": (chat(CHATML), tool_chat(CHATML, LISTED, ACTION)),
    "smollm2": (chat(CHATML), tool_chat(CHATML, LISTED, ACTION)),
    "internlm2": (f"<s>{chat(CHATML)}", f"<s>{tool_chat(CHATML, LISTED, ACTION)}"),  # its name there: intern2
    "qwen": (chat(CHATML), tool_chat(CHATML, *QWEN_TOOLS)),
    "qwen3": (chat(CHATML, NO_THOUGHTS), tool_chat(CHATML, *QWEN_TOOLS, thoughts=NO_THOUGHTS)),
    # There: qwen3 with enable_thinking: false (its qwen3_nothink is for the models that never think).
    "qwen3-nothink": (chat(CHATML, NO_THOUGHTS), tool_chat(CHATML, *QWEN_TOOLS, thoughts=NO_THOUGHTS)),
    "llama2": (
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]Hello</s><s>[INST] 2 + 2? [/INST]4</s>",
        f"<s>[INST] <<SYS>>\nBe brief.{LISTED}\n<</SYS>>\n\nWarm? [/INST]{ACTION}</s>"
        f"<s>[INST] {RESULT} [/INST]Yes</s>",
    ),
    "llama3": (f"<s>{chat(LLAMA3)}", f"<s>{tool_chat(LLAMA3, *LLAMA_TOOLS)}"),
    "llama4": (f"<s>{chat(LLAMA4)}", f"<s>{tool_chat(LLAMA4, *LLAMA_TOOLS)}"),
    "mistral": (
        "<s>[INST] Be brief.\n\nHi[/INST] Hello</s>[INST] 2 + 2?[/INST] 4</s>",
        f"<s>[INST] Be brief.{MISTRAL_LISTED}\n\nWarm?[/INST]{MISTRAL_CALL}</s>"
        f'[TOOL_RESULTS] {{"content": {RESULT}}}[/TOOL_RESULTS] Yes</s>',
    ),
    "zephyr": (chat(ZEPHYR), tool_chat(ZEPHYR, LISTED, ACTION)),
    "deepseek": (
        "<s>Be brief.\n\nUser: Hi\n\nAssistant:Hello</s>User: 2 + 2?\n\nAssistant:4</s>",
        f"<s>Be brief.{LISTED}\n\nUser: Warm?\n\nAssistant:{ACTION}</s>User: {RESULT}\n\nAssistant:Yes</s>",
    ),
    "deepseek3": (
        "<s>Be brief.<｜User｜>Hi<｜Assistant｜>Hello</s><｜User｜>2 + 2?<｜Assistant｜>4</s>",
        f"<s>Be brief.{LISTED}<｜User｜>Warm?<｜Assistant｜>{ACTION}</s><｜User｜>{RESULT}<｜Assistant｜>Yes</s>",
    ),
    "deepseekr1": (
        f"<s>Be brief.<｜User｜>Hi<｜Assistant｜>{NO_THOUGHTS}Hello</s>"
        f"<｜User｜>2 + 2?<｜Assistant｜>{NO_THOUGHTS}4</s>",
        f"<s>Be brief.{LISTED}<｜User｜>Warm?<｜Assistant｜>{NO_THOUGHTS}{ACTION}</s>"
        f"<｜User｜>{RESULT}<｜Assistant｜>{NO_THOUGHTS}Yes</s>",
    ),
    "phi": (chat(PHI), tool_chat(PHI, LISTED, ACTION)),
    "phi4": (chat(PHI4), tool_chat(PHI4, LISTED, ACTION)),
    "vicuna": (
        "Be brief.USER: Hi ASSISTANT:Hello</s>USER: 2 + 2? ASSISTANT:4</s>",
        f"Be brief.{LISTED}USER: Warm? ASSISTANT:{ACTION}</s>USER: {RESULT} ASSISTANT:Yes</s>",
    ),
    "alpaca": (
        "Be brief.### Instruction:\nHi\n\n### Response:\nHello</s>\n\n"
        "### Instruction:\n2 + 2?\n\n### Response:\n4</s>\n\n",
        f"Be brief.{LISTED}### Instruction:\nWarm?\n\n### Response:\n{ACTION}</s>\n\n"
        f"### Instruction:\n{RESULT}\n\n### Response:\nYes</s>\n\n",
    ),
    "default": (
        "System: Be brief.</s>\nHuman: Hi</s>\nAssistant:Hello</s>\nHuman: 2 + 2?</s>\nAssistant:4</s>\n",
        f"System: Be brief.{LISTED}</s>\nHuman: Warm?</s>\nAssistant:{ACTION}</s>\n"
        f"Human: {RESULT}</s>\nAssistant:Yes</s>\n",
    ),
    "empty": ("Be brief.HiHello2 + 2?4", f"Be brief.{LISTED}Warm?{ACTION}{RESULT}Yes"),
}
GEMMA_CHAT = turns(GEMMA, ("user", "Be brief.\n\nHi"), ("model", "Hello"), ("user", "2 + 2?"), ("model", "4"))
GEMMA_TOLD = turns(
    GEMMA, ("user", f"Be brief.{LISTED}\n\nWarm?"), ("model", ACTION), ("tool", RESULT), ("model", "Yes")
)
LLAMA_FACTORY |= dict.fromkeys(("gemma", "gemma2", "gemma3"), (f"<s>{GEMMA_CHAT}", f"<s>{GEMMA_TOLD}"))

# Theirs -> ours. Not seen here: without a row's own system prompt, LLaMA-Factory gives zephyr and intern2 one that
# their published templates don't have, and SmolLM 2's a full stop that the published one doesn't have.
LISTED_APART = {f"Be brief.{LISTED}": f"Be brief.\n\n{LISTED}"}  # it runs two sentences together
# Nous Hermes published how ChatML has tools, and many models that speak ChatML learnt it; results come from "tool".
HERMES = {f"Be brief.{LISTED}": f"Be brief.\n\n{HERMES_LISTED}", ACTION: HERMES_CALL}
AS_HERMES = HERMES | {f"user\n{RESULT}": f"tool\n{HERMES_RESULT}"}
# Meta's own template: functions, then the system prompt. Today's date would make tomorrow's rows other rows.
AS_META = {f"Be brief.{DATES}{LLAMA_LISTED}": f"{LLAMA_LISTED}Be brief."}
# DeepSeek's own template has marks for calls and results; an answer follows its result at once.
AS_DEEPSEEK = {
    f"Be brief.{LISTED}": f"Be brief.\n\n{DEEPSEEK_LISTED}",
    ACTION: DEEPSEEK_CALL,
    f"<｜User｜>{RESULT}<｜Assistant｜>": DEEPSEEK_RESULT,
}
OURS: dict[str, dict[str, str]] = {
    "chatml": HERMES | {f"tool\n{RESULT}": f"tool\n{HERMES_RESULT}"},
    **dict.fromkeys(("yi", "smollm", "smollm2", "internlm2"), AS_HERMES),
    # A row's answer is learnt as it is written; `thinking: empty` adds the empty block where that is wanted.
    "qwen3": {NO_THOUGHTS: ""},
    "llama2": LISTED_APART | {"[/INST]": "[/INST] ", "</s>": " </s>"},  # Meta's own code has the spaces
    "llama3": AS_META,
    "llama4": AS_META,
    # Mistral's own template lists the tools before the turn, not in it.
    "mistral": {f"[INST] Be brief.{MISTRAL_LISTED}\n\n": f"{MISTRAL_LISTED}[INST] Be brief.\n\n"},
    "zephyr": LISTED_APART | {"</s>": "</s>\n"},  # the published template has the line break
    # The published templates know "user" and "model" alone, and raise for a third.
    **dict.fromkeys(
        ("gemma", "gemma2", "gemma3"), LISTED_APART | {"<start_of_turn>tool": "<start_of_turn>user"}
    ),
    "deepseek": LISTED_APART | {"Assistant:": "Assistant: "},  # the published template has the space
    "deepseek3": AS_DEEPSEEK,
    # The published template opens the thoughts in the prompt, shows none of earlier answers, and opens none after a
    # result. Without the empty line no token stands across prompt and answer.
    "deepseekr1": {
        f"{NO_THOUGHTS}Hello": "Hello",
        f"{NO_THOUGHTS}Yes": "Yes",
        NO_THOUGHTS: "<think>\n</think>\n\n",
    }
    | AS_DEEPSEEK,
    "phi": LISTED_APART,
    "phi4": LISTED_APART,
    # FastChat's own prompt: <s> (its tokenizer adds it), and a space before each word of a role and each answer.
    "vicuna": {
        "Be brief.USER": "<s>Be brief. USER",
        f"Be brief.{LISTED}": f"<s>Be brief.\n\n{LISTED} ",
        "ASSISTANT:": "ASSISTANT: ",
    },
    # It has the empty line in its default system prompt alone, so that a row's own runs into the instruction.
    "alpaca": LISTED_APART | {"Be brief.###": "Be brief.\n\n###", f"{LISTED}###": f"{LISTED}\n\n###"},
    # The end of sequence is where to stop, so we write it after answers alone (as LLaMA-Factory used to).
    "default": {
        f"{message}</s>": message for message in ("Be brief.", "Hi", "2 + 2?", "Warm?", LISTED, RESULT)
    }
    | LISTED_APART,
    # Without an end there is nothing to stop at.
    "empty": LISTED_APART | {"Hello": "Hello</s>", "?4": "?4</s>", ACTION: f"{ACTION}</s>", "Yes": "Yes</s>"},
}


@pytest.mark.parametrize("name", LLAMA_FACTORY)
def test_llama_factory_renders_the_same_except_for_the_listed_differences(name: str) -> None:
    tokenizer = family_tokenizer(ALIASES.get(name, name))
    theirs = LLAMA_FACTORY[name]
    for there, workdir in OURS.get(name, {}).items():
        theirs = (theirs[0].replace(there, workdir), theirs[1].replace(there, workdir))
    assert (rendered(tokenizer, CHAT), rendered(tokenizer, TOLD, TOOLS)) == theirs


@pytest.mark.parametrize("name", OURS)
def test_every_listed_difference_is_one(name: str) -> None:
    theirs = "".join(LLAMA_FACTORY[name])
    for there, workdir in OURS[name].items():
        changed = theirs.replace(there, workdir)
        assert changed != theirs, there
        theirs = changed
