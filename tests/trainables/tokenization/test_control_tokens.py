"""Control tokens and white space in contents stay what the file says, whatever stands beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken
from transformers import AutoTokenizer

from tests.helpers.small_tokenizers import chat, family, make_tokenizer
from tests.helpers.trials import make_config, write_rows
from trainables.data.rows import Conversation, Text
from trainables.inference.model_pool import result_tokenizer
from trainables.inference.result import Result
from trainables.stages import Pretrain
from trainables.templates.settings import set_settings, settings_of
from trainables.tokenization.encode import encode, prompt_ids, training_examples
from trainables.tokenization.token_table import tokenizer_identity
from trainables.trial.tokenizer import tokenizer_of

KINDS = ("gpt-2", "qwen", "sentencepiece")


def count(tokenizer: Any, ids: list[int], token: str) -> int:
    return ids.count(tokenizer.convert_tokens_to_ids(token))


@pytest.mark.parametrize("template", ["empty", "default"])
@pytest.mark.parametrize(
    "parts", [("a <|im_", "end|> b", "c"), ("a <", "|im_end|>", "b"), ("<|im", "_e", "nd|>")]
)
def test_contents_that_spell_a_control_token_together_stay_text(
    template: str, parts: tuple[str, ...]
) -> None:
    tokenizer = family("qwen", template)
    tokenizer.eos_token = "<|im_end|>"
    row = Conversation(tuple(chat(*parts[:2], "And?")) if len(parts) < 3 else tuple(chat(*parts)), "yes")
    plain = Conversation(tuple(chat(*("word" for _ in row.prompt))), "yes")
    example = encode(row, tokenizer, 1000)
    assert count(tokenizer, example.input_ids, "<|im_end|>") == count(
        tokenizer, encode(plain, tokenizer, 1000).input_ids, "<|im_end|>"
    )
    assert prompt_ids(tokenizer, row.prompt) == example.prompt


def test_that_contents_spell_a_control_token_together_is_said() -> None:
    tokenizer = family("qwen", "empty")
    tokenizer.eos_token = "<|im_end|>"
    remarks = encode(Conversation(tuple(chat("a <|im_")), "end|> b"), tokenizer, 1000).remarks
    assert any("two contents spell a control token together" in remark for remark in remarks)
    # An end that nothing continues is an ordinary text.
    assert not encode(Conversation(tuple(chat("1 <")), "2"), tokenizer, 1000).remarks


@pytest.mark.parametrize("kind", KINDS)
def test_control_tokens_in_running_text_are_text_unless_they_are_kept(kind: str) -> None:
    tokenizer = family(kind, "chatml")
    (piece,) = Pretrain().encode(tokenizer, Text("One.<|im_end|>\nTwo."), 100)
    assert count(tokenizer, piece.labels, "<|im_end|>") == 1  # the text's own end
    assert "the text has <|im_end|>, written as ordinary text" in piece.remarks[0]
    assert "<|im_end|>\nTwo." in tokenizer.decode(piece.input_ids[1:])
    set_settings(tokenizer, {"special_tokens": "keep"})
    (kept,) = Pretrain().encode(tokenizer, Text("One.<|im_end|>\nTwo."), 100)
    assert (count(tokenizer, kept.labels, "<|im_end|>"), kept.remarks) == (2, ())


def test_the_setting_is_saved_with_a_tokenizer_without_a_chat_template(tmp_path: Path) -> None:
    tokenizer = make_tokenizer.__wrapped__("qwen")
    set_settings(tokenizer, {"special_tokens": "keep"})
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.chat_template is None
    (piece,) = Pretrain().encode(again, Text("One.</s>Two."), 100)
    assert count(again, piece.labels, "</s>") == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["Say <|im_end|> now", "Say<|im_end|>", "a\n<|im_end|>\nb", "<|im_end|>  x"])
def test_a_control_token_as_text_gets_no_space_that_the_file_does_not_have(kind: str, text: str) -> None:
    tokenizer = family(kind, "chatml")
    example = encode(Conversation(tuple(chat("go")), text), tokenizer, 1000)
    assert tokenizer.decode(example.answer).strip() == f"{text}<|im_end|>"


@pytest.mark.parametrize("kind", KINDS)
def test_an_answers_indentation_is_learned_behind_a_token_that_takes_white_space(kind: str) -> None:
    tokenizer = make_tokenizer.__wrapped__(kind)
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [AddedToken("<|assistant|>", rstrip=True, normalized=False)]}
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>\n{{ m.content }}</s>"
        "{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    )
    for answer in ("    return x", "\n\nx", "x"):
        example = encode(Conversation(tuple(chat("go")), answer), tokenizer, 1000)
        assert example.prompt == prompt_ids(tokenizer, chat("go"))
        assert tokenizer.decode(example.input_ids).endswith(f"{answer}</s>")


@pytest.mark.parametrize("kind", KINDS)
def test_an_answers_last_white_space_is_learned_before_a_token_that_takes_white_space(kind: str) -> None:
    tokenizer = make_tokenizer.__wrapped__(kind)
    stop = AddedToken("<|stop|>", lstrip=True, normalized=False)
    tokenizer.add_special_tokens({"eos_token": stop})
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{{ space }}<|stop|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    question = "<|im_start|>user\ngo <|stop|>\n<|im_start|>assistant\n"
    for answer in ("x = 1\n", "The sky  ", "A\n\n"):
        row = Conversation(tuple(chat("go ")), answer)
        example = encode(row, tokenizer, 1000)
        assert tokenizer.decode(example.answer).startswith(f"{answer}<|stop|>")
        assert example.prompt == prompt_ids(tokenizer, chat("go "))
        # The prompt is what every program makes of it.
        assert example.prompt == tokenizer(question, add_special_tokens=False)["input_ids"]
        messages = chat("go ", answer, "and ", answer)
        (both,) = training_examples(Conversation(tuple(messages[:3]), answer), tokenizer, 1000)
        prompt = prompt_ids(tokenizer, messages[:3])
        assert both.input_ids[: len(prompt)] == prompt
        assert tokenizer.decode(both.input_ids[len(prompt) :]).startswith(f"{answer}<|stop|>")
        assert tokenizer.decode(prompt).count(f"{answer}<|stop|>") == 1
    plain = encode(Conversation(tuple(chat("go ")), "A"), tokenizer, 1000)
    assert tokenizer.decode(plain.answer).startswith("A<|stop|>")
    # White space of the template alone is no part of the answer.
    tokenizer.chat_template = tokenizer.chat_template.replace("{{ space }}", "\n")
    spaced = encode(Conversation(tuple(chat("go ")), "A"), tokenizer, 1000)
    assert spaced.answer == plain.answer


def test_an_untrained_model_is_asked_with_the_settings_of_its_trial(tiny_model: Path, tmp_path: Path) -> None:
    config = make_config(tiny_model, write_rows(tmp_path / "rows.jsonl"), None)
    data = config.data.model_copy(update={"special_tokens": "keep", "turns": "last"})
    config = config.model_copy(update={"data": data})
    tokenizer = result_tokenizer(Result("base", config))
    assert settings_of(tokenizer) == {"special_tokens": "keep", "turns": "last"}
    assert tokenizer_identity(tokenizer) == tokenizer_identity(tokenizer_of(config))
