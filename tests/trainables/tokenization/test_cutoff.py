"""What the cutoff leaves of a row: the beginning of an answer is never cut off, and what is lost is said."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from trainables.data.rows import Conversation, Labelled, Preference
from trainables.stages.dpo import DPO
from trainables.stages.kto import KTO
from trainables.tokenization.encode import IGNORED, encode, encode_answers, training_examples
from trainables.tokenization.remarks import ANSWER_END, LAST_TURNS, OLD_TURNS, PROMPT_PART, WHOLE_QUESTION

HEADER = "<|im_end|>\n<|im_start|>assistant\n"
LONG = " ".join(f"w{number}" for number in range(100))


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def chat(turns: int) -> Conversation:
    messages = [{"role": "system", "content": "be brief"}]
    for number in range(turns):
        messages += [user(f"question {number}?"), {"role": "assistant", "content": f"answer {number}."}]
    return Conversation(tuple(messages[:-1]), messages[-1]["content"])


@pytest.mark.parametrize("cutoff", [40, 100, 200])
def test_a_cut_prompt_keeps_what_marks_the_beginning_of_the_answer(tokenizer: Any, cutoff: int) -> None:
    for answer in ("short", LONG):
        example = encode(Conversation((user(LONG),), answer), tokenizer, cutoff)
        assert len(example.input_ids) <= cutoff
        prompt = tokenizer.decode(example.prompt)
        assert prompt.endswith(HEADER), prompt
        assert "user\nw0 w1" in prompt
        assert PROMPT_PART in example.remarks
        assert (ANSWER_END in example.remarks) == (answer == LONG)


def test_an_answer_that_loses_its_end_is_named(tokenizer: Any) -> None:
    for encoded in (encode, encode_answers, lambda *row: training_examples(*row)[0]):
        example = encoded(Conversation((user("Count."),), LONG), tokenizer, 64)
        assert example.remarks == (ANSWER_END,)
        assert tokenizer.eos_token_id not in example.answer
        assert encoded(Conversation((user("Count."),), "One."), tokenizer, 128).remarks == ()


def test_whole_turns_at_the_end_are_left_out_where_they_do_not_fit(tokenizer: Any) -> None:
    (example,) = training_examples(chat(40), tokenizer, 128)
    text = tokenizer.decode(example.input_ids)
    assert example.remarks == (LAST_TURNS,)
    assert text.startswith("<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nquestion 0?")
    learned = tokenizer.decode([label for label in example.labels if label != IGNORED])
    turns = learned.count("answer")
    assert learned == "".join(f"answer {number}.<|im_end|>\n" for number in range(turns))
    assert text.count("<|im_start|>user") == turns > 1


def test_whole_turns_at_the_beginning_are_left_out_where_the_last_answer_alone_is_learned(
    tokenizer: Any,
) -> None:
    (example,) = training_examples(chat(40), tokenizer, 128, mask_history=True)
    text = tokenizer.decode(example.input_ids)
    assert example.remarks == (OLD_TURNS,)
    assert text.startswith("<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nquestion 3")
    assert text.endswith("<|im_start|>user\nquestion 39?" + HEADER + "answer 39.<|im_end|>\n")
    assert encode(chat(40), tokenizer, 128) == example


def test_a_long_system_text_is_cut_before_the_question(tokenizer: Any) -> None:
    row = Conversation(({"role": "system", "content": LONG}, user("And the question?")), "Yes.")
    example = encode(row, tokenizer, 80)
    prompt = tokenizer.decode(example.prompt)
    assert "system\nw0 w1" in prompt
    assert prompt.endswith("user\nAnd the question?" + HEADER)


def test_a_cutoff_without_room_for_a_question_keeps_the_end_of_the_prompt(tokenizer: Any) -> None:
    example = encode(Conversation((user("What is it?"),), "a"), tokenizer, 12)
    assert tokenizer.decode(example.input_ids).endswith("assistant\na<|im_end|>\n")
    assert WHOLE_QUESTION in example.remarks


def test_both_answers_of_a_cut_pair_follow_the_same_whole_prompt(tokenizer: Any) -> None:
    first, second = DPO().encode(tokenizer, Preference((user(LONG),), "short", LONG), 96)
    assert first.prompt == second.prompt
    assert tokenizer.decode(first.prompt).endswith(HEADER)


def test_a_cut_labelled_answer_follows_a_whole_prompt(tokenizer: Any) -> None:
    (example,) = KTO().encode(tokenizer, Labelled((user(LONG),), "fine", True), 64)
    assert tokenizer.decode(example.prompt).endswith(HEADER)


def test_a_text_of_a_million_characters_is_cut_in_seconds(tokenizer: Any) -> None:
    start = time.monotonic()
    encode(Conversation((user("word " * 100_000),), "short"), tokenizer, 256)
    assert time.monotonic() - start < 30
