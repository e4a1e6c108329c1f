"""Which columns of a file are read, in which format, for which rows; and what is said about the others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from trainables.config.data import DataConfig
from trainables.data import formats, loading, row_kind
from trainables.data.dataset_info import FILE
from trainables.data.errors import DataError
from trainables.data.rows import Classified, Conversation, Labelled, Preference, Prompt, Text
from trainables.data.splits import split_rows

BIRDS = ("wren", "rook", "swift", "heron", "robin", "finch", "crane", "stork", "raven", "eagle")
ROWS = 40


def question(number: int) -> str:
    return f"What does the {BIRDS[number % 10]} number {number} eat?"


def asked(number: int) -> dict[str, str]:
    return {"role": "user", "content": question(number)}


def answered(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def with_columns(folder: Path, **columns: Any) -> str:
    """A file of rows; a column given as a function has its value for the row's number."""
    rows = (
        {name: value(number) if callable(value) else value for name, value in columns.items()}
        for number in range(ROWS)
    )
    return write(folder / "birds.jsonl", *rows)


def loaded(path: str, row_type: type = Conversation, **settings: Any) -> loading.Data:
    return loading.load(DataConfig(train=path, eval_fraction=0.4, **settings), row_type)


def all_rows(data: loading.Data) -> list[Any]:
    return [*data.train, *data.validation, *data.test]


def refused(path: str, row_type: type = Conversation, **settings: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        loaded(path, row_type, **settings)
    return caught.value


# Parts that the spec names


def test_any_usual_name_of_a_part_names_it(tmp_path: Path) -> None:
    path = with_columns(tmp_path, frage=question, zusatz="Be brief.", antwort="Seeds.")
    for columns in (
        {"prompt": "frage", "query": "zusatz", "response": "antwort"},
        {"instruction": "frage", "input": "zusatz", "output": "antwort"},
        {"question": "frage", "input": "zusatz", "answer": "antwort"},
    ):
        row = loaded(path, columns=columns).train[0]
        assert (row.prompt[-1]["content"].splitlines()[1], row.answer) == ("Be brief.", "Seeds.")


@pytest.mark.parametrize(
    ("columns", "key", "what"),
    [
        ({"prompt": "q", "respons": "a"}, "respons", "unknown part respons; parts: prompt, .*mean response"),
        ({"q": "prompt", "response": "a"}, "q", "prompt is the part, and it comes first: {prompt: q}"),
        ({"prompt": "q", "question": "a"}, "question", "prompt and question are the same part"),
        ({"notes": None}, "notes", r"no part is called notes; ignore_columns: \[notes\] leaves a column out"),
        (
            {"prompt": "Q2", "response": "a"},
            "prompt",
            "has no column Q2, which prompt should be in; it has q, a",
        ),
        ({"messages": "q", "answer": "a"}, "answer", "no format has the parts messages, response together"),
    ],
)
def test_a_column_that_is_named_wrongly_is_an_error_at_its_setting(
    tmp_path: Path, columns: dict[str, Any], key: str, what: str
) -> None:
    error = refused(with_columns(tmp_path, q=question, a="Seeds."), columns=columns)
    assert error.setting == ("columns", key)
    with pytest.raises(DataError, match=what):
        raise error


def test_a_part_that_the_named_format_lacks_is_an_error(tmp_path: Path) -> None:
    path = with_columns(tmp_path, messages=lambda n: [asked(n), answered("Seeds.")], past="x")
    error = refused(path, format="messages", columns={"history": "past"})
    assert error.setting == ("columns", "history")
    assert "the format messages has no part history; its parts: messages, system" in str(error)


def test_named_columns_are_read_although_the_file_has_messages(tmp_path: Path) -> None:
    path = with_columns(tmp_path, messages=lambda n: [asked(n), answered("No.")], q=question, a="Seeds.")
    assert loaded(path, columns={"prompt": "q", "response": "a"}).train[0].answer == "Seeds."


@pytest.mark.parametrize(
    ("row_type", "columns", "part"),
    [
        (Conversation, {"chosen": "answer"}, "chosen"),
        (Labelled, {"rejected": "answer"}, "rejected"),
        (Text, {"chosen": "answer"}, "chosen"),
    ],
)
def test_a_given_part_without_which_nothing_is_left_to_read_is_an_error_at_its_setting(
    tmp_path: Path, row_type: type, columns: dict[str, str], part: str
) -> None:
    path = with_columns(
        tmp_path,
        prompt=question,
        answer="Seeds.",
        other="Sand.",
        history=lambda n: [["Hm?", "Nothing."]],
        label=True,
    )
    error = refused(path, row_type, columns=columns)
    assert f"{part} ({columns[part]}) is nothing that this stage reads; it needs" in str(error)
    assert error.setting == ("columns", part)
    pair = refused(path, columns={"chosen": "answer", "rejected": "other"})
    assert "use a preference stage" in str(pair)


@pytest.mark.parametrize(("part", "column"), [("kto_tag", "good"), ("response", "best")])
def test_a_given_part_that_a_stage_does_not_read_is_warned_of(tmp_path: Path, part: str, column: str) -> None:
    path = with_columns(
        tmp_path, prompt=question, chosen="Seeds.", rejected="Sand.", good=True, best="Worms."
    )
    data = loaded(path, Preference, columns={part: column})
    assert f"birds.jsonl: {column} is given as {part}, which this stage does not read" in data.warnings
    assert loaded(path, Preference, columns={"response": "chosen", "chosen": "chosen"}).warnings == ()


def test_a_column_is_left_out_by_its_part_or_by_its_name(tmp_path: Path) -> None:
    path = with_columns(tmp_path, instruction=question, output="Seeds.", system="Be brief.", notes="!")
    for settings in (
        {"columns": {"system": None}},
        {"ignore_columns": ("system", "notes")},
        {"ignore_columns": "system"},
    ):
        data = loaded(path, **settings)
        assert {message["role"] for row in all_rows(data) for message in row.prompt} == {"user"}
        assert "not read: system, notes" in data.notes[0]
    error = refused(path, ignore_columns=("sytem",))
    assert error.setting == ("ignore_columns",)
    assert (
        "no file has a column sytem; there are instruction, notes, output, system. Did you mean system?"
        in str(error)
    )


def test_a_column_that_is_missing_in_some_rows_is_empty_there(tmp_path: Path) -> None:
    rows = [
        {"q": question(n), "a": "Seeds.", **({"persona": "You are a heron."} if n % 2 else {})}
        for n in range(ROWS)
    ]
    columns = {"prompt": "q", "response": "a", "system": "persona"}
    data = loaded(write(tmp_path / "birds.jsonl", *rows), columns=columns)
    systems = [row.prompt[0]["role"] == "system" for row in all_rows(data)]
    assert (systems.count(True), systems.count(False)) == (20, 20)


def test_tags_of_messages_are_given_in_the_spec(tmp_path: Path) -> None:
    turns = lambda n: [{"who": "me", "says": question(n)}, {"who": "it", "says": "Seeds."}]  # noqa: E731
    path = with_columns(tmp_path, talk=turns)
    tags = {"role_tag": "who", "content_tag": "says", "user_tag": "me", "assistant_tag": "it"}
    assert (
        loaded(path, format="sharegpt", columns={"conversations": "talk"}, tags=tags).train[0].answer
        == "Seeds."
    )
    error = refused(path, tags={"user_tga": "me"})
    assert error.setting == ("tags", "user_tga")
    assert "Did you mean user_tag?" in str(error)


def test_names_that_differ_by_case_and_blanks_are_found_and_shown_as_they_are(tmp_path: Path) -> None:
    path = with_columns(
        tmp_path, **{"Instruction ": question, "OUTPUT": "Seeds.", "System Prompt": "Be brief."}
    )
    data = loaded(path)
    assert (data.train[0].answer, data.train[0].prompt[0]["content"]) == ("Seeds.", "Be brief.")
    assert data.notes[0].endswith(
        '(detected from its columns: "Instruction " as prompt, OUTPUT as response, System Prompt as system)'
    )
    twice = with_columns(tmp_path, Output="Seeds.", OUTPUT="Worms.", instruction=question)
    assert "found the columns Output, OUTPUT, instruction" in str(refused(twice))


def test_the_page_on_data_lists_the_parts_of_every_format() -> None:
    page = (Path(__file__).parents[3] / "trainables" / "README.md").read_text()
    lines = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("| ")}
    for form in formats.FORMATS.values():
        own = lines[f"`{form.name}`"]
        for part, names in form.usual.items():
            written = f"`{part}` ({', '.join(f'`{name}`' for name in names)})"
            assert written in own or (written in lines["all but `text`"] and "those of the last line" in own)


# What a stage reads


def test_a_label_that_may_be_a_class_is_nothing_to_sft_and_the_plan_says_so(tmp_path: Path) -> None:
    for label, note in (
        (lambda n: "food", "not read: label)"),
        (
            lambda n: n % 2,
            "the 0 and 1 of label may be classes; if 0 marks bad answers, columns: {kto_tag: label}",
        ),
        (lambda n: str(n % 2), "the 0 and 1 of label may be classes"),
        (lambda n: 3.5, "not read: label)"),
    ):
        data = loaded(with_columns(tmp_path, instruction=question, output="Seeds.", label=label), strict=True)
        assert len(all_rows(data)) == ROWS
        assert note in data.notes[0]


def test_rows_whose_label_is_none_among_others_with_one_are_counted(tmp_path: Path) -> None:
    path = with_columns(
        tmp_path, instruction=question, output="Seeds.", label=lambda n: "unsure" if n < 3 else n != 9
    )
    data = loaded(path)
    assert len(all_rows(data)) == ROWS - 1
    assert "label is neither true nor false in 3 rows, and not read there" in data.notes[0]


def test_a_file_that_is_in_doubt_is_an_error_when_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "birds.txt"
    path.write_text("birds\n" + "".join(json.dumps({"text": question(n)}) + "\n" for n in range(ROWS)))
    assert "40 of 41 lines are JSON objects" in loaded(str(path), Text).warnings[0]
    assert "40 of 41 lines are JSON objects" in str(refused(str(path), Text, strict=True))
    assert loaded(str(path), Text, strict=True, format="text").warnings == ()


def test_sft_leaves_out_answers_that_are_labelled_bad_and_says_how_to_keep_them(tmp_path: Path) -> None:
    for name, label in (("label", lambda n: n % 4 != 0), ("kto_tag", lambda n: int(n % 4 != 0))):
        path = with_columns(tmp_path, instruction=question, output="Seeds.", **{name: label})
        data = loaded(path)
        assert len(all_rows(data)) == 30
        assert "columns: {kto_tag: null} in data keeps such rows" in data.warnings[0]
        assert len(all_rows(loaded(path, columns={"kto_tag": None}))) == ROWS
    # A column of 0 and 1 that the spec calls a label is one.
    path = with_columns(tmp_path, instruction=question, output="Seeds.", topic=lambda n: n % 2)
    assert len(all_rows(loaded(path, columns={"kto_tag": "topic"}))) == 20


def test_pairs_are_read_from_their_columns_beside_messages_and_conversations_from_the_messages(
    tmp_path: Path,
) -> None:
    path = with_columns(
        tmp_path,
        prompt=question,
        chosen=lambda n: [asked(n), answered("Seeds.")],
        rejected=lambda n: [asked(n), answered("Stones.")],
        messages=lambda n: [asked(n), answered("Seeds and worms.")],
        score=7.5,
    )
    pairs = loaded(path, Preference)
    assert (pairs.train[0].chosen, pairs.train[0].rejected) == ("Seeds.", "Stones.")
    assert [message["role"] for message in pairs.train[0].prompt] == ["user"]
    assert pairs.notes == (
        "birds.jsonl: completion format (detected from its columns: prompt, chosen, rejected; "
        "not read: messages, score)",
    )
    assert loaded(path).train[0].answer == "Seeds and worms."
    assert loaded(path, Prompt).train[0].reference == "Seeds and worms."


def test_pairs_need_no_prompt_of_their_own(tmp_path: Path) -> None:
    path = with_columns(
        tmp_path,
        chosen=lambda n: [asked(n), answered("Seeds.")],
        rejected=lambda n: [asked(n), answered("Stones.")],
    )
    row = loaded(path, Preference).train[0]
    assert (row.chosen, row.rejected, row.prompt[0]["role"]) == ("Seeds.", "Stones.", "user")
    assert "learns from a single one" in str(refused(path))


@pytest.mark.parametrize("unrelated", [lambda n: "3 new", None, [], lambda n: [asked(n), answered("No.")]])
def test_labelled_answers_are_read_from_their_columns_beside_other_messages(
    tmp_path: Path, unrelated: Any
) -> None:
    path = with_columns(
        tmp_path, prompt=question, completion="Seeds.", label=lambda n: n % 2, messages=unrelated
    )
    data = loaded(path, Labelled)
    assert {row.completion for row in all_rows(data)} == {"Seeds."}
    assert len(all_rows(data)) == ROWS


def test_a_rejected_answer_is_nothing_to_a_stage_that_learns_the_other(tmp_path: Path) -> None:
    path = with_columns(tmp_path, instruction=question, output="Seeds.", rejected="by the editor")
    data = loaded(path)
    assert {row.answer for row in all_rows(data)} == {"Seeds."}
    assert "not read: rejected" in data.notes[0]
    chosen = with_columns(tmp_path, prompt=question, chosen="Seeds.", rejected="Stones.")
    assert {row.answer for row in all_rows(loaded(chosen, columns={"response": "chosen"}))} == {"Seeds."}


def test_running_text_is_read_beside_conversations(tmp_path: Path) -> None:
    path = with_columns(
        tmp_path, messages=lambda n: [asked(n), answered("Seeds.")], text=lambda n: f"Page {n}", label="x"
    )
    assert loaded(path, Text).train[0].text.startswith("Page")


def test_of_two_formats_in_one_file_each_row_is_read_in_that_which_has_values(tmp_path: Path) -> None:
    path = with_columns(
        tmp_path,
        messages=lambda n: None if n % 4 else [asked(n), answered("Worms.")],
        instruction=lambda n: question(n + 100),
        output="Seeds.",
    )
    data = loaded(path)
    answers = [row.answer for row in all_rows(data)]
    assert (answers.count("Worms."), answers.count("Seeds.")) == (10, 30)
    assert [note.split(" (")[0] for note in data.notes] == [
        "birds.jsonl: 10 rows, the first birds.jsonl:1, in messages format",
        "birds.jsonl: 30 rows, the first birds.jsonl:2, in alpaca format",
    ]
    assert "its columns fit alpaca too, which format: alpaca takes" in data.notes[0]


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [("history", "hatched in May", "must be JSON"), ("tools", "beak", ""), ("system", 0.5, "must be a text")],
)
def test_a_column_of_context_that_means_something_else_is_an_error_that_says_how_to_leave_it_out(
    tmp_path: Path, column: str, value: Any, fault: str
) -> None:
    path = with_columns(tmp_path, instruction=question, output="Seeds.", **{column: value})
    error = str(refused(path))
    assert error.startswith("birds.jsonl:1: ")
    assert fault in error
    assert f"leave the column out with columns: {{{column}: null}}" in error
    assert len(all_rows(loaded(path, columns={column: None}))) == ROWS


@pytest.mark.parametrize(
    ("row_type", "part", "why"),
    [
        (Labelled, "label", "it has no label"),
        (Preference, "rejected", "its rejected answer is missing"),
        (Preference, "chosen", "its chosen answer is missing"),
    ],
)
@pytest.mark.parametrize("missing", ["key", None, "", []])
def test_a_row_without_what_others_of_its_file_have_is_left_out_and_counted(
    tmp_path: Path, row_type: type, part: str, why: str, missing: Any
) -> None:
    whole = {"prompt": "", "completion": "Seeds.", "label": True}
    if row_type is Preference:
        whole = {"prompt": "", "chosen": "Seeds.", "rejected": "Stones."}
    rows = [{**whole, "prompt": question(n)} for n in range(ROWS)]
    for row in (rows[0], rows[7]):
        row.pop(part)
        if missing != "key":
            row[part] = missing
    data = loaded(write(tmp_path / "birds.jsonl", *rows), row_type)
    assert len(all_rows(data)) == ROWS - 2
    assert data.warnings[0].startswith(
        f"birds.jsonl: 2 of 40 rows left out: 2 because {why} (birds.jsonl:1, birds.jsonl:8)"
    )


def test_prompts_alone_are_enough_where_no_answer_is_needed(tmp_path: Path) -> None:
    data = loaded(with_columns(tmp_path, prompt=question), Prompt)
    assert (len(all_rows(data)), data.train[0].reference) == (ROWS, None)


@pytest.mark.parametrize(
    ("columns", "row_type"),
    [
        ({"prompt": question, "completion": "Seeds.", "label": "food"}, Conversation),
        ({"prompt": question, "completion": "Seeds.", "label": 1}, Labelled),
        ({"prompt": question, "chosen": "Seeds.", "rejected": "Stones.", "messages": []}, Preference),
        ({"prompt": question}, Prompt),
        ({"text": question, "label": 4}, Classified),
        ({"prompt": question, "category": "food"}, Classified),
        ({"text": question}, Text),
    ],
)
def test_the_kind_of_rows_is_what_can_be_read_from_them(
    tmp_path: Path, columns: dict[str, Any], row_type: type
) -> None:
    assert row_kind.detect_row_type(DataConfig(train=with_columns(tmp_path, **columns))) is row_type


# Variables


def test_numbers_are_texts_and_other_values_say_how_to_write_them(tmp_path: Path) -> None:
    path = with_columns(tmp_path, prompt=question, completion="In {{year}} at {{ price }}.")
    assert loaded(path, variables={"year": 2024, "price": 1.5}).train[0].answer == "In 2024 at 1.5."
    for value, what in (
        (None, 'null is no text; in quotes it is: "null"'),
        (True, "true is no text"),
        ([1], "a list is no text"),
        ({"a": 1}, "a mapping is no text"),
    ):
        with pytest.raises(ValidationError, match=what):
            DataConfig(train=path, variables={"year": value})
        if value is not None:
            with pytest.raises(ValidationError, match=what):
                DataConfig(train=path, columns={"prompt": value})


def test_a_variable_that_no_row_has_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    path = with_columns(tmp_path, prompt=question, completion="I am {{name}}.", chosen="{{other}}")
    error = refused(path, variables={"name": "Ada", "nmae": "Ada"})
    assert error.setting == ("variables", "nmae")
    assert "no row has {{nmae}}" in str(error)
    error = refused(path, variables={"nmae": "Ada"})
    assert "no row has {{nmae}}; the rows have {{name}}. Did you mean name?" in str(error)
    # It may be for another stage, which reads other columns of the file.
    assert loaded(path, variables={"name": "Ada", "other": "x"}).train[0].answer == "I am Ada."


def test_variables_are_filled_in_everywhere_in_a_row(tmp_path: Path) -> None:
    call = {"function": {"name": "seek", "arguments": {"place": "{{place}}"}}}
    path = with_columns(
        tmp_path,
        messages=lambda n: [asked(n), {"role": "assistant", "content": "", "tool_calls": [call]}],
        tools=[{"name": "seek", "description": "Seeks in {{place}}.", "parameters": {}}],
    )
    data = loaded(path, variables={"place": 'the "old" barn'})
    assert data.train[0].calls[0]["function"]["arguments"] == {"place": 'the "old" barn'}
    assert json.loads(data.train[0].tools)[0]["function"]["description"] == 'Seeks in the "old" barn.'
    assert data.warnings == ()


# The registry


def registered(folder: Path, **entry: Any) -> str:
    (folder / FILE).write_text(json.dumps({"birds": entry}))
    return "birds"


def test_entries_of_earlier_years_are_read(tmp_path: Path) -> None:
    with_columns(tmp_path, instruction=question, input="Be brief.", output="Seeds.")
    name = registered(
        tmp_path,
        file_name="birds.jsonl",
        file_sha1="0" * 40,
        subset="",
        split="",
        num_samples="30",
        ranking="false",
        columns={"prompt": "instruction", "query": "", "response": "output", "history": None},
        tags={"role_tag": ""},
    )
    data = loaded(name, folder=tmp_path)
    assert len(all_rows(data)) == 30
    # An empty name is no column, whatever the file has.
    assert all("Be brief." not in row.prompt[-1]["content"] for row in all_rows(data))
    assert "not read: input" in data.notes[0]


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({"format": "alpaca"}, "unknown key format. Did you mean formatting\\? Known: file_name"),
        ({"ranking": "perhaps"}, "ranking must be true or false, got 'perhaps'"),
        ({"num_samples": "many"}, "num_samples must be a whole number of at least 1, got 'many'"),
        ({"formatting": "sharegtp"}, "formatting 'sharegtp' is unknown; .*Did you mean sharegpt"),
        ({"columns": {"promt": "instruction"}}, r"columns\.promt: unknown part promt; .*mean prompt"),
        ({"tags": {"user": "me"}}, r"unknown tags\.user; .*Did you mean user_tag"),
    ],
)
def test_an_entry_that_cannot_be_read_says_what_to_write(
    tmp_path: Path, entry: dict[str, Any], what: str
) -> None:
    with_columns(tmp_path, instruction=question, output="Seeds.")
    name = registered(tmp_path, file_name="birds.jsonl", **entry)
    with pytest.raises(DataError, match=what):
        loaded(name, folder=tmp_path)


# Too few rows to hold some out


@pytest.mark.parametrize(("size", "fraction", "held_out"), [(3, 0.01, 2), (20, 0.1, None), (20, 0.02, 2)])
def test_every_part_has_rows_of_three_prompts_or_more(
    size: int, fraction: float, held_out: int | None
) -> None:
    generator = np.random.default_rng(1)
    for _ in range(50):
        keys = generator.integers(0, 2**63, size=size, dtype=np.uint64).repeat(2)
        parts = split_rows(keys, str, fraction)
        train, validation, test = ({int(keys[row]) for row in part} for part in parts)
        assert train
        assert validation
        assert test
        assert not train & (validation | test) | validation & test  # rows of one prompt stay together
        below = {int(key) for key in keys if int(key) < fraction * 2**64}
        assert validation | test == set(sorted({*map(int, keys)})[: max(len(below), 2)])


def test_a_fraction_that_would_leave_a_part_empty_holds_out_two_rows_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "few.jsonl", *({"text": question(n)} for n in range(9)))
    data = loading.load(DataConfig(train=path, eval_fraction=0.01), Text)
    assert (len(data.train), len(data.validation), len(data.test)) == (7, 1, 1)
    (warning,) = data.warnings
    assert warning == (
        "few.jsonl: eval_fraction 0.01 of 9 rows would leave a half of the held-out rows empty, so 1 validation row "
        "and 1 test row are held out, as eval_count: 2 does; scores on so few rows say little"
    )
    same = loading.load(DataConfig(train=path, eval_count=2), Text)
    assert [*same.test, *same.validation] == [*data.test, *data.validation]
    assert same.warnings == ()
    with pytest.raises(DataError, match=r"set eval_count, or accept this with strict: false") as caught:
        loading.load(DataConfig(train=path, eval_fraction=0.01, strict=True), Text)
    assert caught.value.setting == ("eval_fraction",)


def test_nothing_is_held_out_of_few_rows_where_that_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "few.jsonl", *({"text": question(n)} for n in range(9)))
    data = loading.load(DataConfig(train=path, eval_fraction=0), Text)
    assert (len(data.train), len(data.validation), len(data.test), data.warnings) == (9, 0, 0, ())


def test_a_fraction_that_leaves_nothing_to_train_on_is_refused_with_numbers_that_work(tmp_path: Path) -> None:
    path = write(tmp_path / "few.jsonl", *({"text": question(n)} for n in range(9)))
    with pytest.raises(DataError, match=r"leaves none for the training part; there are 9 texts") as caught:
        loading.load(DataConfig(train=path, eval_fraction=0.999), Text)
    count, fraction = re.search(
        r"eval_count: (\d+) or eval_fraction: ([\d.]+) at most", str(caught.value)
    ).groups()
    for works in ({"eval_count": int(count)}, {"eval_fraction": float(fraction)}):
        data = loading.load(DataConfig(train=path, **works), Text)
        assert min(len(data.train), len(data.validation), len(data.test)) > 0


def test_two_prompts_are_too_few_to_hold_some_out(tmp_path: Path) -> None:
    path = write(tmp_path / "few.jsonl", *({"text": question(n)} for n in range(2)))
    with pytest.raises(DataError, match=r"there are 2 texts, too few to hold some out; .* eval_fraction: 0$"):
        loading.load(DataConfig(train=path, eval_fraction=0.5), Text)


def test_rows_of_one_prompt_are_refused_because_of_it(tmp_path: Path) -> None:
    path = with_columns(tmp_path, prompt="Name a bird.", completion=lambda n: BIRDS[n % 10])
    error = str(refused(path))
    assert "all 40 rows have the same prompt" in error
    assert "give rows of other prompts in data.eval" in error


def test_rows_without_a_prompt_are_refused_with_what_can_be_done(tmp_path: Path) -> None:
    path = with_columns(tmp_path, instruction="", output=question)
    error = str(refused(path))
    assert "40 of 40 rows left out: 40 because its prompt is empty" in error
    assert "the stage pretrain and format: text, columns: {text: output}" in error
    data = loaded(path, Text, format="text", columns={"text": "output"})
    assert len(all_rows(data)) == ROWS


def test_faults_of_the_held_out_file_are_errors_of_its_setting(tmp_path: Path) -> None:
    path = with_columns(tmp_path, prompt=question, completion="Seeds.")
    for name, rows in (
        ("one.jsonl", [{"prompt": "Name a bird.", "completion": "wren"}]),
        ("broken.jsonl", [{"prompt": "Name a bird.", "completion": 3}]),
        ("empty.jsonl", []),
    ):
        held_out = write(tmp_path / name, *rows)
        with pytest.raises(DataError) as caught:
            loading.load(DataConfig(train=path, eval=held_out), Conversation)
        assert caught.value.setting == ("eval",)
    with pytest.raises(DataError) as caught:
        loading.load(DataConfig(train=path, eval=str(tmp_path / "gone.jsonl")), Conversation)
    assert caught.value.setting == ("eval",)
    with pytest.raises(DataError, match="each prompt is among the held-out rows"):
        loading.load(DataConfig(train=path, eval=path), Conversation)
