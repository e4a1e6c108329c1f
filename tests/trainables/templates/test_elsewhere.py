"""Names of LLaMA-Factory and ms-swift: the same format is accepted, and another one is never suggested."""

from __future__ import annotations

import pytest

from tests.helpers.template_rules import CHAT, family_tokenizer, rendered
from tests.trainables.templates.test_templates import TOOL_CHAT, TOOLS
from trainables import templates
from trainables.templates import ALIASES, NAMES, TemplateError
from trainables.templates.elsewhere import ABSENT, DIFFERENT, SAME, SAME_NAME

# What LLaMA-Factory's qwen3_nothink writes, worked by hand from its slots: ChatML without any thoughts.
CHATML = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in CHAT)


def test_qwen3_nothink_of_llama_factory_is_chatml_and_not_our_qwen3_nothink() -> None:
    tokenizer = family_tokenizer("qwen3_nothink")
    assert rendered(tokenizer, CHAT) == CHATML
    assert tokenizer.eos_token == "<|im_end|>"
    assert rendered(tokenizer, TOOL_CHAT, TOOLS) == rendered(family_tokenizer("qwen3"), TOOL_CHAT, TOOLS)
    assert rendered(family_tokenizer("qwen3-nothink"), CHAT) != CHATML


@pytest.mark.parametrize("name", SAME)
def test_a_name_of_the_same_format_is_accepted(name: str) -> None:
    assert templates.source(name) == templates.source(SAME[name])


@pytest.mark.parametrize("name", ABSENT)
def test_a_format_that_is_not_here_is_said_to_be_not_here(name: str) -> None:
    with pytest.raises(TemplateError, match=r"is not here: leave data.template out") as error:
        templates.source(name)
    assert "Did you mean" not in str(error.value)


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_format_that_is_here_with_a_difference_is_answered_with_it(name: str) -> None:
    own, difference = DIFFERENT[name]
    assert own in NAMES
    with pytest.raises(TemplateError) as error:
        templates.source(name)
    assert f"is nearly {own} here, {difference}" in str(error.value)


@pytest.mark.parametrize("name", ["gemma5", "qwen3.9", "mistral-small-4", "phi5", "llama3.9", "Qwen3Next"])
def test_another_number_or_word_is_no_misspelling(name: str) -> None:
    with pytest.raises(TemplateError) as error:
        templates.source(name)
    assert "Did you mean" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "meant"), [("lama3", "llama3"), ("deepseek-r1", "deepseekr1"), ("Qwen", "qwen")]
)
def test_a_misspelling_is_answered_with_the_name(name: str, meant: str) -> None:
    with pytest.raises(TemplateError, match=rf"Did you mean {meant}\?"):
        templates.source(name)


def test_no_name_stands_twice() -> None:
    names = [*NAMES, *ALIASES, *SAME, *DIFFERENT, *ABSENT]
    assert len(names) == len(set(names))
    assert set(SAME_NAME) <= {*NAMES, *ALIASES}
