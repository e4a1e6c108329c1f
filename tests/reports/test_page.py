"""What the page's templates are given: escaped texts, numbers that keep their units, messages as text."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from reports.pages.page import _environment, message_text, unbroken


def render(source: str, **values: object) -> str:
    return _environment().from_string(source).render(**values)


def test_every_value_is_escaped_after_a_filter_too() -> None:
    hostile = "<script>1 GiB</script>"
    assert render("{{ text }}", text=hostile) == "&lt;script&gt;1 GiB&lt;/script&gt;"
    assert render("{{ text|unbroken }}", text=hostile) == "&lt;script&gt;1\u00a0GiB&lt;/script&gt;"


def test_every_macro_escapes_its_texts() -> None:
    macros = '{% import "macros.html" as macros %}'
    for call in ("paragraph(x, x)", "bullets([x])", "heading(2, x, x)", "cell(x)", "cell(x ~ '\n' ~ x)", "code(x)",
                 "definitions([(x, x)])", "figure(none, x, x)", "dialogue([{'role': x, 'content': x}], [(x, x)])",
                 "example_rows([[{'text': x, 'loss': true, 'left_out': 0}]])"):  # fmt: skip
        html = render(macros + "{{ macros." + call + " }}", x="<b>&\"'")
        assert "<b>" not in html
        assert "&lt;b&gt;&amp;&#34;&#39;" in html


def test_a_name_that_a_template_does_not_know_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("{{ unknown }}")


def test_a_number_stays_with_its_unit() -> None:
    assert unbroken("1.50 GiB at 40 %, 7 min 12 s") == "1.50\u00a0GiB at 40\u00a0%, 7\u00a0min 12\u00a0s"
    assert unbroken("9 steps, 3 shots") == "9 steps, 3 shots"


def test_a_message_is_its_content_and_the_tools_it_calls() -> None:
    assert message_text({"role": "user", "content": "hello"}) == "hello"
    assert (
        message_text({"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}) == '[{"name": "f"}]'
    )
    assert message_text({"role": "assistant", "content": "look:", "tool_calls": ["f"]}) == 'look:\n["f"]'
