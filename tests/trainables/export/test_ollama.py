"""Ollama Modelfiles."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import pytest

from tests.helpers.exports import export_successfully
from tests.helpers.tiny_model import make_tokenizer
from trainables import templates
from trainables.export import ollama


def jinja_of(go: str) -> str:
    """The template as Jinja; Go's actions in it are few."""
    for there, workdir in (
        (r"\{\{- if not \.System \}\}", "{%- if not System %}"),
        (r"\{\{- range \$i, \$_ := \.Messages \}\}", "{%- for m in Messages %}"),
        (r"\{\{- \$last := eq \(len \(slice \$\.Messages \$i\)\) 1 \}\}", "{%- set last = loop.last %}"),
        (r'\{\{- (else if|if) eq \.Role ("\w+") \}\}', r"{%- \1 m.role == \2 %}"),
        (r"else if", "elif"),
        (r'\{\{- if and \$last \(ne \.Role "assistant"\) \}\}', '{%- if last and m.role != "assistant" %}'),
        (r"\{\{- if not \$last \}\}", "{%- if not last %}"),
        (r"\{\{ \.Content \}\}", "{{ m.content }}"),
    ):
        go = re.sub(there, workdir, go)
    ends: list[str] = []

    def closing(action: re.Match[str]) -> str:
        if action[1] in ("if", "for"):
            ends.append(action[1])
        return f"{{%- end{ends.pop()} %}}" if action[0].startswith("{{- end") else action[0]

    return re.sub(r"\{%- (if|for)\b|\{\{- end \}\}", closing, go)


@pytest.mark.parametrize("name", ["chatml", "qwen", "llama3", "zephyr", "phi4", "smollm2", "default"])
def test_the_modelfiles_template_renders_the_same_as_the_models_own(name: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<|endoftext|>"})
    templates.apply(tokenizer, name)
    found = ollama.chat_format(tokenizer)
    assert found is not None
    template = jinja2.Environment(keep_trailing_newline=True).from_string(jinja_of(found.go_template()))
    for chat in ollama._conversations():
        system = next((message["content"] for message in chat if message["role"] == "system"), "")
        text = template.render(System=system, Messages=chat)
        assert text == templates.render(tokenizer, chat, add_generation_prompt=True)


@pytest.mark.parametrize("name", ["gemma", "llama2", "mistral", "deepseekr1"])
def test_a_template_that_does_more_is_left_out_with_a_comment(name: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<|endoftext|>"})
    templates.apply(tokenizer, name)
    text = ollama.modelfile(tokenizer, ["<|im_end|>"], ".")
    assert "\nTEMPLATE" not in text
    assert "# TEMPLATE is left out" in text


def test_a_modelfile_stops_where_answers_end(lora: str, tmp_path: Path) -> None:
    export_successfully(lora, tmp_path / "out", "--no-verify", "--ollama")
    text = (tmp_path / "out" / "Modelfile").read_text()
    assert 'PARAMETER stop "<|im_end|>"\n' in text
    assert text.count('"""') == 2
    assert "FROM .\n" in text
