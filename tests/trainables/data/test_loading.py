"""Loading data: files become rows, which are split by the hash of their prompt."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainables.config.data import DataConfig
from trainables.data import loading, splits
from trainables.data.embedded import commands
from trainables.data.errors import DataError
from trainables.data.rows import Conversation


def ask(text: str, answer: str = "yes") -> Conversation:
    return Conversation(({"role": "user", "content": text},), answer)


def cut(
    rows: list[Conversation], fraction: float, most: int | None, count: int | None = None
) -> tuple[list[Conversation], ...]:
    """The rows in the three parts."""
    keys = np.array([int(row.key()[:16], 16) for row in rows], dtype=np.uint64)
    parts = splits.split_rows(keys, lambda place: rows[place].answer, fraction, count, most)
    return tuple([rows[place] for place in part] for part in parts)


def some(count: int) -> list[Conversation]:
    return [ask(f"question {number}", f"answer {number}") for number in range(count)]


def read(path: Path, **options: Any) -> list[Conversation]:
    """Every row of a file, in whatever part it fell."""
    result = loading.load(DataConfig(train=str(path), eval_fraction=0.5, **options))
    return [*result.train, *result.validation, *result.test]


def write_lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def pairs(count: int = 40) -> list[dict[str, Any]]:
    return [{"prompt": f"question {number}", "completion": f"answer {number}"} for number in range(count)]


# The cut


def test_no_held_out_prompt_is_among_the_training_rows() -> None:
    train, validation, test = cut(some(500), 0.2, None)
    parts = [{row.key() for row in part} for part in (train, validation, test)]
    assert sum(map(len, parts)) == 500
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


def test_about_the_requested_fraction_is_held_out_half_for_each_part() -> None:
    train, validation, test = cut(some(4000), 0.2, None)
    assert len(train) == pytest.approx(3200, rel=0.03)
    assert len(validation) == pytest.approx(400, rel=0.15)
    assert len(test) == pytest.approx(400, rel=0.15)


def test_rows_with_the_same_prompt_stay_together() -> None:
    rows = [ask(f"question {number % 50}", f"answer {number}") for number in range(500)]
    for part in cut(rows, 0.3, None):
        for prompt in {row.key() for row in part}:
            assert sum(row.key() == prompt for row in part) == 10


def test_adding_rows_moves_no_other_row() -> None:
    before, after = cut(some(200), 0.3, None), cut(some(400), 0.3, None)
    for few, many in zip(before, after, strict=True):
        assert {row.answer for row in few} <= {row.answer for row in many}


def test_a_larger_fraction_holds_out_more_rows_and_keeps_those_that_were_held_out() -> None:
    assert {row.answer for row in cut(some(400), 0.1, None)[2]} <= {
        row.answer for row in cut(some(400), 0.3, None)[2]
    }


def test_training_rows_keep_the_order_of_the_file() -> None:
    train, _, _ = cut(some(100), 0.2, None)
    numbers = [int(row.answer.split()[1]) for row in train]
    assert numbers == sorted(numbers)


def test_eval_rows_keeps_the_same_rows_whatever_the_order_of_the_file() -> None:
    rows = some(300)
    shuffled = random.Random(0).sample(rows, len(rows))
    for part in (1, 2):
        kept = cut(rows, 0.3, 5)[part]
        assert len(kept) == 5
        assert cut(shuffled, 0.3, 5)[part] == kept


def test_eval_rows_keeps_the_same_answers_to_one_prompt_too() -> None:
    """Rows with one prompt have one hash: their answers decide."""
    rows = [ask("the only question", f"answer {number}") for number in range(20)]
    share = 0.999999  # whatever the hash, it is held out
    forwards, backwards = cut(rows, share, 3), cut(rows[::-1], share, 3)
    assert forwards == backwards
    assert sorted(map(len, forwards)) == [0, 0, 3]


def test_eval_rows_does_not_change_the_training_rows() -> None:
    assert cut(some(100), 0.3, 1)[0] == cut(some(100), 0.3, None)[0]


def test_num_samples_are_drawn_from_each_data_set_by_the_seed(tmp_path: Path) -> None:
    names = tuple(str(write_lines(tmp_path / f"{name}.jsonl", pairs())) for name in "ab")

    def drawn(**settings: Any) -> list[int]:
        return [
            int(row)
            for row in loading.load(DataConfig(train=names, eval_fraction=0, **settings)).train.indices
        ]

    first = drawn(num_samples=10)
    assert first == sorted(first)  # the order of the files
    assert sum(row < 40 for row in first) == 10 == len(first) / 2
    assert first[:10] not in (list(range(10)), [row - 40 for row in first[10:]])
    assert first == drawn(num_samples=10)
    assert first != drawn(num_samples=10, sample_seed=1)
    assert set(first) < set(drawn(num_samples=20))
    assert max(drawn(num_samples=5, max_samples=10)) < 20  # of the first ten rows of each


def test_more_samples_than_rows_are_all_rows_which_is_said(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", pairs())
    data = loading.load(DataConfig(train=str(path), eval_fraction=0, num_samples=50))
    assert len(data.train) == 40
    assert data.warnings == ("rows.jsonl has 40 usable rows, fewer than num_samples: 50; none is repeated",)
    with pytest.raises(DataError, match=r"fewer than num_samples: 50.*strict: false"):
        loading.load(DataConfig(train=str(path), eval_fraction=0, num_samples=50, strict=True))


def test_the_system_message_belongs_to_the_prompt() -> None:
    plain, with_system = (
        ask("hello"),
        Conversation(({"role": "system", "content": "Be kind."}, *ask("hello").prompt), "yes"),
    )
    assert plain.key() != with_system.key()


# Formats


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    path, rows = tmp_path / name, pairs()
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        path.write_text("prompt,completion\n" + "".join(f"{r['prompt']},{r['completion']}\n" for r in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        write_lines(path, rows)
    expected = {(row["prompt"], row["completion"]) for row in rows}
    assert {(row.prompt[0]["content"], row.answer) for row in read(path)} == expected


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    text = "prompt,completion\n" + "".join(f"{r['prompt']},{r['completion']}\n" for r in pairs())
    path.write_text(text, encoding="utf-8-sig")
    assert len(read(path)) == 40


def test_a_line_separator_inside_a_text_does_not_end_a_line_of_jsonl(tmp_path: Path) -> None:
    rows = [{"prompt": f"one\u2028two\x85three {number}", "completion": "fine"} for number in range(40)]
    result = read(write_lines(tmp_path / "rows.jsonl", rows))
    assert len(result) == 40
    assert all("\u2028" in row.prompt[0]["content"] for row in result)


def test_alpaca_joins_instruction_and_input_with_a_newline_and_skips_empty_ones(tmp_path: Path) -> None:
    rows = [
        {"instruction": f"Translate {number}.", "input": "bonjour" if number % 2 else "", "output": "hello"}
        for number in range(40)
    ]
    texts = {row.prompt[0]["content"] for row in read(write_lines(tmp_path / "rows.jsonl", rows))}
    assert texts == {f"Translate {n}.\nbonjour" if n % 2 else f"Translate {n}." for n in range(40)}


def test_messages_are_the_prompt_up_to_the_last_answer(tmp_path: Path) -> None:
    turns = ["system", "user", "assistant", "user", "assistant"]
    rows = [
        {
            "messages": [
                {"role": role, "content": f"{role} {place} {number}"} for place, role in enumerate(turns)
            ]
        }
        for number in range(40)
    ]
    for row in read(write_lines(tmp_path / "rows.jsonl", rows)):
        assert [message["role"] for message in row.prompt] == turns[:-1]
        assert row.answer.startswith("assistant 4")


def test_a_system_text_becomes_the_first_message(tmp_path: Path) -> None:
    rows = [{**row, "system": "Be brief."} for row in pairs()]
    for row in read(write_lines(tmp_path / "rows.jsonl", rows)):
        assert row.prompt[0] == {"role": "system", "content": "Be brief."}


def test_the_embedded_data_set_is_exact_and_a_file_is_not(tmp_path: Path) -> None:
    assert loading.load(DataConfig(train=commands.NAME)).exact
    assert not loading.load(DataConfig(train=str(write_lines(tmp_path / "rows.jsonl", pairs())))).exact


def test_the_hash_depends_on_the_rows_and_not_on_the_path(tmp_path: Path) -> None:
    digests = [
        loading.load(
            DataConfig(train=str(write_lines(tmp_path / name, pairs())), eval_fraction=fraction)
        ).sha256
        for name, fraction in (("a.jsonl", 0.5), ("b.jsonl", 0.3))
    ]
    changed = write_lines(
        tmp_path / "c.jsonl", [*pairs(39), {"prompt": "question 39", "completion": "another"}]
    )
    assert digests[0] == digests[1] != loading.load(DataConfig(train=str(changed), eval_fraction=0.5)).sha256


# Errors: each names the file, and the row where there is one


def broken(row: Any) -> list[Any]:
    return [*pairs(2), row, *pairs(40)]


def message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"colour": "?", "shape": "!"}, "found the columns colour, shape; expected"),
        ({"prompt": True, "completion": "x"}, "prompt must be a text, got bool True"),
        ({"prompt": "x", "completion": 3.5}, r"completion must be a text, got float 3\.5"),
        ({"instruction": "x", "input": 3.5, "output": "y"}, "input must be a text, got float"),
        ({"prompt": "x", "completion": "y", "system": 3.5}, "system must be a text, got float"),
        ({"prompt": "x", "completion": "y", "history": "before"}, "history must be JSON"),
        (["prompt", "completion"], "expected an object .* got list"),
        ("just text", "expected an object .* got str"),
        ({"messages": {"role": "user"}}, "messages must be a list of messages"),
        ({"messages": "hello"}, "messages must be JSON, got str 'hello'"),
        ({"messages": [{"role": "user"}, message("assistant", "x")]}, "a message needs role and content"),
        (
            {"messages": [message("narrator", "x"), message("assistant", "y")]},
            "unknown role 'narrator'; say in data whose it is",
        ),
        (
            {"messages": [message("user", 0.5), message("assistant", "x")]},
            "content must be a text, got float",
        ),
        (
            {"messages": [message("user", [{"type": "image_url"}]), message("assistant", "x")]},
            "holds image_url; only texts",
        ),
        ({"prompt": "x", "chosen": "y", "rejected": "z"}, "this stage learns from a single one"),
        ({"prompt": "x", "completion": "y", "tools": "a hammer"}, "tools must be JSON"),
    ],
)
def test_the_error_for_a_row_of_the_wrong_shape_names_its_file(tmp_path: Path, row: Any, what: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(broken(row), indent=1))
    with pytest.raises(DataError, match=r"^rows.json:\d+: .*" + what):
        read(path)


EMPTY = [
    ({"prompt": "", "completion": "x"}, "its prompt is empty"),
    ({"prompt": None, "completion": "x"}, "its prompt is empty"),
    ({"prompt": "x", "completion": ""}, "its answer is empty"),
    ({"prompt": "x", "completion": " "}, "its answer is empty"),
    ({"prompt": "x", "completion": None}, "its answer is empty"),
    ({"messages": None}, "it has no messages"),
    ({"messages": []}, "it has no messages"),
    ({"messages": [message("user", "x")]}, "it ends without an answer"),
    ({"messages": [message("assistant", "x")]}, "odd turn order: a message of role assistant comes first"),
    ({"messages": [message("user", "x"), message("tool", "y"), message("assistant", "z")]}, "odd turn order"),
    ({"messages": [message("user", "x"), message("assistant", "")]}, "a message, the assistant's, is empty"),
    ({"prompt": "x", "completion": "y", "label": False}, "labelled bad"),
]


@pytest.mark.parametrize(("row", "why"), EMPTY)
def test_a_row_with_nothing_to_learn_is_left_out_counted_and_named(
    tmp_path: Path, row: Any, why: str
) -> None:
    path = write_lines(tmp_path / "rows.jsonl", broken(row))
    result = loading.load(DataConfig(train=str(path), eval_fraction=0.5))
    assert sum(map(len, (result.train, result.validation, result.test))) == 42
    (warning,) = result.warnings
    assert warning.startswith("rows.jsonl: 1 of 43 rows left out: 1 because ")
    assert why in warning
    assert "(rows.jsonl:3)" in warning


@pytest.mark.parametrize(("row", "why"), EMPTY)
def test_with_strict_a_row_with_nothing_to_learn_is_an_error(tmp_path: Path, row: Any, why: str) -> None:
    path = write_lines(tmp_path / "rows.jsonl", broken(row))
    with pytest.raises(DataError, match=r"^rows\.jsonl:3: .*strict: false"):
        loading.load(DataConfig(train=str(path), eval_fraction=0.5, strict=True))


def test_the_error_says_why_every_row_was_left_out(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", [{"prompt": "x", "completion": ""}] * 40)
    with pytest.raises(
        DataError, match=r"holds no rows.*40 of 40 rows left out: 40 because its answer is empty"
    ):
        read(path)


def test_the_error_for_a_line_that_is_not_json_has_its_number(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n\n{"prompt": "a"\n')
    with pytest.raises(DataError, match=r"rows.jsonl:3: broken JSON at column"):
        read(path)


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.csv", "rows.parquet"])
def test_the_error_says_what_a_file_without_rows_is_instead(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xff\xfe\x00\x81 not what its name says")
    with pytest.raises(DataError, match=name):
        read(path)


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("rows.json", '{"prompt": "x"}', "found the columns prompt; expected"),
        ("rows.json", "[]", "holds no rows"),
        ("rows.jsonl", "\n\n", "holds no rows"),
        ("rows.csv", "prompt,completion\n", "holds no rows"),
        ("rows.txt", "hello", "these rows are running text"),
    ],
)
def test_a_file_without_rows_says_so(tmp_path: Path, name: str, text: str, what: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match=f"{name}.*{what}"):
        read(path)


def test_a_folder_of_files_of_one_type_and_a_pattern_are_data_sets(tmp_path: Path) -> None:
    for number in range(3):
        write_lines(tmp_path / f"part-{number}.jsonl", pairs()[number * 13 : number * 13 + 13])
    assert len(read(tmp_path)) == len(read(tmp_path / "part-*.jsonl")) == 39


def test_the_error_for_a_missing_file_mentions_the_embedded_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*nowhere.jsonl; give a path, or 'commands'"):
        read(tmp_path / "nowhere.jsonl")


def test_too_few_rows_to_hold_any_out_are_refused(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", pairs(1))
    with pytest.raises(DataError, match=r"rows\.jsonl has 1 row and eval_fraction 0\.5 leaves none for the"):
        read(path)
