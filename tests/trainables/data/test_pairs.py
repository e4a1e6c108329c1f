"""Pairs and answers that are lists of messages: what both sides share is the prompt, and what differs the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainables.config.data import DataConfig
from trainables.data import converted_rows
from trainables.data.errors import DataError
from trainables.data.rows import Conversation, Labelled, Preference, Prompt, row_from_json, row_to_json


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


SYSTEM = turn("system", "You rent boats.")
FIRST, FIRST_ANSWER = turn("user", "Do you have kayaks?"), turn("assistant", "Two.")
LAST, GOOD, BAD = turn("user", "For tomorrow?"), turn("assistant", "Both are free."), turn("assistant", "No.")


def load(folder: Path, rows: list[dict[str, Any]], row_type: type = Preference, **settings: Any) -> Any:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return converted_rows.load_uncut(DataConfig(train=str(path), **settings), row_type)


@pytest.mark.parametrize(
    "row",
    [
        # No prompt of its own: TRL's implicit one, in the names of TRL, ms-swift and LLaMA-Factory.
        {
            "chosen": [SYSTEM, FIRST, FIRST_ANSWER, LAST, GOOD],
            "rejected": [SYSTEM, FIRST, FIRST_ANSWER, LAST, BAD],
        },
        {
            "chosen_messages": [SYSTEM, FIRST, FIRST_ANSWER, LAST, GOOD],
            "rejected_messages": [SYSTEM, FIRST, FIRST_ANSWER, LAST, BAD],
        },
        # The last question, the first one, or all of the prompt beside whole conversations.
        *(
            {
                "prompt": prompt,
                "chosen": [SYSTEM, FIRST, FIRST_ANSWER, LAST, GOOD],
                "rejected": [SYSTEM, FIRST, FIRST_ANSWER, LAST, BAD],
            }
            for prompt in (LAST["content"], FIRST["content"] + "\n", [SYSTEM, FIRST, FIRST_ANSWER, LAST])
        ),
        # Parts of the history on each side.
        {
            "prompt": [SYSTEM, FIRST],
            "chosen": [FIRST_ANSWER, LAST, GOOD],
            "rejected": [FIRST_ANSWER, LAST, BAD],
        },
        {"prompt": [SYSTEM, FIRST, FIRST_ANSWER, LAST], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [SYSTEM, FIRST, FIRST_ANSWER, LAST], "chosen": GOOD["content"], "rejected": BAD},
        # One whole conversation beside the other answer alone.
        {"chosen": [SYSTEM, FIRST, FIRST_ANSWER, LAST, GOOD], "rejected": [BAD]},
        {"messages": [SYSTEM, FIRST, FIRST_ANSWER, LAST, GOOD], "rejected_response": "No."},
        {
            "messages": [SYSTEM, FIRST, FIRST_ANSWER, LAST, GOOD],
            "rejected_messages": [SYSTEM, FIRST, FIRST_ANSWER, LAST, BAD],
        },
        # The system text in a column.
        {
            "system": "You rent boats.",
            "prompt": "Do you have kayaks?",
            "chosen": [FIRST, FIRST_ANSWER, LAST, GOOD],
            "rejected": [FIRST, FIRST_ANSWER, LAST, BAD],
        },
    ],
)
def test_what_both_sides_share_is_the_prompt_however_it_is_written(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    expected = Preference((SYSTEM, FIRST, FIRST_ANSWER, LAST), "Both are free.", "No.")
    assert list(load(tmp_path, [row]).rows) == [expected]


def test_a_prompt_that_is_not_in_a_column_is_named(tmp_path: Path) -> None:
    data = load(tmp_path, [{"chosen": [FIRST, GOOD], "rejected": [FIRST, BAD]}])
    assert "in 1 of 1 row the prompt is what chosen and rejected share" in data.warnings[0]
    more = load(
        tmp_path,
        [
            {
                "prompt": "For tomorrow?",
                "chosen": [FIRST, BAD, LAST, GOOD],
                "rejected": [FIRST, BAD, LAST, BAD],
            }
        ],
    )
    assert "share more messages than the prompt has" in more.warnings[0]
    same = load(tmp_path, [{"prompt": FIRST["content"], "chosen": [FIRST, GOOD], "rejected": [FIRST, BAD]}])
    assert same.warnings == ()


def test_what_differs_is_the_answer_and_may_be_several_turns(tmp_path: Path) -> None:
    row = {
        "prompt": "Do you have kayaks?",
        "chosen": [FIRST_ANSWER, LAST, GOOD],
        "rejected": [BAD, LAST, BAD],
    }
    (pair,) = load(tmp_path, [row]).rows
    assert pair.prompt == (FIRST,)
    assert (pair.chosen_turns, pair.chosen) == ((FIRST_ANSWER, LAST), "Both are free.")
    assert (pair.rejected_turns, pair.rejected) == ((BAD, LAST), "No.")
    chosen, rejected = pair.answers()
    assert chosen == Conversation((FIRST, FIRST_ANSWER, LAST), "Both are free.")
    assert rejected == Conversation((FIRST, BAD, LAST), "No.")


def test_answers_of_the_prompt_are_never_learned_and_marked_ones_neither(tmp_path: Path) -> None:
    marked = {**FIRST_ANSWER, "loss_weight": 0.0}
    rows = [
        {"prompt": [FIRST, BAD, LAST], "chosen": [FIRST_ANSWER, LAST, GOOD], "rejected": [BAD, LAST, BAD]},
        {"prompt": "?", "chosen": [marked, LAST, GOOD], "rejected": [{**BAD, "loss_weight": 0.0}, LAST, BAD]},
    ]
    history, marks = load(tmp_path, rows).rows
    assert [answer.untrained for answer in history.answers()] == [(1,), (1,)]
    assert [answer.untrained for answer in marks.answers()] == [(1,), (1,)]
    assert all("train" not in message for answer in marks.answers() for message in answer.prompt)


def test_calls_are_answers_of_a_pair(tmp_path: Path) -> None:
    call = {"name": "boats", "arguments": {"kind": "kayak"}}
    row = {
        "prompt": "Do you have kayaks?",
        "chosen": [turn("assistant", "", tool_calls=[call])],
        "rejected": "No.",
    }
    (pair,) = load(tmp_path, [row]).rows
    assert (pair.chosen, pair.chosen_calls) == ("", ({"type": "function", "function": call},))
    assert pair.answers()[0].last()["tool_calls"] == list(pair.chosen_calls)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (
            {"chosen": [SYSTEM, FIRST, GOOD], "rejected": [turn("system", "Other."), FIRST, BAD]},
            "differ in a message of role system",
        ),
        ({"chosen": [FIRST, GOOD], "rejected": [LAST, BAD]}, "differ in a message of role user"),
        (
            {"chosen": [FIRST, BAD, LAST, GOOD], "rejected": [FIRST, BAD, FIRST, BAD]},
            "differ in a message of role user",
        ),
        ({"prompt": "Hello?", "chosen": [FIRST, GOOD], "rejected": [FIRST, BAD]}, "its prompt is not among"),
        ({"chosen": [FIRST, BAD, LAST, GOOD], "rejected": [FIRST, BAD]}, "the beginning of the other"),
        ({"chosen": [FIRST, GOOD], "rejected": [FIRST, GOOD]}, "are the same"),
        ({"prompt": [FIRST, GOOD], "chosen": "a", "rejected": "b"}, "its prompt ends with an answer"),
        ({"prompt": "x", "chosen": [FIRST], "rejected": [FIRST]}, "it ends without an answer"),
    ],
)
def test_a_pair_without_one_prompt_is_left_out_and_named(
    tmp_path: Path, row: dict[str, Any], why: str
) -> None:
    fine = {"prompt": "Do you have kayaks?", "chosen": [FIRST, GOOD], "rejected": [FIRST, BAD]}
    data = load(tmp_path, [fine, row, {key: fine[key] for key in fine if key in row}])
    assert len(data.rows) == 2
    (warning,) = [each for each in data.warnings if "left out" in each]
    assert why in warning
    assert "rows.jsonl:2" in warning


def test_two_texts_without_a_prompt_are_refused_with_what_to_write(tmp_path: Path) -> None:
    row = {"chosen": "Q: kayaks?\nA: two", "rejected": "Q: kayaks?\nA: no"}
    with pytest.raises(
        DataError, match=r"rows\.jsonl:1: .*there is no prompt that they answer.*columns: \{prompt"
    ):
        load(tmp_path, [row] * 3)


@pytest.mark.parametrize("nothing", [{"prompt": None}, {"prompt": ""}, {"prompt": []}, {}])
@pytest.mark.parametrize("form", ["completion", "alpaca", "messages"])
def test_a_pair_without_the_prompt_that_others_have_is_left_out(
    tmp_path: Path, nothing: Any, form: str
) -> None:
    column, request = {
        "completion": ("prompt", "Kayaks?"),
        "alpaca": ("instruction", "Kayaks?"),
        "messages": ("messages", [FIRST]),
    }[form]
    rows = [{column: request, "chosen": "Two.", "rejected": "No."}] * 2
    empty = dict.fromkeys([column], nothing["prompt"]) if nothing else {}
    data = load(tmp_path, [*rows, {**empty, "chosen": "Four.", "rejected": "No."}, *rows])
    assert len(data.rows) == 4
    assert "1 because its prompt is empty (rows.jsonl:3)" in data.warnings[0]


@pytest.mark.parametrize(
    ("row_type", "stage"), [(Conversation, "this stage learns"), (Labelled, "kto learns")]
)
def test_two_texts_for_a_stage_that_learns_one_are_refused_with_what_to_write(
    tmp_path: Path, row_type: type, stage: str
) -> None:
    row = {"prompt": "Kayaks?", "completion": ["Two.", "No."], "label": True}
    with pytest.raises(
        DataError, match=f"{stage} from .*two texts in a list are such a pair.*a text or a list"
    ):
        load(tmp_path, [row], row_type)


@pytest.mark.parametrize(("value", "written"), [(True, "true"), (2.5, "2.5")])
def test_a_fraction_as_an_answer_is_refused_with_what_to_write(
    tmp_path: Path, value: Any, written: str
) -> None:
    with pytest.raises(
        DataError, match=f'completion must be a text, got .*; write it in quotes: "{written}"'
    ):
        load(tmp_path, [{"prompt": "How many?", "completion": value}], Conversation)


def test_a_completion_that_is_a_list_of_messages_is_all_learned(tmp_path: Path) -> None:
    rows = [
        {"prompt": [FIRST], "completion": [FIRST_ANSWER, LAST, GOOD]},
        {"prompt": "Do you have kayaks?", "completion": [FIRST, FIRST_ANSWER, LAST, GOOD]},
    ]
    data = load(tmp_path, rows, Conversation)
    assert list(data.rows) == [Conversation((FIRST, FIRST_ANSWER, LAST), "Both are free.")] * 2
    unrelated = load(tmp_path, [*rows, {"prompt": "Hello?", "completion": [FIRST, GOOD]}], Conversation)
    assert (
        "its answer is a conversation that does not hold its prompt (rows.jsonl:3)" in unrelated.warnings[0]
    )


def test_the_reference_of_a_prompt_is_the_last_chosen_answer(tmp_path: Path) -> None:
    row = {"prompt": [FIRST], "chosen": [FIRST_ANSWER, LAST, GOOD], "rejected": [BAD, LAST, BAD]}
    (prompt,) = load(tmp_path, [row], Prompt).rows
    assert prompt == Prompt((FIRST, FIRST_ANSWER, LAST), "Both are free.")


@pytest.mark.parametrize("row_type", [Preference, Labelled])
def test_rows_without_several_turns_are_written_as_before_there_were_any(row_type: type) -> None:
    row = Preference((FIRST,), "a", "b") if row_type is Preference else Labelled((FIRST,), "a", True)
    expected = {"prompt": [FIRST], "tools": None} | (
        {"chosen": "a", "rejected": "b"} if row_type is Preference else {"completion": "a", "label": True}
    )
    assert json.loads(row_to_json(row)) == expected
    turns = Preference((FIRST,), "a", "b", None, (GOOD, LAST), (BAD, LAST), (), ({"type": "function"},))
    assert row_from_json(row_to_json(turns), Preference) == turns


# Texts are texts


JSON_TEXTS = [
    '{"kind": "kayak"}',
    '[{"kind": "kayak"}, {"kind": "raft"}]',
    "{name}, hello!",
    '{"a": 1',
    "[1] page 4",
]


@pytest.mark.parametrize("text", [*JSON_TEXTS, '["a", "b"]', "null", "4"])
def test_an_answer_that_begins_like_json_stays_a_text(tmp_path: Path, text: str) -> None:
    (pair,) = load(tmp_path, [{"prompt": "Write it.", "chosen": text, "rejected": "no"}]).rows
    assert pair.chosen == text
    (row,) = load(tmp_path, [{"instruction": "Write it.", "output": text}], Conversation).rows
    assert row.answer == text
    (row,) = load(tmp_path, [{"messages": [FIRST, turn("assistant", text)]}], Conversation).rows
    assert row.answer == text


def test_a_message_in_a_text_is_not_unwrapped_and_is_named(tmp_path: Path) -> None:
    text = json.dumps([turn("assistant", "hi")])
    data = load(tmp_path, [{"prompt": "Write a log.", "completion": text}], Conversation)
    assert data.rows[0].answer == text
    assert "completion is the JSON of messages in a text, and is read as this text" in data.warnings[0]


@pytest.mark.parametrize("column", ["prompt", "completion", "system"])
def test_messages_that_python_wrote_into_a_text_are_named(tmp_path: Path, column: str) -> None:
    row = {"prompt": "Kayaks?", "completion": "Two.", "system": "Be brief."}
    listed = [{"role": "user", "content": "Kayaks?"}, {"content": "Two.", "role": "assistant"}]
    numpy = "[{'content': 'Kayaks?', 'role': 'user'}\n {'content': 'Two.', 'role': 'assistant'}]"
    named_first = str([{"name": "Ada", **listed[0]}])
    for text in (str(listed), str(listed[0]), named_first, numpy, f"array({listed})"):
        data = load(tmp_path, [{**row, column: text}], Conversation)
        assert (
            f"{column} is a list of messages as Python shows it, and is read as this text" in data.warnings[0]
        )
    named = load(tmp_path, [{**row, column: json.dumps(listed)}], Conversation)
    assert f"{column} is the JSON of messages in a text, and is read as this text" in named.warnings[0]
    for text in ("['role']: user", "{'value': 1}", "{'role': 'king'}", "array([1, 2])"):
        assert load(tmp_path, [{**row, column: text}], Conversation).warnings == ()


def test_a_prompt_is_a_text_a_message_or_a_list_of_messages(tmp_path: Path) -> None:
    text = json.dumps([FIRST])
    prompts = [FIRST["content"], FIRST, [FIRST], text]
    data = load(tmp_path, [{"prompt": prompt, "completion": "Two."} for prompt in prompts], Conversation)
    assert [row.prompt[0]["content"] for row in data.rows] == [FIRST["content"]] * 3 + [text]
    (warning,) = data.warnings
    assert "prompt is the JSON of messages in a text, and is read as this text (rows.jsonl:4)" in warning


def test_an_answer_that_is_an_object_is_written_as_json(tmp_path: Path) -> None:
    value = {"city": "Tromsø", "seats": [1, None], "from": "Oslo", "value": 3.5}
    for row, answer in (
        ({"instruction": "Read it.", "output": value}, value),
        ({"prompt": "Read it.", "completion": [value, value]}, [value, value]),
        ({"messages": [FIRST, turn("assistant", value)]}, value),
    ):
        data = load(tmp_path, [row], Conversation)
        assert data.rows[0].answer == json.dumps(answer, ensure_ascii=False)
        assert "and is written as JSON (rows.jsonl:1)" in data.warnings[0]
    with pytest.raises(DataError, match="output must be a text, got float"):
        load(tmp_path, [{"instruction": "2 + 2?", "output": 4.0}], Conversation)


def test_messages_as_json_in_tables_are_read(tmp_path: Path) -> None:
    columns = {
        "messages": [json.dumps([SYSTEM, FIRST])],
        "chosen": [json.dumps([GOOD])],
        "rejected": [json.dumps(BAD)],
    }
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    data = converted_rows.load_uncut(DataConfig(train=str(tmp_path / "rows.parquet")), Preference)
    assert list(data.rows) == [Preference((SYSTEM, FIRST), "Both are free.", "No.")]
    pairs = {name: [json.dumps([FIRST, answer])] for name, answer in (("chosen", GOOD), ("rejected", BAD))}
    pq.write_table(pa.table(pairs), tmp_path / "pairs.parquet")
    data = converted_rows.load_uncut(DataConfig(train=str(tmp_path / "pairs.parquet")), Preference)
    assert list(data.rows) == [Preference((FIRST,), "Both are free.", "No.")]
