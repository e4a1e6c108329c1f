"""What is put before a chat template: a system text for conversations without one, tools in another format."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.helpers.template_rules import family_tokenizer, rendered
from trainables import templates
from trainables.templates.message_changes import TOOL_FORMATS

TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": {}}}
]
ASK = {"role": "user", "content": "Warm?"}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich"}}}
TOLD = [
    ASK,
    {"role": "assistant", "content": "Well", "tool_calls": [CALL, CALL]},
    {"role": "tool", "content": "21"},
    {"role": "assistant", "content": "Yes"},
]
ARGUMENTS = '{"city": "Zürich"}'
# Of two calls behind a text, and the beginning of the list of tools.
WRITTEN = {
    "default": (
        "Well" + f"\nAction: weather\nAction Input: {ARGUMENTS}" * 2,
        "You have access to the following tools:\n> Tool Name: weather\n",
    ),
    "qwen": (
        "Well" + f'\n<tool_call>\n{{"name": "weather", "arguments": {ARGUMENTS}}}\n</tool_call>' * 2,
        "# Tools\n\nYou may call one or more functions",
    ),
    "llama3": (
        "Well\n[" + ", ".join([f'{{"name": "weather", "parameters": {ARGUMENTS}}}'] * 2) + "]",
        "You have access to the following functions. To call a function, please respond with JSON",
    ),
    "mistral": (
        "Well[" + ", ".join([f'{{"name": "weather", "arguments": {ARGUMENTS}}}'] * 2) + "]",
        f"[AVAILABLE_TOOLS] {json.dumps(TOOLS)}[/AVAILABLE_TOOLS]",
    ),
}


def changed(template: str, **changes: Any) -> Any:
    tokenizer = family_tokenizer(template)
    templates.apply_settings(tokenizer, {"special_tokens": "keep"}, {}, **changes)
    return tokenizer


@pytest.mark.parametrize("name", TOOL_FORMATS)
def test_a_tool_format_replaces_that_of_any_template(name: str) -> None:
    calls, listed = WRITTEN[name]
    text = rendered(changed("gemma", tool_format=name), TOLD, TOOLS)
    assert f"<start_of_turn>user\n{listed}" in text
    assert (
        f"\n\nWarm?<end_of_turn>\n<start_of_turn>model\n{calls}<end_of_turn>\n<start_of_turn>user\n21<end_of_turn>"
        in text
    )
    own = rendered(
        changed("chatml", tool_format=name), [{"role": "system", "content": "Be brief."}, *TOLD], TOOLS
    )
    assert own.startswith(f"<|im_start|>system\nBe brief.\n\n{listed}")
    assert f"<|im_start|>assistant\n{calls}<|im_end|>\n<|im_start|>tool\n" in own


@pytest.mark.parametrize(("template", "name"), [("qwen", "qwen"), ("default", "default"), ("chatml", "qwen")])
def test_a_template_s_own_tool_format_changes_nothing(template: str, name: str) -> None:
    system = {"role": "system", "content": "Be brief."}
    text = rendered(changed(template), [system, *TOLD], TOOLS)
    assert rendered(changed(template, tool_format=name), [system, *TOLD], TOOLS) == text


def test_a_default_system_text_is_given_to_conversations_without_one_or_with_an_empty_one() -> None:
    text = 'Say "{{ x }}"\n'
    tokenizer = changed("chatml", default_system=text)
    expected = f"<|im_start|>system\n{text}<|im_end|>\n<|im_start|>user\nWarm?<|im_end|>\n"
    assert rendered(tokenizer, [ASK]) == expected
    assert rendered(tokenizer, [{"role": "system", "content": ""}, ASK]) == expected
    assert "Be brief." in rendered(tokenizer, [{"role": "system", "content": "Be brief."}, ASK])
    assert "x }}" not in rendered(tokenizer, [{"role": "system", "content": "Be brief."}, ASK])


def test_it_takes_the_place_of_a_template_s_own_and_stands_in_front_of_tools() -> None:
    tokenizer = changed("smollm2", default_system="Be brief.", tool_format="default")
    text = rendered(tokenizer, TOLD, TOOLS)
    assert text.startswith("<|im_start|>system\nBe brief.\n\nYou have access to the following tools:\n")
    assert "SmolLM" not in text


def test_a_tokenizer_without_a_template_takes_neither() -> None:
    tokenizer = family_tokenizer("chatml")
    tokenizer.chat_template = None
    for setting in ({"default_system": "Be brief."}, {"tool_format": "qwen"}):
        with pytest.raises(templates.TemplateArgumentError) as error:
            templates.apply_settings(tokenizer, {}, {}, **setting)
        assert error.value.setting in setting
