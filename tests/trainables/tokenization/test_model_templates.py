"""Models' own templates, as TRL has copies of them: thoughts, calls and ends are learned as the models are asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trl
from transformers import AutoTokenizer

from tests.helpers.small_tokenizers import chat, make_tokenizer
from trainables.data.rows import Conversation
from trainables.data.thinking import answer_matches
from trainables.stages import SFT
from trainables.templates.settings import set_settings
from trainables.tokenization.answer_text import decode_answers
from trainables.tokenization.encode import IGNORED, encode, prompt_ids, training_examples
from trainables.tokenization.rendered_conversation import NO_PLACE

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
OPENING = [
    "deepseek_r1_distill",
    "deepseekv3",
    "nemotron_3_nano",
    "nemotron_3_super",
    "qwen3_5_think",
    "qwen3_5_nothink",
    "qwen3_6",
    "qwen3_8",
]
READING_A_FIELD = ["gptoss", "glm4moe", "qwen3", "lfm2_2_5", "gemma4_v5", *OPENING[2:]]
ANSWERED, THOUGHT = chat("Two and two?"), "<think>\nPlus.\n</think>\n\nFour"


def model_tokenizer(name: str, *tokens: str, eos: str = "<|im_end|>") -> Any:
    tokenizer = make_tokenizer.__wrapped__("qwen")
    tokenizer.add_special_tokens({"additional_special_tokens": list(tokens)})
    tokenizer.chat_template, tokenizer.eos_token = (TEMPLATES / f"{name}.jinja").read_text(), eos
    return tokenizer


def learned(tokenizer: Any, answer: str, *messages: str) -> tuple[str, str, tuple[str, ...]]:
    """The end of the prompt, the learned text, and the remarks; the prompt is that of a chat."""
    prompt = chat(*(messages or ("Two and two?",)))
    example = encode(Conversation(tuple(prompt), answer), tokenizer, 4000)
    assert example.prompt == prompt_ids(tokenizer, prompt)
    return tokenizer.decode(example.prompt), tokenizer.decode(example.answer), example.remarks


@pytest.mark.parametrize("name", OPENING)
def test_a_template_that_opens_a_thought_in_its_prompt_is_continued_behind_it(name: str) -> None:
    tokenizer = model_tokenizer(name, "<｜end▁of▁sentence｜>")
    prompt, text, _ = learned(tokenizer, "Four")
    closed = prompt.endswith("</think>\n\n")
    assert prompt.rstrip().endswith("<think>") != closed
    answer = text.replace("<|im_end|>", "").replace("<｜end▁of▁sentence｜>", "").strip()
    assert answer == "Four" if closed else answer.replace("\n", "") == "</think>Four"
    prompt, text, remarks = learned(tokenizer, THOUGHT)
    assert "<think>" not in text
    assert ("Plus." in text) != closed
    assert text.count("</think>") == (0 if closed else 1)
    assert "Four" in text
    assert any("those of an answer are not learned" in remark for remark in remarks) == closed


@pytest.mark.parametrize("name", ["deepseek_r1_distill", "nemotron_3_nano", "qwen3_5_think"])
def test_rows_with_and_without_thoughts_share_a_file(name: str) -> None:
    tokenizer = model_tokenizer(name)
    rows = [
        Conversation(tuple(chat(*turns)), answer)
        for turns in (("a?",), ("a?", "b", "c?"), ("a?", THOUGHT, "c?"))
        for answer in ("Four", THOUGHT)
    ]
    tokens = SFT().tokens(tokenizer, rows, 4000)
    assert set(tokens.rows.tolist()) == set(range(len(rows)))
    scored = SFT().tokens(tokenizer, rows, 4000, scoring=True)
    assert len(scored) == len(rows)


@pytest.mark.parametrize("name", READING_A_FIELD)
def test_thoughts_are_written_once_where_the_template_has_them(name: str) -> None:
    tokenizer = model_tokenizer(name)
    prompt, text, remarks = learned(tokenizer, THOUGHT)
    whole = prompt + text
    if name != "qwen3_5_nothink":
        assert whole.count("Plus.") == whole.count("Four") == 1
        assert (
            whole.count("<think>") == whole.count("</think>") == (0 if name in ("gptoss", "gemma4_v5") else 1)
        )
        assert whole.index("Plus.") < whole.index("Four")
        assert not any("thoughts" in remark for remark in remarks)
    _, empty, remarks = learned(tokenizer, "<think>\n\n</think>\n\nFour")
    assert (prompt + empty).count("<think>") <= 1
    assert not any("white space" in remark for remark in remarks)


def test_thoughts_in_the_tags_of_a_family_go_where_its_template_reads_them() -> None:
    tokenizer = model_tokenizer("qwen3", "[THINK]", "[/THINK]")
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}"
        "{{ '[THINK]' ~ m.reasoning_content ~ '[/THINK]' if m.reasoning_content }}{{ m.content ~ eos_token }}"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    token = tokenizer.convert_tokens_to_ids("[THINK]")
    for answer in ("[THINK]Plus.[/THINK]Four", THOUGHT):
        example = encode(Conversation(tuple(ANSWERED), answer), tokenizer, 4000)
        assert tokenizer.decode(example.answer) == "[THINK]Plus.[/THINK]Four<|im_end|>"
        assert example.answer[0] == token
        assert not example.remarks


@pytest.mark.parametrize("name", ["gptoss", "gemma4_v5", "qwen3", "llama3_2", "muse_glimmer"])
@pytest.mark.parametrize("answer", ["Four", THOUGHT, "  Four, said he:\n- four"])
def test_a_perfect_answer_equals_its_reference(name: str, answer: str) -> None:
    special = ("<|channel|>", "<|message|>", "<|start|>", "<|return|>", "<|eot|>", "<|eom|>")
    tokenizer = model_tokenizer(name, *special, "<|channel>", "<channel|>", "<turn|>")
    example = encode(Conversation(tuple(ANSWERED), answer), tokenizer, 4000)
    (text,) = decode_answers(tokenizer, [example.answer])
    assert answer_matches([text], [answer]) == [1.0], text


def call(arguments: Any, identity: str = "call_1") -> dict[str, Any]:
    return {"type": "function", "id": identity, "function": {"name": "tides", "arguments": arguments}}


TOOLS = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": "tides",
                "description": "High tides",
                "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
            },
        }
    ]
)
WITH_TOOLS = [
    "gptoss",
    "glm4moe",
    "qwen3",
    "qwen2_5",
    "lfm2_2_5",
    "gemma4_v5",
    "llama3_1",
    "qwen3_5_think",
    "qwen3_8",
]


@pytest.mark.parametrize("name", [*WITH_TOOLS, "deepseekv3", "nemotron_3_nano"])
def test_calls_are_given_to_a_template_in_the_form_that_it_reads(name: str) -> None:
    tokenizer = model_tokenizer(name)
    row = Conversation(tuple(ANSWERED), "", (call({"at": "Oslo"}),), TOOLS)
    example = encode(row, tokenizer, 4000)
    text = tokenizer.decode(example.answer)
    assert "tides" in text
    assert "Oslo" in text
    assert '\\"at\\"' not in text
    lost = [remark for remark in example.remarks if "does not write" in remark or NO_PLACE in remark]
    assert lost == ([f"{NO_PLACE} the tool definitions"] if name == "deepseekv3" else [])


@pytest.mark.parametrize("name", ["qwen2_5", "lfm2_2_5", "deepseekv3"])
def test_arguments_as_text_in_a_request_give_the_prompt_of_training(name: str) -> None:
    tokenizer = model_tokenizer(name)
    prompts = [
        prompt_ids(
            tokenizer,
            [
                *ANSWERED,
                {"role": "assistant", "content": "", "tool_calls": [call(arguments)]},
                {"role": "tool", "content": "18", "tool_call_id": "call_1"},
            ],
        )
        for arguments in ({"at": "Oslo"}, '{"at": "Oslo"}')
    ]
    assert prompts[0] == prompts[1]
    assert "Oslo" in tokenizer.decode(prompts[0])


def test_thoughts_before_a_call_have_their_own_place() -> None:
    row = Conversation(tuple(ANSWERED), "<think>\nPlus.\n</think>\n\n", (call({"at": "Oslo"}),), TOOLS)
    example = encode(row, model_tokenizer("gptoss"), 4000)
    text = model_tokenizer("gptoss").decode(example.answer)
    assert "analysis<|message|>Plus." in text
    assert "<think>" not in text


NINE = (
    "{% for m in messages %}{% for c in m.tool_calls or [] %}"
    "{% if c.id is not defined or c.id | length != 9 %}{{ raise_exception('an id has nine characters') }}{% endif %}"
    "[{{ c.function.name }}{{ c.function.arguments | tojson }}#{{ c.id }}]{% endfor %}"
    "{{ m.content }}{{ '#' ~ m.tool_call_id if m.tool_call_id else '' }}"
    "{{ eos_token if m.role == 'assistant' }}{% endfor %}"
)


@pytest.mark.parametrize("ids", [("call_a", "call_b"), ("", ""), ("abcdefghi", "123456789")])
def test_ids_of_calls_have_nine_characters_where_a_template_wants_that(ids: tuple[str, str]) -> None:
    tokenizer = model_tokenizer("qwen3")
    tokenizer.chat_template = NINE
    calls = [call({"at": place}, identity) for place, identity in zip(("Oslo", "Rome"), ids, strict=True)]
    results = [
        {"role": "tool", "content": "18", "tool_call_id": ids[1]},
        {"role": "tool", "content": "12", "tool_call_id": ids[0]},
    ]
    if not ids[0]:
        results = [{"role": "tool", "content": text} for text in ("12", "18")]
        calls = [{key: value for key, value in each.items() if key != "id"} for each in calls]
    prompt = (*ANSWERED, {"role": "assistant", "content": "", "tool_calls": calls}, *results)
    text = tokenizer.decode(encode(Conversation(prompt, "Four"), tokenizer, 4000).prompt)
    oslo, rome = (text.split(place)[1].split("#")[1][:9] for place in ("Oslo", "Rome"))
    assert oslo != rome
    assert f"12#{oslo}" in text
    assert f"18#{rome}" in text
    if ids[0] == "abcdefghi":
        assert (oslo, rome) == ids


def test_every_answer_of_glm_ends_with_a_token_at_which_generation_stops(tmp_path: Path) -> None:
    tokenizer = model_tokenizer(
        "glm4moe", "<|user|>", "<|assistant|>", "<|observation|>", "<|endoftext|>", eos="<|endoftext|>"
    )
    tokenizer.save_pretrained(tmp_path)
    ends = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|user|>", "<|observation|>"])
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    asked = {"role": "assistant", "content": "", "tool_calls": [call({"at": "Oslo"})]}
    messages = [*chat("One?", "A", "Tides?"), asked, {"role": "tool", "content": "18"}]
    (example,) = training_examples(Conversation(tuple(messages), "Four", (), TOOLS), tokenizer, 4000)
    labels = [label for label in example.labels if label != IGNORED]
    assert [label for label in labels if label in ends] == [ends[1], ends[2], ends[0]]
    assert labels[-1] == ends[0]


@pytest.mark.parametrize("name", ["phi3", "phi3_5"])
def test_the_end_of_the_whole_text_alone_does_not_split_a_row(name: str, tmp_path: Path) -> None:
    tokenizer = model_tokenizer(name, "<|endoftext|>", "<|assistant|>", "<|user|>", eos="<|endoftext|>")
    tokenizer.save_pretrained(tmp_path)
    ends = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|end|>"])
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    row = Conversation(tuple(chat("One?", "A", "Two?")), "Blue")
    (example,) = training_examples(row, tokenizer, 4000)
    text = tokenizer.decode([label for label in example.labels if label != IGNORED])
    assert text.replace("\n", "") == "A<|end|>Blue<|end|><|endoftext|>"
    assert not example.remarks
    for answer in (1, 3):
        prompt = prompt_ids(tokenizer, chat("One?", "A", "Two?", "Blue")[:answer])
        assert example.input_ids[: len(prompt)] == prompt
    # Where generation doesn't stop at <|end|>, an earlier answer needs the end that follows the last alone.
    (tmp_path / "generation_config.json").unlink()
    tokenizer = model_tokenizer(name, "<|endoftext|>", eos="<|endoftext|>")
    assert len(training_examples(row, tokenizer, 4000)) == 2


def test_rows_that_are_split_are_named_and_may_keep_their_last_answer_alone() -> None:
    tokenizer = model_tokenizer("qwen3")
    row = Conversation(tuple(chat("One?", "A", "Two?")), "Blue")
    first, last = training_examples(row, tokenizer, 4000)
    assert "each answer becomes an example of its own" in first.remarks[0]
    set_settings(tokenizer, {"turns": "last"})
    (only,) = training_examples(row, tokenizer, 4000)
    assert only.input_ids == last.input_ids
    assert "only the last answer is learned" in only.remarks[0]
    single = training_examples(Conversation(tuple(ANSWERED), "Four"), tokenizer, 4000)
    assert not single[0].remarks
