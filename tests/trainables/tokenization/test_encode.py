"""Encoding a conversation: only answers have labels, and rows are cut as in LLaMA-Factory."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from tests.helpers.template_rules import family_tokenizer, rendered
from tests.trainables.templates.test_templates import CALL, CALLED, TOOL_CHAT, TOOLS, smollm2
from trainables import templates
from trainables.data.rows import Conversation
from trainables.tokenization.cutoff import split_cutoff
from trainables.tokenization.encode import IGNORED, Encoded, encode, prompt_ids, training_examples
from trainables.trial.tokenizer import load_tokenizer

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
    example = encode(ROW, tokenizer, 1024)
    assert example.input_ids == tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert example.prompt == tokenizer.apply_chat_template(
        list(ROW.prompt), add_generation_prompt=True, tokenize=True, return_dict=False
    )
    assert not example.truncated


def test_only_the_answer_and_its_end_token_have_a_loss(tokenizer: Any) -> None:
    example = encode(ROW, tokenizer, 1024)
    assert example.labels[: example.prompt_tokens] == [IGNORED] * example.prompt_tokens
    assert example.labels[example.prompt_tokens :] == example.answer
    assert tokenizer.decode(example.answer) == "lamp.on(café)<|im_end|>\n"


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
def test_the_cutoff_is_divided_as_in_llama_factory(
    source: int, target: int, cutoff: int, kept: tuple[int, int]
) -> None:
    assert split_cutoff(source, target, cutoff) == kept


def test_what_fits_is_not_cut_and_both_parts_keep_some_tokens() -> None:
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
    assert (
        cut.prompt == whole.prompt[-len(cut.prompt) :]
    )  # too short for anything but what precedes an answer
    assert cut.answer == whole.answer[: len(cut.answer)]
    assert cut.labels == [IGNORED] * len(cut.prompt) + cut.answer
    assert not encode(ROW, tokenizer, len(whole.input_ids)).truncated


def test_a_template_that_rewrites_the_prompt_is_learned_behind_the_prompt_that_a_model_is_given(
    tiny_model: Path,
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = (
        "{{ messages | length }}{% for message in messages %}{{ message['content'] }}{% endfor %}"
    )
    example = encode(ROW, tokenizer, 1024)
    assert example.prompt == prompt_ids(tokenizer, ROW.prompt)
    assert tokenizer.decode(example.answer) == f"{ROW.answer}{tokenizer.eos_token}"
    assert any("begins an answer in another way than its prompt" in remark for remark in example.remarks)


def test_the_template_hash_depends_on_the_template(tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    one, other = AutoTokenizer.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    assert templates.sha256(one) == templates.sha256(other)
    other.chat_template = f"{other.chat_template} "
    assert templates.sha256(one) != templates.sha256(other)


QUESTION, ANSWER = "turn off the lamp", "lamp.off()"
CHAT = Conversation(
    (
        *ROW.prompt,
        {"role": "assistant", "content": ROW.answer},
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": ANSWER},
        {"role": "user", "content": "and the fan"},
    ),
    "fan.off()",
)
# Shows thoughts in the last answer alone, as Qwen 3's own template does.
FORGETFUL = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content if loop.last else m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def learnt(tokenizer: Any, encoded: Encoded) -> str:
    """The text of the labelled tokens."""
    return tokenizer.decode([label for label in encoded.labels if label != IGNORED])


def test_every_answer_has_a_loss(tokenizer: Any) -> None:
    (example,) = training_examples(CHAT, tokenizer, 1024)
    messages = [*CHAT.prompt, CHAT.last()]
    assert example.input_ids == tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert learnt(tokenizer, example) == "".join(
        f"{text}<|im_end|>\n" for text in (ROW.answer, ANSWER, "fan.off()")
    )
    assert all(
        label in (IGNORED, token) for label, token in zip(example.labels, example.input_ids, strict=True)
    )
    assert tokenizer.decode(example.answer) == "fan.off()<|im_end|>\n"
    assert example.prompt == encode(CHAT, tokenizer, 1024).prompt
    assert not example.truncated


def test_one_turn_is_trained_on_as_it_is_scored(tokenizer: Any) -> None:
    for cutoff in (1024, 24, 8):
        assert training_examples(ROW, tokenizer, cutoff) == [encode(ROW, tokenizer, cutoff)]
        (whole,) = training_examples(ROW, tokenizer, cutoff, train_on_prompt=True)
        assert whole.labels == whole.input_ids == encode(ROW, tokenizer, cutoff).input_ids


def test_with_masked_history_only_the_last_answer_has_a_loss(tokenizer: Any) -> None:
    (example,) = training_examples(CHAT, tokenizer, 1024, mask_history=True)
    assert example == encode(CHAT, tokenizer, 1024)


def test_training_on_the_prompt_labels_everything(tokenizer: Any) -> None:
    (example,) = training_examples(CHAT, tokenizer, 1024, train_on_prompt=True)
    assert example.labels == example.input_ids
    with pytest.raises(ValueError, match="choose one"):
        training_examples(CHAT, tokenizer, 1024, train_on_prompt=True, mask_history=True)


def test_the_first_turns_are_kept_first_and_with_masked_history_the_last(tokenizer: Any) -> None:
    (whole,) = training_examples(CHAT, tokenizer, 1024)
    size = len(whole.input_ids)
    for cutoff in (*range(1, 40), size - 1):
        (first,) = training_examples(CHAT, tokenizer, cutoff)
        (last,) = training_examples(CHAT, tokenizer, cutoff, mask_history=True)
        assert first.truncated
        assert last.truncated
        assert max(len(first.input_ids), len(last.input_ids)) <= cutoff
        assert any(label != IGNORED for label in first.labels)
        assert last.labels == [IGNORED] * len(last.prompt) + last.answer
        assert last.answer == encode(CHAT, tokenizer, 1024).answer[: len(last.answer)]
        assert last.answer
    assert first.input_ids[:20] == whole.input_ids[:20]
    assert not training_examples(CHAT, tokenizer, size)[0].truncated


def test_each_turn_is_cut_to_its_share_of_the_remaining_cutoff() -> None:
    from trainables.tokenization.cutoff import Turn, fitting_turns

    turns = [Turn([1] * 100, [2] * 100), Turn([3] * 300, [4] * 900), Turn([5], [6])]
    kept = [
        [(len(turn.source), len(turn.target)) for turn in fitting_turns(turns, size)] for size in (600, 1000)
    ]
    assert split_cutoff(300, 900, 400) == (100, 300)  # an answer behind a third of its question is left out
    assert kept[0] == [(100, 100)]
    assert kept[1] == [(100, 100), (300, 500)]
    turns[1] = Turn([3] * 100, [4] * 900)
    kept = [
        [(len(turn.source), len(turn.target)) for turn in fitting_turns(turns, size)] for size in (600, 2000)
    ]
    assert kept == [[(100, 100), (100, 300)], [(100, 100), (100, 900), (1, 1)]]


def test_if_later_turns_change_earlier_ones_each_answer_is_an_example_of_its_own(tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = FORGETFUL
    row = Conversation(
        (
            {"role": "user", "content": "on"},
            {"role": "assistant", "content": "<think>hm</think>lamp.on()"},
            {"role": "user", "content": "off"},
        ),
        "<think>so</think>lamp.off()",
    )
    first, last = training_examples(row, tokenizer, 1024)
    assert learnt(tokenizer, first) == "<think>hm</think>lamp.on()<|im_end|>\n"
    assert learnt(tokenizer, last) == "<think>so</think>lamp.off()<|im_end|>\n"
    assert "hm" not in tokenizer.decode(last.input_ids)
    scored = encode(row, tokenizer, 1024)
    assert (last.input_ids, last.labels) == (scored.input_ids, scored.labels)
    assert training_examples(row, tokenizer, 1024, mask_history=True) == [scored]


def test_a_greeting_that_opens_the_conversation_is_not_learned(tokenizer: Any) -> None:
    greeted = Conversation(({"role": "assistant", "content": "Yes?"}, *ROW.prompt[1:]), ROW.answer)
    (example,) = training_examples(greeted, tokenizer, 1024)
    assert "Yes?" in tokenizer.decode(example.prompt)
    assert learnt(tokenizer, example) == "lamp.on(café)<|im_end|>\n"


def test_without_an_answer_token_there_is_no_example(tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    assert training_examples(Conversation(ROW.prompt, ""), tokenizer, 1024) == []


@pytest.mark.parametrize("name", CALLED)
def test_a_tool_call_has_a_loss_and_its_result_has_none(name: str) -> None:
    tokenizer: Any = family_tokenizer(name)
    call, result = CALLED[name]
    calling = Conversation((TOOL_CHAT[0],), "", calls=(CALL,), tools=json.dumps(TOOLS))
    assert call in tokenizer.decode(encode(calling, tokenizer, 4096).answer)
    tool_chat = Conversation(tuple(TOOL_CHAT[:-1]), "Yes", tools=json.dumps(TOOLS))
    (example,) = training_examples(tool_chat, tokenizer, 4096)
    assert learnt(tokenizer, example) == "".join(answers(name, TOOL_CHAT))
    assert result in tokenizer.decode(example.input_ids)


# A letter, a Chinese character or an emoji first: whether a leading space is a token of its own is the tokenizer's say.
OPENING = st.sampled_from(list("aZ你好☕🇨🇭é"))
REST = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=30),
    st.sampled_from(
        [
            "{{ bos_token }}",
            "{% endfor %}",
            "\nHuman: hi\nAssistant:",
            "[INST] x [/INST]",
            "<think>",
            "你好，世界",
            "👩‍👩‍👧",
        ]
    ),
)
WORDS = st.builds(lambda opening, rest: f"{opening}{rest}", OPENING, REST)
# What a template writes around an answer and its own end token.
AROUND = {
    **dict.fromkeys(
        ("chatml", "qwen", "qwen3", "qwen3-nothink", "internlm2", "smollm2"), ("", "<|im_end|>\n")
    ),
    "llama2": (" ", " </s>"),
    "llama3": ("", "<|eot_id|>"),
    "llama4": ("", "<|eot|>"),
    "mistral": (" ", "</s>"),
    "zephyr": ("", "</s>\n"),
    "gemma": ("", "<end_of_turn>\n"),
    "deepseek": (" ", "</s>"),
    "deepseek3": ("", "</s>"),
    "deepseekr1": ("</think>\n\n", "</s>"),
    "phi": ("", "<|end|>\n"),
    "phi4": ("", "<|im_end|>"),
    "vicuna": (" ", "</s>"),
    "alpaca": ("", "</s>\n\n"),
    "default": ("", "</s>\n"),
    "empty": ("", "</s>"),
}
TOKENIZERS = {name: family_tokenizer(name) for name in AROUND}


def answers(name: str, messages: list[dict[str, Any]]) -> list[str]:
    """What is to be learnt of each answer, its calls and its end included."""
    return [
        written(name, message, follows_result=before["role"] == "tool")
        for before, message in pairwise(messages)
        if message["role"] == "assistant"
    ]


def written(name: str, message: dict[str, Any], follows_result: bool) -> str:
    before, after = AROUND[name]
    text = message["content"]
    if name == "deepseekr1" and follows_result:
        before = ""  # what follows a result has no thoughts opened
    calls = [
        CALLED[name][0].replace(
            '{"city": "Zürich"}', json.dumps(call["function"]["arguments"], ensure_ascii=False)
        )
        for call in message.get("tool_calls", ())
    ]
    if name == "mistral" and calls and not text:
        before = ""
    joint = "\n" if text and calls and name not in ("mistral", "deepseek3", "deepseekr1") else ""
    return before + text + joint + "".join(calls) + after


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """One to four turns, the system's before them or not, with a call of a tool and its result in them or not."""
    system = draw(st.none() | WORDS)
    messages = [{"role": "system", "content": system}] if system else []
    for _ in range(draw(st.integers(1, 4))):
        messages.append({"role": "user", "content": draw(WORDS)})
        if draw(st.booleans()):
            function = {"name": "weather", "arguments": {"city": draw(WORDS)}}
            calls = [{"type": "function", "function": function}]
            messages.append({"role": "assistant", "content": draw(st.just("") | WORDS), "tool_calls": calls})
            messages.append({"role": "tool", "content": draw(WORDS)})
        messages.append({"role": "assistant", "content": draw(WORDS)})
    return messages


def row_of(messages: list[dict[str, Any]]) -> Conversation:
    tools = json.dumps(TOOLS) if any("tool_calls" in message for message in messages) else None
    return Conversation(tuple(messages[:-1]), messages[-1]["content"], tools=tools)


@pytest.mark.parametrize("name", AROUND)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(messages=conversations(), cutoff=st.integers(1, 400))
def test_nothing_is_lost_and_labels_are_exactly_the_answers_and_their_ends(
    name: str, messages: list[dict[str, Any]], cutoff: int
) -> None:
    tokenizer: Any = TOKENIZERS[name]
    row = row_of(messages)
    text, at = rendered(tokenizer, messages, row.tools and TOOLS), 0
    for message in messages:
        at = text.index(message["content"], at) + len(message["content"])
    expected = answers(name, messages)
    examples = training_examples(row, tokenizer, 100_000)
    assert "".join(learnt(tokenizer, each) for each in examples) == "".join(expected)
    questions = sum(message["role"] == "user" for message in messages)
    assert len(examples) == (len(expected) if name == "deepseekr1" and questions > 1 else 1)
    last = encode(row, tokenizer, 100_000)
    assert last.input_ids == examples[-1].input_ids
    assert tokenizer.decode(last.input_ids) == text
    assert learnt(tokenizer, last) == tokenizer.decode(last.answer) == expected[-1]
    for each in training_examples(row, tokenizer, cutoff):
        assert len(each.input_ids) == len(each.labels) <= cutoff
        assert any(label != IGNORED for label in each.labels)


def test_smollm2_learns_the_answers_exactly() -> None:
    tokenizer = smollm2()
    (example,) = training_examples(CHAT, tokenizer, 1024)
    assert learnt(tokenizer, example) == f"{ROW.answer}<|im_end|>\n{ANSWER}<|im_end|>\nfan.off()<|im_end|>\n"
