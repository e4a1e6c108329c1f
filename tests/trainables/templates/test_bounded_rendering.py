"""Templates of others end: loops by the clock, texts by their size, and every error is a sentence."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from trainables import templates
from trainables.templates import TemplateError, bounded_rendering
from trainables.templates.bounded_rendering import limited_rendering

MESSAGES: Any = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
NUMBERS = "range(99999)"


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


def rendered(tokenizer: Any, template: str) -> str:
    tokenizer.chat_template = template
    return templates.render(tokenizer, MESSAGES, add_generation_prompt=False)


@pytest.mark.parametrize(
    "template",
    [
        f"{{% for a in {NUMBERS} %}}{{% for b in {NUMBERS} %}}{{% endfor %}}{{% endfor %}}",
        f"{{% for a in {NUMBERS} %}}{{% for b in {NUMBERS} if b < 0 %}}{{% endfor %}}{{% endfor %}}",
        "{% macro m(n) %}{% for a in 'abcdefghij' %}{% if n %}{{ m(n - 1) }}{% endif %}{% endfor %}{% endmacro %}"
        "{{ m(12) }}",
        "{% for a in [messages] recursive %}{% for i in 'ab' %}{{ loop([a]) if false else '' }}{% endfor %}"
        f"{{% for b in {NUMBERS} %}}{{% for c in {NUMBERS} %}}{{% endfor %}}{{% endfor %}}{{% endfor %}}",
        f"{{% set a = {NUMBERS}|list %}}{{% for x in a %}}{{% for y in a|reverse %}}{{% endfor %}}{{% endfor %}}",
    ],
    ids=["range", "condition", "macro", "recursive", "list"],
)
def test_a_template_that_loops_without_end_is_stopped(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    monkeypatch.setattr(bounded_rendering.limited_rendering.__wrapped__, "__defaults__", (0.3,))
    started = time.monotonic()
    with pytest.raises(TemplateError, match=r"takes too long: .* iterations of its loops"):
        rendered(tokenizer, template)
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' * 10**10 }}",
        "{{ 10**10 * 'x' }}",
        "{{ [1] * 10**10 }}",
        "{{ 9**(9**9) }}",
        "{% set ns = namespace(x='x') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='x') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    ],
)
def test_a_template_that_puts_an_endless_text_together_is_stopped(tokenizer: Any, template: str) -> None:
    started = time.monotonic()
    with pytest.raises(TemplateError, match="parts; set another"):
        rendered(tokenizer, template)
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    "template",
    [
        "{{ 1 // 0 }}",
        "{{ messages[7].content }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 'a' + 1 }}",
    ],
)
def test_any_error_of_a_template_is_a_sentence(tokenizer: Any, template: str) -> None:
    with pytest.raises(TemplateError, match=r"can't render the messages: .*; set another"):
        rendered(tokenizer, template)


def test_loops_and_texts_mean_what_they_mean_in_jinja(tokenizer: Any) -> None:
    template = (
        "{% for m in messages %}{{ loop.index }}/{{ loop.length }} {{ loop.first }} {{ loop.last }} "
        "{{ loop.previtem.role if loop.previtem else '-' }} {{ m.role ~ ':' ~ m.content + '!' }} "
        "{{ loop.nextitem is defined }}{% if not loop.last %}, {% endif %}{% endfor %}"
        "{% for x in nothing %}x{% else %} none{% endfor %}"
        "{% for k, v in {'a': 1}.items() %} {{ k }}={{ v * 3 }}{% endfor %} {{ 2 ** 3 }} {{ '-' * 3 }}"
        "{% for n in [1, [2, [3]]] recursive %}{{ loop(n) if n is not number else n }}{% endfor %}"
        "{% for n in range(9) %}{% if n == 2 %}{% break %}{% endif %}{{ n }}{% endfor %}"
    )
    assert rendered(tokenizer, template) == (
        "1/2 True False - user:hello! True, 2/2 False True user assistant:hi! False none a=3 8 ---12301"
    )


def test_what_a_block_may_take_does_not_hold_after_it(tokenizer: Any) -> None:
    with limited_rendering(0.0):
        pass
    assert rendered(tokenizer, "{% for a in range(5000) %}x{% endfor %}") == "x" * 5000
