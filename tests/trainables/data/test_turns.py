"""The order of turns: what is joined, kept as context or left off, and which messages are learned, up to the labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.tiny_model import make_tokenizer
from trainables import templates
from trainables.config.data import DataConfig
from trainables.data import converted_rows
from trainables.data.errors import DataError
from trainables.data.rows import Conversation, Labelled, Prompt
from trainables.stages import SFT
from trainables.tokenization.encode import IGNORED


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    tokenizer: Any = make_tokenizer()
    templates.apply(tokenizer, "chatml")
    return tokenizer


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


ASK, ANSWER = turn("user", "Which pier?"), turn("assistant", "Pier four.")


def load(folder: Path, rows: list[dict[str, Any]], row_type: type = Conversation, **settings: Any) -> Any:
    """The rows of a file, as often as it takes to hold some out."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return converted_rows.load_uncut(DataConfig(train=str(path), **settings), row_type)


def learned(tokenizer: Any, row: Conversation, **settings: Any) -> str:
    """The text that has labels, in all examples of the row."""
    examples = SFT(**settings).encode(tokenizer, row, 10_000)
    return "|".join(
        tokenizer.decode([label for label in each.labels if label != IGNORED]) for each in examples
    )


def texts(messages: Any) -> list[str]:
    return [message["content"] for message in messages]


def test_a_greeting_before_the_first_question_is_context(tmp_path: Path, tokenizer: Any) -> None:
    system = turn("system", "You sell tickets.")
    rows = [
        {"messages": [turn("assistant", "Ticket office!"), ASK, ANSWER]},
        {"messages": [system, turn("assistant", "Ticket office!"), ASK, ANSWER]},
    ]
    data = load(tmp_path, rows)
    for row in data.rows:
        assert "Ticket office!" in texts(row.prompt)
        for settings in ({}, {"mask_history": True}):
            assert learned(tokenizer, row, **settings) == "Pier four.<|im_end|>\n"
    (warning,) = data.warnings
    assert "in 2 of 2 rows a greeting of the assistant" in warning
    assert "(rows.jsonl:1, rows.jsonl:2)" in warning


@pytest.mark.parametrize(
    ("given", "prompt", "answer", "remark"),
    [
        (
            [turn("user", "I go to Oslo."), turn("user", "By boat."), ANSWER],
            ["I go to Oslo.\n\nBy boat."],
            "Pier four.",
            "two messages of the user in a row are joined",
        ),
        (
            [turn("system", "Be brief."), turn("system", "Be kind."), ASK, ANSWER],
            ["Be brief.\n\nBe kind.", "Which pier?"],
            "Pier four.",
            "two system messages in a row are joined",
        ),
        (
            [ASK, turn("assistant", "Let me see."), ANSWER],
            ["Which pier?"],
            "Let me see.\n\nPier four.",
            "two messages of the assistant in a row are joined",
        ),
        ([ASK, ANSWER, turn("user", "Thanks!")], ["Which pier?"], "Pier four.", "messages without an answer"),
        ([ASK, ANSWER, turn("user", " ")], ["Which pier?"], "Pier four.", "an empty message of the user"),
    ],
)
def test_what_can_be_read_in_one_way_is_read_and_counted(
    tmp_path: Path, given: list[Any], prompt: list[str], answer: str, remark: str
) -> None:
    data = load(tmp_path, [{"messages": given}])
    (row,) = data.rows
    assert (texts(row.prompt), row.answer) == (prompt, answer)
    (warning,) = data.warnings
    assert f"rows.jsonl: in 1 of 1 row {remark}" in warning
    with pytest.raises(DataError, match=f"rows.jsonl:1: {remark}.*strict: false"):
        load(tmp_path, [{"messages": given}], strict=True)


@pytest.mark.parametrize(
    "given",
    [
        [ASK, ANSWER, turn("system", "It is July."), turn("user", "And now?"), ANSWER],
        [ASK, turn("tool", "4"), ANSWER],
        [ASK, turn("assistant", "No.", weight=0), ANSWER],
    ],
)
def test_what_can_be_read_in_several_ways_is_left_out_and_named(tmp_path: Path, given: list[Any]) -> None:
    data = load(tmp_path, [{"messages": given}, {"messages": [ASK, ANSWER]}])
    assert len(data.rows) == 1
    (warning,) = data.warnings
    assert "1 of 2 rows left out: 1 because odd turn order" in warning
    assert "(rows.jsonl:1)" in warning


def test_an_answer_to_a_system_text_alone_is_learned(tmp_path: Path, tokenizer: Any) -> None:
    (row,) = load(tmp_path, [{"messages": [turn("system", "Greet Oslo."), turn("assistant", "Hi!")]}]).rows
    assert learned(tokenizer, row) == "Hi!<|im_end|>\n"


def test_the_last_question_without_an_answer_is_a_prompt(tmp_path: Path) -> None:
    rows = [{"messages": [ASK, ANSWER, turn("user", "And on Sundays?")]}]
    (row,) = load(tmp_path, rows, Prompt).rows
    assert texts(row.prompt) == ["Which pier?", "Pier four.", "And on Sundays?"]


def test_a_system_column_that_the_messages_contradict_is_named(tmp_path: Path) -> None:
    data = load(tmp_path, [{"messages": [turn("system", "A."), ASK, ANSWER], "system": "B."}])
    assert texts(data.rows[0].prompt) == ["A.", "Which pier?"]
    assert "the system column is left aside" in data.warnings[0]
    same = load(tmp_path, [{"messages": [turn("system", "A."), ASK, ANSWER], "system": "A."}])
    assert same.warnings == ()


# Marks


@pytest.mark.parametrize(
    "mark",
    [
        {"weight": 0},
        {"train": False},
        {"training": False},
        {"loss": False},
        {"loss_mask": 0},
        {"loss_weight": 0.0},
        {"loss_scale": 0},
        {"train": "false"},
        {"weight": -0.0},
        {"trainable": False},
        {"is_train": 0},
        {"Learn": "0"},
        {"to-learn": False},
    ],
)
def test_an_answer_that_is_marked_is_not_learned(
    tmp_path: Path, tokenizer: Any, mark: dict[str, Any]
) -> None:
    wrong, again = turn("assistant", "WRONG", **mark), turn("user", "Look again.")
    data = load(tmp_path, [{"messages": [ASK, wrong, again, {**ANSWER, **dict.fromkeys(mark, 1)}]}])
    (row,) = data.rows
    assert data.warnings == ()
    assert row.prompt == (ASK, turn("assistant", "WRONG"), again)
    assert learned(tokenizer, row) == "Pier four.<|im_end|>\n"
    everything = learned(tokenizer, row, train_on_prompt=True)
    assert "WRONG" not in everything
    assert "Look again." in everything


def test_torchtunes_masked_answer_is_not_learned_and_mask_alone_says_neither(
    tmp_path: Path, tokenizer: Any
) -> None:
    def rows(mark: str) -> list[dict[str, Any]]:
        wrong, again = turn("assistant", "WRONG", **{mark: True}), turn("user", "Look again.", **{mark: True})
        return [{"messages": [ASK, wrong, again, {**ANSWER, mark: False}]}]

    data = load(tmp_path, rows("masked"))
    assert learned(tokenizer, data.rows[0]) == "Pier four.<|im_end|>\n"
    assert data.warnings == ()
    unclear = load(tmp_path, rows("mask"))
    assert "WRONG" in learned(tokenizer, unclear.rows[0])
    assert "the key mask of a message is left aside" in unclear.warnings[0]


def test_only_marked_answers_are_left_out_of_several(tmp_path: Path, tokenizer: Any) -> None:
    answers = [
        turn("assistant", name, loss=learn) for name, learn in (("A", True), ("B", False), ("C", True))
    ]
    talk = [message for answer in answers for message in (turn("user", "?"), answer)]
    (row,) = load(tmp_path, [{"messages": talk}]).rows
    assert row.untrained == (3,)
    assert learned(tokenizer, row) == "A<|im_end|>\nC<|im_end|>\n"


def test_marked_answers_are_context_in_templates_that_make_an_example_of_each_answer(
    tmp_path: Path,
) -> None:
    tokenizer: Any = make_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] if not loop.last "
        "else m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    thought = [turn("assistant", f"<think>x</think>{n}", train=n != 1) for n in range(3)]
    talk = [message for answer in thought for message in (turn("user", "?"), answer)]
    (row,) = load(tmp_path, [{"messages": talk}]).rows
    assert learned(tokenizer, row) == "<think>x</think>0<|im_end|>\n|<think>x</think>2<|im_end|>\n"


def test_a_conversation_ends_with_its_last_answer_that_is_learned(tmp_path: Path) -> None:
    talk = [ASK, ANSWER, turn("user", "Sure?"), turn("assistant", "WRONG", train=False)]
    data = load(tmp_path, [{"messages": talk}, {"messages": [ASK, turn("assistant", "WRONG", train=False)]}])
    (row,) = data.rows
    assert (texts(row.prompt), row.answer) == (["Which pier?"], "Pier four.")
    assert any("answers that are not to be learned at the end are left off" in each for each in data.warnings)
    assert any("none of its answers is to be learned (rows.jsonl:2)" in each for each in data.warnings)


@pytest.mark.parametrize(
    ("key", "value"), [("weight", 0.5), ("loss_weight", 2), ("train", "partly"), ("loss", [1])]
)
def test_a_message_is_not_learned_in_part(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(DataError, match=f"rows.jsonl:1: the {key} of a message is .*write 1 or 0"):
        load(tmp_path, [{"messages": [ASK, {**ANSWER, key: value}]}])
    with pytest.raises(DataError, match=r"rows\.jsonl:1: train_detail marks parts of a message"):
        load(tmp_path, [{"messages": [ASK, {**ANSWER, "train_detail": [{"begin_offset": 0}]}]}])


@pytest.mark.parametrize("key", ["masked_out", "supervised", "loss_factor"])
def test_a_key_that_is_no_known_mark_is_named_even_if_it_is_false(tmp_path: Path, key: str) -> None:
    for value in (False, 0, True):
        data = load(tmp_path, [{"messages": [ASK, {**ANSWER, key: value}]}])
        assert f"the key {key} of a message is left aside" in data.warnings[0]


def test_a_part_of_a_message_is_not_left_out_of_learning(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "BAD ", "train": False}, {"type": "text", "text": "Good."}]
    with pytest.raises(DataError, match=r"rows\.jsonl:1: a part of a message is marked not to be learned"):
        load(tmp_path, [{"messages": [ASK, turn("assistant", parts)]}])
    with pytest.raises(DataError, match=r"rows\.jsonl:1: the weight of a message is float 0\.5"):
        load(
            tmp_path, [{"messages": [ASK, turn("assistant", [{"type": "text", "text": "A", "weight": 0.5}])]}]
        )
    parts = [{**part, "train": True} for part in parts]
    (row,) = load(tmp_path, [{"messages": [ASK, turn("assistant", parts)]}]).rows
    assert row.answer == "BAD Good."


def test_marks_of_others_than_the_assistant_are_named_where_they_say_something_else(tmp_path: Path) -> None:
    quiet = load(tmp_path, [{"messages": [{**ASK, "loss_weight": 0.0}, {**ANSWER, "loss_weight": 1.0}]}])
    assert quiet.warnings == ()
    loud = load(tmp_path, [{"messages": [{**ASK, "train": True}, ANSWER]}])
    assert "train marks a message of role user to be learned, and only answers are" in loud.warnings[0]


def test_marks_do_not_change_the_prompt_that_rows_are_held_out_by(tmp_path: Path) -> None:
    plain, marked = load(
        tmp_path,
        [{"messages": [ASK, turn("assistant", "A", **mark), ASK, ANSWER]} for mark in ({}, {"weight": 0})],
    ).rows
    assert plain.key() == marked.key()
    assert plain.untrained == ()


# Thoughts, and other keys


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_thoughts_beside_an_answer_open_it(tmp_path: Path, tokenizer: Any, key: str) -> None:
    rows = [{"messages": [ASK, {**ANSWER, key: "Four is free."}]}]
    data = load(tmp_path, rows)
    (row,) = data.rows
    assert row.answer == "<think>\nFour is free.\n</think>\n\nPier four."
    assert data.warnings == ()
    assert load(tmp_path, rows, thinking="strip").rows[0].answer == "Pier four."


def test_thoughts_that_an_answer_has_already_are_not_repeated(tmp_path: Path) -> None:
    own = "<think>\nFour is free.\n</think>\n\nPier four."
    same, other = (
        {"messages": [ASK, turn("assistant", own, reasoning=it)]} for it in ("Four is free.", "No!")
    )
    assert load(tmp_path, [same]).warnings == ()
    data = load(tmp_path, [other])
    assert data.rows[0].answer == own
    assert "the key reasoning of a message is left aside" in data.warnings[0]


def test_a_setting_called_thinking_is_no_thought(tmp_path: Path) -> None:
    assert load(tmp_path, [{"messages": [ASK, {**ANSWER, "thinking": True}]}]).rows[0].answer == "Pier four."


def test_what_a_message_has_beside_its_text_is_named(tmp_path: Path) -> None:
    noted = {**ANSWER, "annotations": ["from a brochure"], "refusal": None, "id": "m-1"}
    data = load(tmp_path, [{"messages": [ASK, noted]}])
    assert data.rows[0].answer == "Pier four."
    assert [warning.partition(" (")[0] for warning in data.warnings] == [
        "rows.jsonl: in 1 of 1 row the key annotations of a message is left aside"
    ]


@pytest.mark.parametrize(
    "answer",
    [
        "<think>a</think>\n\n<think>\nb\n</think>\n\nFour.",
        "a\n</think>\n\nFour.",
        "</think>\nFour.",
        "a\n</think>\n\n<think>b</think>Four.",
    ],
)
def test_all_thoughts_that_an_answer_opens_with_are_taken_out(tmp_path: Path, answer: str) -> None:
    for mode, left in (("strip", "Four."), ("empty", "<think>\n\n</think>\n\nFour.")):
        data = load(tmp_path, [{"messages": [ASK, turn("assistant", answer)]}], thinking=mode)
        assert (data.rows[0].answer, data.warnings) == (left, ())


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ("<think>never closed", None),
        ("Say <think>a</think>", None),
        ("<think>a</think><think>b", "<think>b"),
        ("Write </think> there.", None),
        ("<thinking>a</thinking>Four.", None),
        ("[THINK]a[/THINK]Four.", None),
    ],
)
def test_thoughts_that_cannot_be_taken_out_are_named(tmp_path: Path, answer: str, left: str | None) -> None:
    rows = [{"messages": [ASK, turn("assistant", answer)]}]
    data = load(tmp_path, rows, thinking="strip")
    assert data.rows[0].answer == (left or answer)
    assert "an answer holds tags of thoughts that thinking: strip leaves where they are" in data.warnings[0]
    assert load(tmp_path, rows).warnings == ()


def test_thoughts_within_joined_answers_are_named(tmp_path: Path) -> None:
    answers = [turn("assistant", f"<think>{name}</think>{name}.") for name in "AB"]
    data = load(tmp_path, [{"messages": [ASK, *answers]}], thinking="strip")
    assert data.rows[0].answer == "A.\n\n<think>B</think>B."
    assert any("an answer holds tags of thoughts" in warning for warning in data.warnings)


# LLaMA-Factory's next format


def part(text: str, kind: str = "text") -> dict[str, str]:
    return {"type": kind, "value": text}


def test_contents_of_typed_parts_are_read(tmp_path: Path, tokenizer: Any) -> None:
    talk = [
        turn("system", [part("Be brief.")], loss_weight=0.0),
        turn("user", [part("Which "), part("pier?")], loss_weight=0.0),
        turn("assistant", [part("Hm.", "reasoning"), part("Five.")], loss_weight=0.0),
        turn("user", [part("Really?")], loss_weight=0.0),
        turn("assistant", [part("Four.")], loss_weight=1.0),
    ]
    (row,) = load(tmp_path, [{"messages": talk}]).rows
    assert texts(row.prompt) == ["Be brief.", "Which pier?", "<think>\nHm.\n</think>\n\nFive.", "Really?"]
    assert learned(tokenizer, row) == "Four.<|im_end|>\n"


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "content": "Four."}],
        [{"type": "text", "text": {"value": "Four.", "annotations": []}}],
        {"type": "text", "text": "Four."},
        [{"type": "text", "text": ""}, {"text": "Four."}],
    ],
)
def test_the_text_of_a_part_is_read_wherever_it_is(tmp_path: Path, content: Any) -> None:
    data = load(tmp_path, [{"messages": [turn("user", content), turn("assistant", content)]}])
    assert (texts(data.rows[0].prompt), data.rows[0].answer, data.warnings) == (["Four."], "Four.", ())


@pytest.mark.parametrize(
    "more",
    [
        {"summary": [{"type": "summary_text", "text": "Five?"}, {"type": "summary_text", "text": "No."}]},
        {"content": [{"type": "reasoning_text", "text": "Five?"}, "No."]},
        {"reasoning": "Five?\n\nNo."},
    ],
)
def test_thoughts_in_parts_open_the_answer_wherever_they_are(tmp_path: Path, more: dict[str, Any]) -> None:
    answer = turn("assistant", [{"type": "reasoning", **more}, part("Four.")])
    beside = turn("assistant", "Four.", reasoning=next(iter(more.values())))
    for message in (answer, beside):
        (row,) = load(tmp_path, [{"messages": [ASK, message]}]).rows
        assert row.answer == "<think>\nFive?\n\nNo.\n</think>\n\nFour."


def test_a_part_whose_text_is_not_found_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl:1: a part of type text holds body, and no text"):
        load(tmp_path, [{"messages": [ASK, turn("assistant", [{"type": "text", "body": "Four."}])]}])


@pytest.mark.parametrize(
    ("message", "remark"),
    [
        (turn("user", [part("Hm.", "reasoning"), part("?")]), "the reasoning in a message of role user"),
        (turn("user", [part("{}", "tool_call"), part("?")]), "the tool_call in a message of role user"),
        (turn("user", [{**part("?"), "source": "web"}]), "the source of a part of a message is left aside"),
        (turn("user", ["Which ", "one?"]), "the texts of a list in a message are joined"),
        (turn("user", "?", thinking={"effort": "high"}), "the key thinking of a message is left aside"),
    ],
)
def test_what_is_left_aside_of_parts_is_named(tmp_path: Path, message: Any, remark: str) -> None:
    data = load(tmp_path, [{"messages": [message, ANSWER]}])
    assert len(data.rows) == 1
    assert remark in data.warnings[0]


def test_a_label_does_not_move_to_another_answer(tmp_path: Path) -> None:
    good, bad = turn("assistant", "Four."), turn("assistant", "Five.", train=False)
    rows = [
        {"messages": [ASK, good, ASK, bad], "label": False},
        {"prompt": [ASK, good, ASK], "completion": [bad], "label": False},
        {"prompt": [ASK], "completion": [good, ASK, bad], "label": True},
    ]
    data = load(tmp_path, rows, Labelled)
    assert [(row.prompt, row.completion) for row in data.rows] == [((ASK,), "Four.")]
    why = "the answer that its label belongs to is marked not to be learned (rows.jsonl:1, rows.jsonl:2)"
    assert f"2 because {why}" in data.warnings[0]


def test_a_reference_that_is_marked_not_to_be_learned_is_named(tmp_path: Path) -> None:
    data = load(tmp_path, [{"messages": [ASK, turn("assistant", "Five.", train=False)]}], Prompt)
    assert data.rows[0].reference == "Five."
    assert "the last answer is the reference although it is marked not to be learned" in data.warnings[0]


def test_a_label_belongs_to_the_last_answer_and_to_all_turns_of_a_completion(tmp_path: Path) -> None:
    talk = [ASK, turn("assistant", "Five."), turn("user", "Really?"), turn("assistant", "Four.")]
    whole, completed = load(
        tmp_path,
        [{"messages": talk, "label": True}, {"prompt": talk[:1], "completion": talk[1:], "label": False}],
        Labelled,
    ).rows
    assert (whole.prompt, whole.completion_turns, whole.completion) == (tuple(talk[:3]), (), "Four.")
    assert (completed.prompt, completed.completion_turns) == ((ASK,), tuple(talk[1:3]))
    assert completed.completion == "Four."
