"""What stays on one side of the split, and what of the test rows stands in the training rows all the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainables.config.data import DataConfig
from trainables.data import loading
from trainables.data.arrow_rows import Rows
from trainables.data.content.turns import exchanges, last_exchanges, normalized, opening_key, texts
from trainables.data.errors import DataError
from trainables.data.kept_together import group_names
from trainables.data.overlaps import find_overlaps
from trainables.data.rows import Conversation, Labelled, Preference, Prompt, Text
from trainables.trial.config import LATER_SETTINGS


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def load(path: Path, row_type: type = Conversation, **options: Any) -> loading.Data:
    settings = {"eval_fraction": 0.3, "split_by": "first_turn"} | options
    return loading.load(DataConfig(train=str(path), **settings), row_type)


def overlaps(data: loading.Data) -> Any:
    found = find_overlaps(data.train, data.test)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "spelled", ["What is it?", " what  IS it?\n", "ｗｈａｔ is it?", "What\u00a0is it?", "WHAT IS IT?"]
)
def test_texts_that_differ_in_case_width_and_space_alone_are_one(spelled: str) -> None:
    assert normalized(spelled) == "what is it?"


def test_a_letter_and_its_accent_are_one_text_however_they_are_written() -> None:
    assert normalized("CAFÉ") == normalized("cafe\u0301") == "café"
    assert normalized("STRASSE") == normalized("Straße")


def test_the_key_is_that_of_the_first_user_turn_whatever_surrounds_it() -> None:
    opening = opening_key(Prompt((user("Hello"),)))
    same = [
        Conversation(({"role": "system", "content": "Be kind."}, user("hello ")), "Hi"),
        Conversation((user("Hello"), said("Hi"), user("And now?")), "Bye"),
        Preference((user("HELLO"),), "a", "b"),
        Preference((), "a", "b", chosen_turns=(user("hello"),), rejected_turns=(user("hello"),)),
        Labelled((user("hello"),), "a", True),
    ]
    assert {opening_key(row) for row in same} == {opening}
    assert opening_key(Text(" HELLO ")) == opening
    assert opening_key(Prompt((user("Hello you"),))) != opening


def test_turns_come_with_the_answers_that_follow_them_and_those_of_both_sides_of_a_pair() -> None:
    row = Conversation((user("One?"), said("1"), user("Two?"), user("Now?")), "2")
    assert list(exchanges(row)) == [("one?", "1"), ("two?", None), ("now?", "2")]
    assert last_exchanges(row) == [("now?", "2")]
    pair = Preference((user("Which?"),), "this", "that")
    assert last_exchanges(pair) == [("which?", "this"), ("which?", "that")]
    assert last_exchanges(Prompt((user("Which?"),))) == [("which?", None)]
    assert list(texts(pair)) == ["which?", "this", "that"]


def _rows_of_questions(variants: Any) -> list[dict[str, Any]]:
    return [
        {"system": system, "prompt": prompt, "completion": f"answer {number} {system}"}
        for number in range(200)
        for system, prompt in variants(number)
    ]


@pytest.mark.parametrize(
    "variants",
    [
        lambda n: [("Be brief.", f"question {n}"), ("Be polite.", f"question {n}")],
        lambda n: [("", f"Question {n}"), ("", f"question {n} ")],
    ],
)
def test_no_test_question_is_trained_on_under_another_system_prompt_or_spelling(
    tmp_path: Path, variants: Any
) -> None:
    path = write(tmp_path / "rows.jsonl", _rows_of_questions(variants))
    kept = load(path)
    assert len(kept.test) > 20
    assert (overlaps(kept).turns, overlaps(kept).answers) == (0, 0)
    # As earlier versions split: most questions of the test rows are trained on.
    before = load(path, split_by=None)
    found, count = overlaps(before), len(before.test)
    answers = {row.answer for row in before.train}
    assert found.turns > 0.5 * count
    assert found.answers == sum(row.answer in answers for row in before.test)
    assert found.warning().startswith(
        f"{found.turns} of {count} test rows end with a user turn that stands in a"
    )


def test_rows_that_the_split_keeps_together_have_one_group_name(tmp_path: Path) -> None:
    rows = _rows_of_questions(lambda n: [("Be brief.", f"question {n}"), ("Be polite.", f"Question {n} ")])
    path = write(tmp_path / "rows.jsonl", [{**row, "book": number % 9} for number, row in enumerate(rows)])
    data = load(path)
    names = group_names(DataConfig(train=str(path), split_by="first_turn"), data.test)
    assert names is not None
    assert len(set(names)) == len(names) / 2
    by_book = DataConfig(train=str(path), group="book", eval_fraction=0.3)
    books = group_names(by_book, loading.load(by_book).test)
    assert books is not None
    assert len(set(books)) < 9 < len(books)
    assert group_names(by_book, [1, 2]) is None


def test_rows_are_known_by_what_they_open_with_whatever_their_group(tmp_path: Path) -> None:
    rows = _rows_of_questions(lambda n: [("Be brief.", f"question {n}"), ("Be polite.", f"QUESTION {n}")])
    path = write(tmp_path / "rows.jsonl", [{**row, "book": number % 9} for number, row in enumerate(rows)])
    test = loading.load(DataConfig(train=str(path), group="book", eval_fraction=0.3)).test
    plain = load(path).test
    assert isinstance(test, Rows)
    assert isinstance(plain, Rows)
    assert test.openings(grouped=True).to_pylist() == [opening_key(row) for row in test]
    assert plain.openings(grouped=False).to_pylist() == [opening_key(row) for row in plain]


def test_a_conversation_stays_with_those_that_it_is_the_beginning_of(tmp_path: Path) -> None:
    rows = [
        {"messages": [user(f"question {n}"), said("yes"), *([user("more"), said("no")] if long else [])]}
        for n in range(200)
        for long in (False, True)
    ]
    data = load(write(tmp_path / "rows.jsonl", rows))
    openings = [
        {row.prompt[0]["content"] for row in part} for part in (data.train, data.validation, data.test)
    ]
    assert sum(map(len, openings)) == 200


def test_a_later_turn_that_is_trained_on_is_counted_with_its_place(tmp_path: Path) -> None:
    rows = [
        {"messages": [user(f"opening {n}"), said("ok"), user("the same end"), said(f"{n % 2}")]}
        for n in range(60)
    ]
    data = load(write(tmp_path / "rows.jsonl", rows))
    found = overlaps(data)
    assert (found.rows, found.turns) == (len(data.test), len(data.test))
    trained = {row.answer for row in data.train}
    assert found.answers == sum(row.answer in trained for row in data.test) == found.rows
    assert found.places[0] == data.test.where(0)


def test_runs_of_thirteen_words_that_a_training_row_holds_are_a_note_and_forms_are_not(
    tmp_path: Path,
) -> None:
    form = "please sort the following text into one of the classes news sport or weather and say why: "
    rows = [{"prompt": f"{form}{n} {'ab'[n % 2]}{n}", "completion": str(n)} for n in range(100)]
    copies = " ".join(f"word{k}" for k in range(13))
    rows += [{"prompt": f"{copies} and then {n}", "completion": "x"} for n in range(9)]
    data = load(write(tmp_path / "rows.jsonl", rows))
    copied = [row for row in data.test if row.prompt[0]["content"].startswith("word0")]
    found = overlaps(data)
    assert 0 < len(copied) < 9
    assert (found.alike, found.alike_rows, found.training_rows) == (
        len(copied),
        len(data.test),
        len(data.train),
    )
    assert f"{len(copied)} of {len(data.test)} test row" in found.note()


def test_rows_of_one_group_stay_together_and_the_note_names_the_column(tmp_path: Path) -> None:
    rows = [{"prompt": f"question {n}", "completion": "yes", "doc": n // 10} for n in range(300)]
    data = load(write(tmp_path / "rows.jsonl", rows), group="doc", split_by=None)
    parts = [
        {int(row.prompt[0]["content"].split()[1]) // 10 for row in part}
        for part in (data.train, data.validation, data.test)
    ]
    assert sum(map(len, parts)) == 30
    assert all(parts)
    assert data.notes[0].endswith("prompt, completion as response, doc as group)")


def test_rows_without_a_group_are_kept_with_those_that_open_alike_and_counted(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"question {n}", "completion": "yes", "doc": f"d{n}" if n % 4 else None}
        for n in range(100)
    ]
    data = load(write(tmp_path / "rows.jsonl", rows), group="doc", split_by=None)
    (warning,) = data.warnings
    assert warning.startswith(
        "rows.jsonl: in 25 of 100 rows doc has no value, so that only rows that open alike"
    )


@pytest.mark.parametrize(
    ("train", "what"),
    [("rows.jsonl", "there are completion, doc, prompt"), ("commands", "embedded data has no columns")],
)
def test_a_group_that_no_file_has_is_an_error_at_its_setting(tmp_path: Path, train: str, what: str) -> None:
    write(tmp_path / "rows.jsonl", [{"prompt": f"q {n}", "completion": "yes", "doc": 1} for n in range(40)])
    name = train if train == "commands" else str(tmp_path / train)
    with pytest.raises(DataError, match=f"no file has a column dok; {what}") as raised:
        loading.load(DataConfig(train=name, group="dok"))
    assert raised.value.setting == ("group",)


def test_training_rows_that_open_as_a_held_out_file_does_are_left_out(tmp_path: Path) -> None:
    train = write(
        tmp_path / "train.jsonl", [{"prompt": f"Question {n}", "completion": "yes"} for n in range(40)]
    )
    held = write(
        tmp_path / "held.jsonl", [{"prompt": f"question {n} ", "completion": "no"} for n in range(10)]
    )
    assert load(train, eval=str(held)).overlap == 10
    assert load(train, eval=str(held), split_by=None).overlap == 0


def test_a_large_share_of_rows_that_open_alike_is_named(tmp_path: Path) -> None:
    rows = [
        {"messages": [user("Hi" if n < 30 else f"opening {n}"), said("yes"), user(f"and {n}?"), said("no")]}
        for n in range(100)
    ]
    path = write(tmp_path / "rows.jsonl", rows)
    assert [
        each for each in load(path).warnings if each.startswith("30 of 100 rows have the same first turn")
    ]
    with pytest.raises(DataError, match=r"30 of 100 rows have the same first turn.*strict: false"):
        load(path, strict=True)
    assert not load(path, split_by="prompt").warnings
    # The same prompt with several answers is no surprise.
    same = [{"prompt": "Hi" if n < 30 else f"opening {n}", "completion": str(n)} for n in range(100)]
    assert not load(write(tmp_path / "same.jsonl", same)).warnings


def test_rows_that_all_open_alike_are_an_error_that_names_the_other_splits(tmp_path: Path) -> None:
    rows = [{"messages": [user("Hi"), said("yes"), user(f"and {n}?"), said("no")]} for n in range(40)]
    path = write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(
        DataError, match=r"all 40 rows have the same first turn.*data\.split_by: prompt keeps only"
    ):
        load(path)
    assert load(path, split_by="prompt").test


def test_settings_of_the_split_are_not_in_the_id_of_a_trial_that_lacks_them() -> None:
    assert LATER_SETTINGS["data"]["split_by"] is DataConfig(train="commands").split_by is None
    assert LATER_SETTINGS["data"]["group"] is None
    with pytest.raises(ValueError, match="only one of group and split_by"):
        DataConfig(train="x", group="doc", split_by="prompt")
