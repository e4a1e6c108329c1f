"""Files as people have them: what is read with a change, left out or in doubt is said, with a count and a place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainables.config.data import DataConfig
from trainables.data import converted_rows, loading
from trainables.data.errors import DataError
from trainables.data.formats.likely_columns import likely_columns
from trainables.data.rows import Conversation, Labelled, Preference, Text

HELD_OUT = [{"prompt": f"held out {number}", "completion": "Yes."} for number in range(8)]


def lines(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class Loader:
    """Loads rows as a file, uncut or beside held-out ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self, rows: list[Any], row_type: type = Conversation, **settings: Any
    ) -> converted_rows.UncutData:
        path = lines(self.folder / "rows.jsonl", rows)
        return converted_rows.load_uncut(DataConfig(train=str(path), **settings), row_type)


@pytest.fixture
def load(tmp_path: Path) -> Loader:
    return Loader(tmp_path)


def call(*identities: str) -> dict[str, Any]:
    calls = [
        {"id": name, "function": {"name": "weather", "arguments": {"city": name}}} for name in identities
    ]
    return {"role": "assistant", "tool_calls": calls}


def result(text: str, identity: str | None = None) -> dict[str, Any]:
    return {"role": "tool", "content": text} | ({"tool_call_id": identity} if identity else {})


def chat(*messages: dict[str, Any]) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": "?"}, *messages, {"role": "assistant", "content": "So."}]
    }


def test_results_are_put_in_the_order_of_their_calls(load: Loader) -> None:
    data = load([chat(call("oslo", "rome"), result("25", "rome"), result("4", "oslo"))])
    assert [message["content"] for message in data.rows[0].prompt[2:]] == ["4", "25"]
    assert [message["tool_call_id"] for message in data.rows[0].prompt[2:]] == ["oslo", "rome"]
    assert "in 1 of 1 row the results of calls are put in the order of their calls" in data.warnings[0]
    with pytest.raises(DataError, match=r"rows\.jsonl:1: the results of calls are put in the order"):
        load([chat(call("oslo", "rome"), result("25", "rome"), result("4", "oslo"))], strict=True)


@pytest.mark.parametrize(
    ("results", "remark"),
    [
        ([result("25", "paris"), result("4", "oslo")], "a result has a tool_call_id that none of the calls"),
        ([result("25", "rome")], "a call has no result, although others beside it have one"),
        ([result("25")], "a call has no result, although others beside it have one"),
    ],
)
def test_results_without_their_call_and_calls_without_result_are_named(
    load: Loader, results: list[Any], remark: str
) -> None:
    assert f"rows.jsonl: in 1 of 1 row {remark}" in load([chat(call("oslo", "rome"), *results)]).warnings[0]
    with pytest.raises(DataError, match=rf"^rows\.jsonl:1: {remark}"):
        load([chat(call("oslo", "rome"), *results)], strict=True)
    assert load([chat(call("oslo", "rome"), result("4", "oslo"), result("25", "rome"))]).warnings == ()
    assert load([chat(call("oslo", "rome"), result("4"), result("25"))]).warnings == ()


def test_a_place_for_an_image_in_a_text_is_an_error_and_an_image_beside_it_is_said(load: Loader) -> None:
    row = {"prompt": "<image>What is it?", "completion": "A cat.", "images": ["cat.png"]}
    with pytest.raises(
        DataError, match=r"rows\.jsonl:1: its text holds <image>, for which images has a file"
    ):
        load([row])
    assert load([row], ignore_columns="images").rows[0].prompt[0]["content"] == "<image>What is it?"
    assert load([{**row, "images": []}]).warnings == ()
    (warning,) = load([{**row, "prompt": "What is it?"}]).warnings
    assert "in 1 of 1 row images is left aside, as only texts can be trained on (rows.jsonl:1)" in warning


def test_an_answer_that_is_a_list_of_texts_is_refused_unless_it_is_one(load: Loader) -> None:
    row = {"prompt": "?", "chosen": "Yes.", "rejected": ["No.", "Perhaps."]}
    with pytest.raises(
        DataError, match="rejected is a list of 2 texts, such as a ranking; write a row for each"
    ):
        load([row], Preference)
    data = load([{**row, "rejected": ["No."]}], Preference)
    assert data.rows[0].rejected == "No."
    assert "rejected is a list with one text, and is read as the text" in data.warnings[0]
    with pytest.raises(DataError, match="prompt must be a text or a list of messages, got list"):
        load([{"prompt": ["a", "b"], "completion": "x"}])


def test_openais_pairs_are_read_once_their_columns_are_named(load: Loader) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    answers = [[{"role": "assistant", "content": text}] for text in ("Yes.", "No.")]
    given = {"messages": [{"role": "user", "content": "?"}], "tools": [tool]}
    row = {"input": given, "preferred_output": answers[0], "non_preferred_output": answers[1]}
    with pytest.raises(DataError) as error:
        load([row], Preference)
    columns = {"prompt": "input", "chosen": "preferred_output", "rejected": "non_preferred_output"}
    assert "columns: {prompt: input, chosen: preferred_output, rejected: non_preferred_output}" in str(
        error.value
    )
    pair = load([row], Preference, columns=columns).rows[0]
    assert (pair.prompt[0]["content"], pair.chosen, pair.rejected) == ("?", "Yes.", "No.")
    assert json.loads(pair.tools) == [tool]


def test_the_part_that_is_missing_beside_given_ones_is_named(load: Loader) -> None:
    with pytest.raises(DataError, match=r"There are prompt \(a\) and kto_tag \(b\), and response is missing"):
        load([{"a": "?", "b": "!"}], columns={"question": "a", "kto_tag": "b"})


def test_the_setting_for_unusual_columns_is_written_out() -> None:
    assert likely_columns(["chat", "source"]) == "columns: {messages: chat}"
    assert likely_columns(["a", "b"]) == "columns: {prompt: ..., response: ...}"
    assert likely_columns(["Question", "b"]) == "columns: {prompt: Question, response: ...}"


def test_rows_that_label_one_answer_good_and_bad_are_named(load: Loader) -> None:
    row = {"prompt": "2 + 2?", "completion": "4", "label": True}
    rows = [row, {**row, "prompt": "1 + 3?"}, {**row, "label": False}]
    (warning,) = load(rows, Labelled).warnings
    assert warning == (
        "2 rows label the same answer to the same prompt good and bad (rows.jsonl:1, rows.jsonl:3); keep one of each"
    )
    with pytest.raises(DataError, match="2 rows label the same answer"):
        load(rows, Labelled, strict=True)
    pair = {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}
    (warning,) = load([pair, {**pair, "chosen": "5", "rejected": "4"}, pair], Preference).warnings
    assert warning.startswith("3 rows prefer the one and the other of the same two answers")
    assert load([pair, pair], Preference).warnings == ()


@pytest.mark.parametrize("mark", [{"train": False}, {"weight": 0}, {"loss": False}, {"loss_weight": "0.0"}])
def test_rows_that_are_marked_not_to_be_learned_are_left_out_and_counted(
    load: Loader, mark: dict[str, Any]
) -> None:
    rows = [{**HELD_OUT[0], **mark}, HELD_OUT[1]]
    data = load(rows)
    assert [row.prompt[0]["content"] for row in data.rows] == ["held out 1"]
    assert "1 of 2 rows left out: 1 because its" in data.warnings[0]
    assert len(load(rows, ignore_columns=next(iter(mark))).rows) == 2
    assert load([{**HELD_OUT[0], "loss": 2.31, "train": True}]).warnings == ()


def test_two_parts_in_one_column_are_refused(load: Loader) -> None:
    with pytest.raises(DataError, match="prompt and response are both in a; give each a column of its own"):
        load([{"a": "x"}], columns={"prompt": "a", "response": "a"})


def test_whole_numbers_are_read_as_their_digits_and_fractions_are_refused(load: Loader) -> None:
    data = load([{"prompt": "positive?", "completion": 1}, {"prompt": "negative?", "completion": 0}])
    assert [row.answer for row in data.rows] == ["1", "0"]
    assert "in 2 of 2 rows completion is a number and is read as its digits" in data.warnings[0]
    for value in (0.5, False):
        with pytest.raises(DataError, match=r"write it in quotes: .* a column of texts"):
            load([{"prompt": "?", "completion": value}])


def test_another_usual_column_is_read_where_the_first_is_empty(load: Loader) -> None:
    data = load([{"prompt": "?", "completion": "", "response": "Yes."}, HELD_OUT[0]])
    assert data.rows[0].answer == "Yes."
    assert "in 1 of 2 rows completion is empty, and response is read as the response" in data.warnings[0]


def test_a_history_may_be_json_or_messages(load: Loader) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    for history in ([["Hi", "Hello."]], '[["Hi", "Hello."]]', turns, json.dumps(turns)):
        row = load([{**HELD_OUT[0], "history": history}]).rows[0]
        assert list(row.prompt[:2]) == turns


def test_broken_json_says_what_it_is_and_what_to_do(load: Loader) -> None:
    with pytest.raises(DataError, match=r"messages must be JSON, .* as Python shows .*json\.dumps"):
        load([{"messages": "[{'role': 'user', 'content': 'q'}]"}])
    broken = call("oslo")
    broken["tool_calls"][0]["function"]["arguments"] = '{"city": "Oslo"'
    with pytest.raises(
        DataError, match=r"arguments of a call of weather must be JSON, got .*: it is no JSON"
    ):
        load([chat(broken, result("4"))])


def test_labels_and_roles_that_are_none_say_what_to_do(load: Loader) -> None:
    with pytest.raises(DataError, match="verdict must be a label, which is true or false, or 1 or 0"):
        load([{**HELD_OUT[0], "verdict": "yes"}], Labelled, columns={"kto_tag": "verdict"})
    count = r"got str 'no'; 2 of the 3 rows from rows\.jsonl:1 to rows\.jsonl:3 have no label there"
    with pytest.raises(DataError, match=count):
        load([{**HELD_OUT[0], "label": value} for value in ("true", "no", "yes")], Labelled)
    later = [{**HELD_OUT[0], "label": value} for value in ["true"] * 1200 + ["no", "yes"]]
    with pytest.raises(DataError, match=r"2 of the 178 rows from rows\.jsonl:1025 to rows\.jsonl:1202 have"):
        load(later, Labelled)
    with pytest.raises(
        DataError, match=r"unknown role 'bard'; say in data whose it is, as in tags: \{assistant_tag"
    ):
        load([{"conversations": [{"from": "human", "value": "?"}, {"from": "bard", "value": "!"}]}])
    with pytest.raises(
        DataError, match=r"say which column is what: columns: \{prompt: text, response: label\}"
    ):
        load([{"text": "I love it.", "label": "good"}])


def test_files_of_a_folder_that_are_not_read_are_named(tmp_path: Path) -> None:
    lines(tmp_path / "data/a.jsonl", HELD_OUT)
    lines(tmp_path / "data/more/b.jsonl", HELD_OUT)
    lines(tmp_path / "data/.c.jsonl", HELD_OUT)
    (tmp_path / "data/d.xlsx").write_bytes(b"PK")
    (tmp_path / "data/README.txt").write_text("Rows.")
    warnings = converted_rows.load_uncut(DataConfig(train=str(tmp_path / "data"))).warnings
    assert warnings == (
        "data: 1 data file in subfolders not read (more/b.jsonl); data/**/* reads them, too",
        "data: 1 hidden file not read (.c.jsonl)",
        "data: 1 file of another type not read (d.xlsx)",
    )


def test_files_that_are_held_out_by_name_are_not_trained_on_in_silence(tmp_path: Path) -> None:
    for name in ("train", "test", "latest"):
        lines(tmp_path / f"data/{name}.jsonl", HELD_OUT)
    config = DataConfig(train=str(tmp_path / "data"))
    (warning,) = converted_rows.load_uncut(config).warnings
    assert warning.startswith("data: test.jsonl may be held-out rows, by name, and would be trained on")
    with pytest.raises(DataError, match=r"test\.jsonl may be held-out rows"):
        converted_rows.load_uncut(config.model_copy(update={"strict": True}))


def test_files_with_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    bad = [*HELD_OUT[:1], {"prompt": "?", "completion": ""}]
    paths = [str(lines(tmp_path / f"{language}/rows.jsonl", bad)) for language in ("de", "en")]
    data = converted_rows.load_uncut(DataConfig(train=tuple(paths)))
    assert [data.rows.where(number) for number in range(2)] == ["de/rows.jsonl:1", "en/rows.jsonl:1"]
    assert data.warnings[1].startswith("en/rows.jsonl: 1 of 2 rows left out")
    assert "(en/rows.jsonl:2)" in data.warnings[1]


def test_faults_and_numbers_of_the_training_file_are_not_those_of_the_held_out_file(tmp_path: Path) -> None:
    train = lines(
        tmp_path / "rows.jsonl", [{"prompt": f"{number}?", "completion": "x"} for number in range(3)]
    )
    held_out = lines(tmp_path / "held.jsonl", [*HELD_OUT, {"prompt": "?", "completion": ""}])
    data = loading.load(DataConfig(train=str(train), eval=str(held_out)))
    assert data.held_out_warnings == data.warnings
    assert data.warnings[0].startswith("held.jsonl: 1 of 9 rows left out")
    lines(train, [{"prompt": "?", "completion": ""}])
    with pytest.raises(
        DataError, match=r"^rows\.jsonl has no row that can be used \(rows\.jsonl: 1 of 1 row left out"
    ):
        loading.load(DataConfig(train=str(train), eval=str(held_out)))
    lines(train, HELD_OUT)
    lines(held_out, HELD_OUT[:1])
    with pytest.raises(DataError, match=r"^held\.jsonl has 1 usable row, which leaves none for the"):
        loading.load(DataConfig(train=str(train), eval=str(held_out)))


@pytest.mark.parametrize("start", range(0, 40, 2))
def test_two_held_out_prompts_are_enough_for_both_halves(tmp_path: Path, start: int) -> None:
    rows = [{"prompt": f"number {start + number}", "completion": "x"} for number in range(2)]
    held_out = lines(tmp_path / "held.jsonl", rows)
    data = loading.load(DataConfig(train=str(lines(tmp_path / "rows.jsonl", HELD_OUT)), eval=str(held_out)))
    assert len(data.validation) == len(data.test) == 1


def test_lines_of_a_text_file_that_are_left_out_or_in_doubt_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes(b"One.\n\n  \nTwo.\rThree.\nFour.\r\n")
    data = converted_rows.load_uncut(DataConfig(train=str(path)), Text)
    assert [row.text for row in data.rows] == ["One.", "Two.\rThree.", "Four."]
    assert data.warnings[0].startswith(
        "book.txt: 1 line (the first: book.txt:4) with a carriage return alone"
    )


def test_numbers_of_an_object_keep_their_digits_where_it_becomes_a_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    for content in ('{"price": 1.10, "mass": [1E5, 2.5]}', '{"\ue0000\ue001": 2.5}'):
        path.write_text(f'{{"prompt": "?", "completion": {content}}}\n')
        assert converted_rows.load_uncut(DataConfig(train=str(path))).rows[0].answer == content
