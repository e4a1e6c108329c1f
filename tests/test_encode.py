"""From a conversation to tokens: only the answer is labelled; the rest is cut as LLaMA-Factory does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from trainables.encode import IGNORED, encode, split_cutoff, template_sha256
from trainables.policy import load_tokenizer
from trainables.rows import Conversation

ROW = Conversation(
    (
        {"role": "system", "content": "You switch things."},
        {"role": "user", "content": "turn on the café lamp ☕"},
    ),
    "lamp.on(café)",
)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_model)


def test_rows_are_rendered_by_the_chat_template(tokenizer: Any) -> None:
    messages = [*ROW.prompt, {"role": "assistant", "content": ROW.answer}]
    found = encode(ROW, tokenizer, 1024)
    assert found.input_ids == tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert found.prompt == tokenizer.apply_chat_template(
        list(ROW.prompt), add_generation_prompt=True, tokenize=True, return_dict=False
    )
    assert not found.truncated


def test_only_the_answer_and_its_end_carry_loss(tokenizer: Any) -> None:
    found = encode(ROW, tokenizer, 1024)
    assert found.labels[: found.prompt_tokens] == [IGNORED] * found.prompt_tokens
    assert found.labels[found.prompt_tokens :] == found.answer
    assert tokenizer.decode(found.answer) == "lamp.on(café)<|im_end|>\n"


def test_the_prompt_carries_loss_too_when_asked(tokenizer: Any) -> None:
    assert encode(ROW, tokenizer, 1024, whole=True).labels == encode(ROW, tokenizer, 1024).input_ids


# FACTS.md: source, target, cutoff -> what is kept of source and target
@pytest.mark.parametrize(
    ("source", "target", "cutoff", "kept"),
    [
        (3000, 2000, 1000, (600, 400)),
        (2000, 3000, 1000, (400, 600)),
        (1000, 100, 1000, (900, 100)),
        (100, 1000, 1000, (100, 900)),
        (100, 500, 1000, (100, 500)),
        (500, 100, 1000, (500, 100)),
        (10, 10, 1000, (10, 10)),
    ],
)
def test_the_cutoff_is_shared_as_llama_factory_shares_it(
    source: int, target: int, cutoff: int, kept: tuple[int, int]
) -> None:
    assert split_cutoff(source, target, cutoff) == kept


def test_nothing_is_cut_that_fits_and_something_of_both_is_always_left() -> None:
    for source in (1, 3, 8, 40, 900, 60_000):
        for target in (1, 3, 8, 40, 900, 60_000):
            for cutoff in (8, 9, 64, 256):
                kept = split_cutoff(source, target, cutoff)
                assert sum(kept) == min(cutoff, source + target) or sum(kept) == cutoff - 1, (
                    source,
                    target,
                    cutoff,
                )
                assert min(kept) >= 1, (source, target, cutoff)  # without an answer a row has no loss
                if source + target <= cutoff:
                    assert kept == (source, target)


def test_truncation_is_flagged_and_keeps_the_beginnings(tokenizer: Any) -> None:
    whole = encode(ROW, tokenizer, 1024)
    cut = encode(ROW, tokenizer, 16)
    assert cut.truncated
    assert len(cut.input_ids) == len(cut.labels) <= 16
    assert cut.prompt == whole.prompt[: len(cut.prompt)]
    assert cut.answer == whole.answer[: len(cut.answer)]
    assert cut.labels == [IGNORED] * len(cut.prompt) + cut.answer
    assert not encode(ROW, tokenizer, len(whole.input_ids)).truncated


def test_a_template_that_rewrites_the_prompt_is_refused(tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = (
        "{{ messages | length }}{% for message in messages %}{{ message['content'] }}{% endfor %}"
    )
    with pytest.raises(ValueError, match="renders the prompt differently once the answer follows"):
        encode(ROW, tokenizer, 1024)


def test_the_template_hash_is_of_the_template(tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    one, other = AutoTokenizer.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    assert template_sha256(one) == template_sha256(other)
    other.chat_template = f"{other.chat_template} "
    assert template_sha256(one) != template_sha256(other)
