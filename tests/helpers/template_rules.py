"""Conversations that templates are compared with by their rules, and what holds for each template that is."""

from __future__ import annotations

import json
from typing import Any

from transformers import PreTrainedTokenizerBase

from tests.helpers.tiny_model import make_tokenizer
from trainables import templates

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "2 + 2?"},
    {"role": "assistant", "content": "4"},
]
OWN_ENDS = {
    "chatml": "<|im_end|>",
    "qwen": "<|im_end|>",
    "qwen3": "<|im_end|>",
    "qwen3-nothink": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "llama4": "<|eot|>",
    "gemma": "<end_of_turn>",
    "gemma4": "<turn|>",
    "phi": "<|end|>",
    "phi4": "<|im_end|>",
    "internlm2": "<|im_end|>",
    "smollm2": "<|im_end|>",
    **dict.fromkeys(("qwen3.5", "qwen3.5-nothink", "qwen3.6", "lfm2", "lfm2.5"), "<|im_end|>"),
    "gpt-oss": "<|return|>",
    "phi4-mini": "<|end|>",
    "ernie4.5": "<|end_of_sentence|>",
    "exaone4": "[|endofturn|]",
    "kimi-k2-thinking": "<|im_end|>",
    "minimax-m2": "[e~[",
    "seed-oss": "<seed:eos>",
    **dict.fromkeys(("granite3", "granite4"), "<|end_of_text|>"),
    **dict.fromkeys(("cohere", "command-r7b"), "<|END_OF_TURN_TOKEN|>"),
    **dict.fromkeys(
        ("kimi-k2", "smollm3", "olmo3", "olmo3-think", "falcon-h1", "mimo", "mimo-v2", "minicpm4"),
        "<|im_end|>",
    ),
    **dict.fromkeys(("internlm3", "ernie4.5-thinking"), "<|im_end|>"),
    "hunyuan": "<|eos|>",
    "hunyuan-dense": "<｜hy_place▁holder▁no▁2｜>",
}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": {}}},
    {"type": "function", "function": {"name": "clock", "description": "The time", "parameters": {}}},
]
FUNCTIONS = [tool["function"] for tool in TOOLS]
LISTED = json.dumps(TOOLS)
ACTIONS = (
    "You have access to the following tools:\n> Tool Name: weather\nTool Description: The weather\nTool Args:\n\n"
    "> Tool Name: clock\nTool Description: The time\nTool Args:\n\nUse the following format if using a tool:\n```\n"
    "Action: tool name (one of [weather, clock])\nAction Input: the input to the tool, in a JSON format representing "
    'the kwargs (e.g. ```{"input": "hello world", "num_beams": 5}```)\n```\n'
)
KIMI = "<|im_{part}|>{role}<|im_middle|>{text}<|im_end|>"


def call(name: str, identity: str) -> dict[str, Any]:
    return {"type": "function", "id": identity, "function": {"name": name, "arguments": {"city": "Zürich"}}}


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
THOUGHT = {"role": "assistant", "content": "4", "reasoning_content": "Two."}


def turns_of(form: str, *turns: tuple[str, str]) -> str:
    parts = {"user": "user", "assistant": "assistant"}
    return "".join(form.format(part=parts.get(role, "system"), role=role, text=text) for role, text in turns)


def family_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """A tiny tokenizer with <s>, </s> and the family's own end token, given the family's template."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>"})
    if name in OWN_ENDS:
        tokenizer.add_tokens([OWN_ENDS[name]], special_tokens=True)
    templates.apply(tokenizer, name)
    return tokenizer


def rendered(tokenizer: Any, messages: Any, tools: Any = None, prompt: bool = False) -> str:
    return templates.render(tokenizer, messages, tools, add_generation_prompt=prompt)


def require_rules(name: str, talk: str, told: str) -> None:
    """A template writes :data:`CHAT` and :data:`TOLD` so, and each answer behind its prompt."""
    tokenizer = family_tokenizer(name)
    assert (rendered(tokenizer, CHAT), rendered(tokenizer, TOLD, TOOLS)) == (talk, told)
    for turns, tools in ((CHAT, None), (TOLD, TOOLS)):
        for number, turn in enumerate(turns):
            if turn["role"] == "assistant":
                prompt = rendered(tokenizer, turns[:number], tools, prompt=True)
                # An answer without thoughts has no opening of them.
                start = prompt.removesuffix("<think>\n").removesuffix("<think>")
                assert rendered(tokenizer, turns[: number + 1], tools).startswith(start)


def require_thoughts(name: str, end: str, answer: str) -> None:
    """The prompt of a question ends so, and an answer with thoughts is written behind it so."""
    tokenizer = family_tokenizer(name)
    prompt = rendered(tokenizer, CHAT[:2], prompt=True)
    assert prompt.endswith(end)
    assert rendered(tokenizer, [*CHAT[:2], THOUGHT]) == prompt + answer
