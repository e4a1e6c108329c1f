"""Rows are read unchanged and in bounded memory, and errors say where a file is wrong."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainables.data.errors import DataError
from trainables.data.files import data_files, decompression, row_reader
from trainables.data.files.row_reader import Limits

ROWS = [{"prompt": "Häl\u2028lo", "n": 1}, {"prompt": "=1+1", "n": -2.5}, {"prompt": "", "n": None}]
SMALL = Limits(line_bytes=1000, unpacked_bytes=2000, ratio=10)


def rows(path: Path, limits: Limits = Limits()) -> list[Any]:  # noqa: B008
    return [raw.values for raw in row_reader.read_rows(path, limits)]


def places(path: Path) -> list[str]:
    return [raw.where for raw in row_reader.read_rows(path)]


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = content.encode() if isinstance(content, str) else content
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    elif path.suffix == ".zst":
        content = pa.compress(content, "zstd", asbytes=True)
    path.write_bytes(content)
    return path


def wrong(path: Path, limits: Limits = Limits()) -> str:  # noqa: B008
    """What the reader says; it must name the file and say what to do."""
    with pytest.raises(DataError) as caught:
        rows(path, limits)
    assert path.name in str(caught.value)
    assert ";" in str(caught.value) or "?" in str(caught.value)
    return str(caught.value)


def table_bytes(table: pa.Table, how: str) -> bytes:
    sink = pa.BufferOutputStream()
    if how == "parquet":
        pq.write_table(table, sink)
    elif how == "feather":
        feather.write_feather(table, sink)
    else:
        new = pa.ipc.new_file if how == "file" else pa.ipc.new_stream
        with new(sink, table.schema) as writer:
            writer.write_table(table)
    return sink.getvalue().to_pybytes()


def as_table(content: list[dict[str, Any]], header: list[str], path: Path) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header, dialect="excel-tab" if path.suffix == ".tsv" else "excel")
        writer.writeheader()
        writer.writerows(content)
    return path


# What is read


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.json", json.dumps(ROWS)),
        ("rows.json", json.dumps(ROWS, indent=2, ensure_ascii=False)),
        ("rows.json", json.dumps({"version": {"a": [1]}, "data": ROWS, "count": 3})),
        ("rows.json", json.dumps({"data": ROWS}, indent=1)),
        ("rows.json", "\n".join(map(json.dumps, ROWS))),
        ("rows.json", " \n\n".join(["", *map(json.dumps, ROWS), ""])),
        ("rows.jsonl", "\n\n".join(map(json.dumps, ROWS)) + "\r\n"),
        ("rows.NDJSON", "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)),
    ],
)
def test_rows_are_read_from_every_shape_of_json(tmp_path: Path, name: str, text: str, packed: str) -> None:
    assert rows(written(tmp_path / (name + packed), text)) == ROWS
    assert rows(written(tmp_path / (name + packed), "\ufeff" + text)) == ROWS


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
@pytest.mark.parametrize(
    ("name", "how"),
    [("a.parquet", "parquet"), ("a.arrow", "file"), ("a.arrow", "stream"), ("a.feather", "feather")],
)
def test_rows_are_read_from_files_with_columns(tmp_path: Path, name: str, how: str, packed: str) -> None:
    content = [{"text": f"row {n}", "n": n, "tags": ["a"] * (n % 3)} for n in range(700)]
    path = written(tmp_path / (name + packed), table_bytes(pa.Table.from_pylist(content), how))
    assert rows(path) == content
    assert places(path)[-1] == f"{name}{packed} row 700"


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_cell_that_looks_like_a_formula_or_a_number_stays_text(tmp_path: Path, name: str) -> None:
    content = [{"a": "=1+1", "b": "@SUM(A1)"}, {"a": "007", "b": 'x,\t"y"\r\nz'}, {"a": "", "b": "-1"}]
    path = as_table(content, ["a", "b"], tmp_path / name)
    assert rows(path) == content
    assert places(path) == [f"{name}:2", f"{name}:3", f"{name}:5"]


def test_a_text_file_has_a_row_per_line_that_is_not_empty(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "one\r\n\n  two\u2028half \nthree")
    assert rows(path) == [{"text": "one"}, {"text": "  two\u2028half "}, {"text": "three"}]
    assert places(path) == ["a.txt:1", "a.txt:3", "a.txt:4"]


def test_a_row_knows_its_line_and_on_a_shared_line_its_number(tmp_path: Path) -> None:
    assert places(written(tmp_path / "a.json", '[\n {"a":\n 1},\n\n {"a": 2}, {"a": 3}]')) == [
        "a.json:2",
        "a.json:5",
        "a.json:5 row 3",
    ]
    assert places(written(tmp_path / "a.jsonl", "{}\n\n{}")) == ["a.jsonl:1", "a.jsonl:3"]


def test_numbers_and_words_are_read_whole_wherever_a_piece_ends(tmp_path: Path, monkeypatch: Any) -> None:
    content = [12345.678e-12, True, 'a\\"\u00e9\U0001f600', -0.0, None, {"k": [123456789, {}]}, 10**30]
    path = written(tmp_path / "a.json", json.dumps(content) + " " * 40)
    for size in (1, 2, 3, 7, 50):
        monkeypatch.setattr(decompression, "PIECE_BYTES", size)
        monkeypatch.setattr(row_reader.json_reader, "PIECE_BYTES", size)
        assert rows(path) == content


def test_json_lines_of_conversations_are_rows_although_each_holds_one_list(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "hi"}]}
    assert rows(written(tmp_path / "one.json", json.dumps(row))) == [row]
    assert rows(written(tmp_path / "two.json", f"{json.dumps(row)}\n{json.dumps(row)}\n")) == [row, row]
    assert rows(written(tmp_path / "tags.json", '{"tags": ["x"], "prompt": "a"}\n' * 2))[1]["tags"] == ["x"]


def test_rows_that_are_not_objects_are_passed_on(tmp_path: Path) -> None:
    assert rows(written(tmp_path / "a.json", '[1, "x", [2]]')) == [1, "x", [2]]
    assert rows(written(tmp_path / "a.jsonl", '1\n"x"\n[2]')) == [1, "x", [2]]


def test_a_relative_link_is_followed(tmp_path: Path) -> None:
    written(tmp_path / "real" / "a.jsonl", '{"a": 1}')
    (tmp_path / "b.jsonl").symlink_to("real/a.jsonl")
    assert rows(tmp_path / "b.jsonl") == [{"a": 1}]


def test_a_large_array_passes_through_little_memory(tmp_path: Path) -> None:
    path, row = tmp_path / "large.json", {"prompt": "word " * 500, "completion": "x" * 1500}
    line = json.dumps(row)
    path.write_text("[" + ",".join([line] * 8000) + "]")
    assert path.stat().st_size > 30 << 20
    tracemalloc.start()
    try:
        assert sum(raw.values == row for raw in row_reader.read_rows(path)) == 8000
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 << 20


def remarks_on(path: Path) -> row_reader.FileRemarks:
    remarks = row_reader.FileRemarks()
    list(row_reader.read_rows(path, remarks=remarks))
    return remarks


@pytest.mark.parametrize(
    ("name", "separator", "named"),
    [
        ("a.csv", ";", "semicolons"),
        ("a.csv", "\t", "tabs"),
        ("a.csv", "|", "vertical bars"),
        ("a.tsv", ",", "commas"),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_table_with_another_separator_is_read_and_the_separator_is_named(
    tmp_path: Path, name: str, separator: str, named: str, line_end: str
) -> None:
    lines = [["prompt", "completion"], ["How far, roughly?", "1,5 km"], ["Where?", '"Here; or\nthere|\t,"']]
    path = written(tmp_path / name, line_end.join(map(separator.join, lines)))
    expected = [("How far, roughly?", "1,5 km"), ("Where?", "Here; or\nthere|\t,")]
    if separator == ",":
        path = written(path, 'prompt,completion\n"How far, roughly?","1,5 km"\nWhere?,"Here; or\nthere|\t,"')
    assert [tuple(row.values()) for row in rows(path)] == expected
    assert remarks_on(path).notes == [f"{name}: its cells are separated by {named}"]
    assert remarks_on(written(path, "\ufeff" + path.read_text())).notes == [
        f"{name}: its cells are separated by {named}"
    ]


def test_excels_line_with_the_separator_is_no_row(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "\ufeffsep=;\r\nprompt;completion\r\nHow far, then?;2\r\n")
    assert rows(path) == [{"prompt": "How far, then?", "completion": "2"}]
    assert places(path) == ["a.csv:3"]
    assert remarks_on(path).notes == ["a.csv: its cells are separated by semicolons, as its first line says"]


def test_a_table_of_one_column_may_hold_any_separator_in_quotes(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'text\n"One; two, three|four"\nfive\n')
    assert rows(path) == [{"text": "One; two, three|four"}, {"text": "five"}]
    assert remarks_on(path) == row_reader.FileRemarks()


def test_columns_without_a_name_are_left_out_and_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", ",prompt,completion,,\n0,x,y,,\n1,z,w\n")
    assert rows(path) == [{"prompt": "x", "completion": "y"}, {"prompt": "z", "completion": "w"}]
    assert remarks_on(path).notes == [
        "a.csv: column 1 has no name in the header and is not read",
        "a.csv: 2 empty columns without a name at the right left out",
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"prompt": ["a", "b"], "completion": ["c", null]}',
        '{"prompt": {"0": "a", "1": "b"}, "completion": {"0": "c", "1": null}}',
        '{\n "completion": ["c", null],\n "prompt": ["a", "b"]\n}',
        '{"0": {"prompt": "a", "completion": "c"}, "1": {"prompt": "b", "completion": null}}',
        '{"columns": ["prompt", "completion"], "index": [3, 5], "data": [["a", "c"], ["b", null]]}',
    ],
)
def test_an_object_of_columns_has_the_rows_of_its_columns(tmp_path: Path, text: str) -> None:
    expected = [{"prompt": "a", "completion": "c"}, {"prompt": "b", "completion": None}]
    assert rows(written(tmp_path / "a.json", text)) == expected
    own_names = text.replace("prompt", "frage").replace("completion", "antwort")
    assert rows(written(tmp_path / "b.json", own_names))[1] == {"frage": "b", "antwort": None}


def test_an_object_of_a_column_of_conversations_has_a_row_for_each(tmp_path: Path) -> None:
    talks = [[{"role": "user", "content": "x"}], [{"role": "user", "content": "y"}]]
    path = written(tmp_path / "a.json", json.dumps({"messages": talks}))
    assert rows(path) == [{"messages": talks[0]}, {"messages": talks[1]}]


def test_an_object_of_rows_by_their_ids_has_these_rows(tmp_path: Path) -> None:
    text = '{"wren-1": {"prompt": "a", "completion": "c"}, "wren-2": {"prompt": "b"}}'
    assert rows(written(tmp_path / "a.json", text)) == [{"prompt": "a", "completion": "c"}, {"prompt": "b"}]


def test_blank_lines_above_a_header_are_no_header(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "\n,,\nprompt,completion,\nx,y,\n")
    assert (rows(path), places(path)) == ([{"prompt": "x", "completion": "y"}], ["a.csv:4"])


def test_an_object_with_lists_of_messages_is_one_row(tmp_path: Path) -> None:
    row = {
        "prompt": [{"role": "user", "content": "x"}],
        "completion": [{"role": "assistant", "content": "y"}],
    }
    assert rows(written(tmp_path / "a.json", json.dumps(row))) == [row]


def test_a_text_file_of_json_objects_is_read_as_their_rows_unless_texts_are_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", '{"prompt": "x"}\n\n{"prompt": "y"}\r\n')
    assert rows(path) == [{"prompt": "x"}, {"prompt": "y"}]
    assert places(path) == ["a.txt:1", "a.txt:3"]
    (note,) = remarks_on(path).notes
    assert note.startswith("a.txt: each line is a JSON object and is read as one; format: text")
    remarks = row_reader.FileRemarks()
    texts = [raw.values for raw in row_reader.read_rows(path, remarks=remarks, as_text=True)]
    assert remarks == row_reader.FileRemarks()
    assert texts == [{"text": '{"prompt": "x"}'}, {"text": '{"prompt": "y"}'}]


def test_a_text_file_that_is_json_in_most_lines_is_warned_of(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", 'rows\n{"prompt": "x"}\n{"prompt": "y"}\n')
    assert rows(path)[0] == {"text": "rows"}
    (warning,) = remarks_on(path).warnings
    assert warning.startswith(
        "a.txt: 2 of 3 lines are JSON objects (the first: a.txt:2) and are read as texts"
    )
    for text in ('[Music]\n{"a": 1}\nwords\n', "{a} and {b}\n[1]\n", "[1, 2]\n"):
        assert remarks_on(written(tmp_path / "b.txt", text)) == row_reader.FileRemarks()


# What is refused


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '[{"a": 1},\n {"a": }]', "a.json:2: broken JSON: Expecting value, at column 8"),
        ("a.json", '[{"a": 1},\n {"a": 2}', "a.json:2: broken JSON: expected ',' or ']', the file ends"),
        ("a.json", '[{"a": 1},]', "a.json:1: broken JSON: a comma before ']', at column 11; remove it"),
        ("a.json", '[{"a": 1}]\n[2]', "a.json:2: something follows the end"),
        ("a.json", '["half', "Unterminated string"),
        ("a.json", "3", "expected an array of rows"),
        ("a.json", "rows", "expected an array of rows"),
        ("a.json", '{"train": [{}], "test": [{}]}', "two lists, 'train' and 'test'"),
        ("a.json", '{"data": [{}], "data": 1}', "'data' occurs twice"),
        ("a.json", '{"data": [{}],}', "a comma before '}'"),
        ("a.json", '{"tags": [{}],\n"prompt": "x"}', "a row ('prompt') or a list of rows ('tags')?"),
        ("a.json", '[{"a": 1, "a": 2}]', "'a' occurs twice"),
        ("a.json", "[[NaN]]", "a.json:1: NaN is not JSON, in the row that begins, at column 2; write null"),
        ("a.json", "[" * 100_000, "nested too deep"),
        ("a.json", "[]", "holds no rows"),
        ("a.json", b'[{"a":\n "caf\xe9"}]', "a.json:2: byte 0xe9"),
        ("a.json", b'[\n"a\x00"]', "a.json:2: a NUL byte"),
        ("a.jsonl", '{"a": 1}\n{"a": 1', "a.jsonl:2: broken JSON at column 8"),
        ("a.jsonl", '{"a": 1}\n{"a": 1} x', "a.jsonl:2: broken JSON at column 10: Something follows"),
        (
            "a.jsonl",
            '{"a": 1},\n{"a": 1}',
            "a.jsonl:1: broken JSON at column 9: A comma, as between the items",
        ),
        ("a.jsonl", '[\n{"a": 1}\n]', "an array over several lines is a .json file"),
        ("a.jsonl", '{"b": {"a": 1, "a": 1}}', "a.jsonl:1: the name 'a' occurs twice"),
        ("a.jsonl", '{"a": -Infinity}', "-Infinity is not JSON"),
        ("a.jsonl", '{"a": 1e999}', "1e999 is too large"),
        ("a.jsonl", '{"a": ' + "1" * 5000 + "}", "too many digits"),
        ("a.jsonl", '{"a": "\\ud800"}', "half a character"),
        ("a.jsonl", '{"a":' * 50_000, "a.jsonl:1: lists or objects are nested too deep"),
        ("a.jsonl", b'{"a": 1}\n{"a": "\xff"}', "a.jsonl:2: byte 0xff (near column 8) is not UTF-8"),
        ("a.jsonl", b"{}\n\x00", "a.jsonl:2: a NUL byte"),
        ("a.jsonl", "\n \n", "holds no rows"),
        ("a.jsonl", "\ufeff", "holds no rows"),
        ("a.jsonl", "", "the file is empty"),
        ("a.jsonl.gz", "", "the file is empty"),
        ("a.parquet", "", "the file is empty"),
        ("a.jsonl", '{"a": 1}'.encode("utf-16"), "it is UTF-16; save it as UTF-8"),
        ("a.csv", "a,b\n1,2".encode("utf-32"), "it is UTF-32; save it as UTF-8"),
        ("a.csv", "a,b\n1,2".encode("utf-16-le"), "a.csv:1: a NUL byte; is it UTF-16"),
        ("a.jsonl", gzip.compress(b"{}", mtime=0), "gzip inside; add .gz"),
        ("a.csv", b"PK\x03\x04....", "zip archive inside"),
        ("a.parquet", "version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        ("a.csv", "a,b\n1,2\n\n1,2,3\n", "a.csv:4: 3 cells where the header has 2"),
        ("a.csv", 'a,b\n1,"2\n3"\n1\n', "a.csv:4: 1 cells where the header has 2"),
        ("a.csv", 'a,b\n1,2\n1,"2\n3,4\n', "a.csv:3: broken table"),
        ("a.csv", "a,b,a\n1,2,3\n", "two columns are called 'a'"),
        ("a.csv", "a,b,,\n1,2,,\n1,2,3,\n", "a.csv:3: 4 cells where the header has 2"),
        ("a.csv", ",,\n,\n", "holds no rows"),
        ("a.csv", "a,b\r1,2\r3,4\r", "a.csv:1: lines end with a carriage return alone"),
        (
            "a.csv",
            "q,a\nWie weit?,ungef\xe4hr 2\n".encode("cp1252"),
            "a.csv:2: byte 0xe4 (near column 16) is not UTF-8 (ä",
        ),
        (
            "a.txt",
            '[\n {"a": 1},\n {"a": 2}\n]',
            "it holds JSON, and its lines are no texts; rename it to a.json",
        ),
        ("a.txt", '{"data": [{"a": 1}],\n "version": 2}', "it holds JSON"),
        ("a.csv", "a,b\n", "holds no rows"),
        ("a.parquet", "PAR1 but not really", "really .parquet?"),
        ("a.arrow", "ARROW1 but not really", "really .arrow?"),
        ("a.feather", "FEA1 of long ago", "really .feather?"),
        ("a.zip", "PK", "extract it and give"),
        ("a.xlsx", "PK", "save the sheet as .csv, in UTF-8; known: .json, .jsonl"),
    ],
)
def test_a_faulty_file_is_refused_with_the_place_of_the_fault(
    tmp_path: Path, name: str, content: Any, message: str
) -> None:
    assert message in wrong(written(tmp_path / name, content))


def test_columns_without_rows_and_columns_with_the_same_name_are_refused(tmp_path: Path) -> None:
    empty = pa.table({"a": pa.array([], pa.string())})
    assert "holds no rows" in wrong(written(tmp_path / "a.parquet", table_bytes(empty, "parquet")))
    double = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert "two columns" in wrong(written(tmp_path / "a.arrow", table_bytes(double, "stream")))
    none = pa.table({"a": [1]}).select([])
    assert "no columns" in wrong(written(tmp_path / "b.parquet", table_bytes(none, "parquet")))


def test_the_rows_before_a_fault_are_read(tmp_path: Path) -> None:
    stream = row_reader.read_rows(written(tmp_path / "a.jsonl", '{"a": 1}\nbroken'))
    assert next(stream).values == {"a": 1}
    with pytest.raises(DataError, match=r"a\.jsonl:2"):
        next(stream)


@pytest.mark.parametrize(
    ("name", "opening"),
    [("a.jsonl", '"'), ("a.json", '["'), ("a.json", '{"k": "'), ("a.csv", 'a\n"'), ("a.txt", "")],
)
def test_a_line_of_fifty_megabytes_is_refused_before_it_is_loaded(
    tmp_path: Path, name: str, opening: str
) -> None:
    path = tmp_path / name
    with open(path, "wb") as file:
        file.write(opening.encode())
        for _ in range(50):
            file.write(b"a" * (1 << 20))
    tracemalloc.start()
    try:
        assert "is longer than" in wrong(path, Limits(line_bytes=2 << 20))
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_a_row_may_be_as_long_as_the_limit_and_no_longer(tmp_path: Path) -> None:
    text = json.dumps("x" * 998)
    for name, around in (("a.jsonl", "%s"), ("a.json", "[1, %s, 2]")):
        assert "x" * 998 in rows(written(tmp_path / name, around % text), SMALL)
        longer = around % json.dumps("x" * 999)
        assert "longer than 1,000 bytes" in wrong(written(tmp_path / name, longer), SMALL)


def test_an_open_quote_does_not_swallow_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'a,b\n1,"2\n' + "3,4\n" * 1000)
    assert "a.csv:2: the row that begins here is longer" in wrong(path, SMALL)


def test_an_object_may_hold_only_so_much_beside_its_rows(tmp_path: Path) -> None:
    text = "{" + ", ".join(f'"{n}": {n}' for n in range(2000)) + "}"
    assert "the object is longer" in wrong(written(tmp_path / "a.json", text), SMALL)


@pytest.mark.parametrize("packed", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["a.txt", "a.json", "a.parquet"])
def test_a_decompression_bomb_is_refused(tmp_path: Path, name: str, packed: str) -> None:
    path = written(tmp_path / (name + packed), (b" " * 99 + b"\n") * 10_000)
    assert "decompression bomb" in wrong(path, SMALL)


def test_a_table_that_compresses_too_well_is_refused_as_a_bomb_too(tmp_path: Path) -> None:
    table = pa.table({"a": ["x" * 100] * 10_000})
    assert "decompression bomb" in wrong(
        written(tmp_path / "a.parquet", table_bytes(table, "parquet")), SMALL
    )


def test_a_small_file_may_have_any_compression_ratio(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt.gz", b"a\n" * 900)
    assert len(rows(path, SMALL)) == 900


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_a_compressed_file_that_is_cut_off_or_damaged_is_refused(tmp_path: Path, packed: str) -> None:
    path = written(tmp_path / f"a.jsonl{packed}", b"".join(b'{"a": %d}\n' % (n * n) for n in range(5000)))
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert "damaged or cut off" in wrong(path)
    path.write_bytes(b"not packed at all")
    assert "damaged or cut off" in wrong(path)


def test_two_compressed_files_joined_are_read_as_one(tmp_path: Path) -> None:
    for packed in (".gz", ".zst"):
        path = written(tmp_path / f"a.txt{packed}", "one\n")
        path.write_bytes(path.read_bytes() * 2)
        assert rows(path) == [{"text": "one"}] * 2


def test_a_file_without_read_permission_is_a_data_error(tmp_path: Path, monkeypatch: Any) -> None:
    path = written(tmp_path / "a.jsonl", "{}")

    def deny(*_: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(decompression, "open", deny, raising=False)  # root may read everything
    assert "Permission denied; make it readable" in wrong(path)


def test_a_pipe_a_folder_and_a_missing_file_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    for name in ("pipe.jsonl", "folder.jsonl"):
        assert "not a regular file" in wrong(tmp_path / name)
    assert "No such file" in wrong(tmp_path / "none.jsonl")


# Which files


def test_the_type_of_a_file_is_detected_from_its_name_compressed_or_not() -> None:
    assert [
        data_files.data_suffix(name) for name in ("a.jsonl.gz", "a.CSV", Path("x/a.parquet.zst"), "a.json")
    ] == [
        ".jsonl",
        ".csv",
        ".parquet",
        ".json",
    ]
    assert [data_files.data_suffix(name) for name in ("a.zip", "a.gz", "a", ".json", "a.jsonl.bz2")] == [
        None
    ] * 5


def test_a_file_stands_for_itself_and_a_folder_for_its_data_files(tmp_path: Path) -> None:
    for name in (
        "b.jsonl",
        "a.jsonl.gz",
        ".hidden.json",
        "README.md",
        "LICENSE",
        "dataset_info.json",
        "x.py",
    ):
        written(tmp_path / name, "{}")
    assert data_files.find_data_files(tmp_path / "b.jsonl") == [tmp_path / "b.jsonl"]
    assert data_files.find_data_files(tmp_path) == [tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl"]


def test_a_pattern_stands_for_its_matches(tmp_path: Path) -> None:
    for name in ("a1.csv", "a2.csv", "deep/er/a3.csv", "README.md", "odd[1].csv"):
        written(tmp_path / name, "a\n1")
    names = lambda pattern: [file.name for file in data_files.find_data_files(tmp_path / pattern)]  # noqa: E731
    assert names("a?.csv") == ["a1.csv", "a2.csv"]
    assert names("a[2-9].csv") == ["a2.csv"]
    assert names("**/a*.csv") == ["a1.csv", "a2.csv", "a3.csv"]
    assert names("*") == ["a1.csv", "a2.csv", "odd[1].csv"]
    assert names("odd[1].csv") == ["odd[1].csv"]
    with pytest.raises(DataError, match="no data file matches"):
        names("b*.csv")
    with pytest.raises(DataError, match=r"it matches .*README\.md"):
        names("*.md")


def test_the_error_for_a_folder_with_several_types_of_files_lists_them(tmp_path: Path) -> None:
    written(tmp_path / "a.csv", "a")
    written(tmp_path / "a.jsonl", "{}")
    with pytest.raises(DataError, match=r"several types: \.csv, \.jsonl; choose one"):
        data_files.find_data_files(tmp_path)


def test_rows_of_a_file_and_its_compressed_copy_do_not_count_twice(tmp_path: Path) -> None:
    written(tmp_path / "a.csv", "a\n1")
    written(tmp_path / "a.csv.gz", "a\n1")
    for path in (tmp_path, tmp_path / "a*"):
        with pytest.raises(DataError, match="both compressed and uncompressed"):
            data_files.find_data_files(path)


def test_the_error_for_a_folder_without_data_names_subfolders_with_some(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data files in this folder; put files there"):
        data_files.find_data_files(tmp_path)
    written(tmp_path / "data" / "train.parquet", "x")
    with pytest.raises(DataError, match=r"there are some in .*data; give"):
        data_files.find_data_files(tmp_path)


def test_the_error_for_a_misspelt_path_suggests_the_nearest(tmp_path: Path) -> None:
    written(tmp_path / "data" / "train.jsonl", "{}")
    with pytest.raises(DataError, match=r"did you mean .*data/train\.jsonl\?"):
        data_files.find_data_files(tmp_path / "data" / "trian.jsonl")
    with pytest.raises(DataError, match=r"did you mean .*/data\?"):
        data_files.find_data_files(tmp_path / "dta" / "train.jsonl")
    with pytest.raises(DataError, match="no name like zzz"):
        data_files.find_data_files(tmp_path / "zzz")
    (tmp_path / "link.csv").symlink_to("gone.csv")
    with pytest.raises(DataError, match=r"a link to gone\.csv, which does not exist"):
        data_files.find_data_files(tmp_path / "link.csv")
    with pytest.raises(DataError, match="File name too long"):
        data_files.find_data_files(tmp_path / ("x" * 300))


def test_a_bare_name_is_looked_up_in_the_current_folder(tmp_path: Path, monkeypatch: Any) -> None:
    written(tmp_path / "train.jsonl", "{}")
    monkeypatch.chdir(tmp_path)
    assert data_files.find_data_files(Path("train.jsonl")) == [Path("train.jsonl")]
    with pytest.raises(DataError, match=r"did you mean train\.jsonl\?"):
        data_files.find_data_files(Path("train.json"))


# Whatever the rows, whatever the bytes

QUICK = settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
JSON_ROWS = st.lists(st.dictionaries(TEXTS, VALUES, max_size=4), min_size=1, max_size=6)
PACKED = st.sampled_from(["", ".gz", ".zst"])


@QUICK
@given(content=JSON_ROWS, indent=st.sampled_from([None, 0, 2]), ascii_only=st.booleans(), packed=PACKED)
def test_any_rows_round_trip_through_a_json_array(
    tmp_path: Path, content: Any, indent: Any, ascii_only: bool, packed: str
) -> None:
    text = json.dumps(content, indent=indent, ensure_ascii=ascii_only)
    assert rows(written(tmp_path / f"a.json{packed}", text)) == content
    assert rows(written(tmp_path / f"b.json{packed}", f'{{"n": 1, "data": {text}}}')) == content


@QUICK
@given(
    content=JSON_ROWS, ascii_only=st.booleans(), packed=PACKED, end=st.sampled_from(["\n", "\r\n", "\n\n"])
)
def test_any_rows_round_trip_through_json_lines(
    tmp_path: Path, content: Any, ascii_only: bool, packed: str, end: str
) -> None:
    text = "".join(json.dumps(row, ensure_ascii=ascii_only) + end for row in content)
    assert rows(written(tmp_path / f"a.jsonl{packed}", text)) == content
    if len(content) > 1:  # a single object may be one around its rows
        assert rows(written(tmp_path / f"a.json{packed}", text)) == content


# A column has a name that isn't blank; a separator in it is one of the file, as far as its header goes.
NAMES = TEXTS.filter(lambda name: name.strip("\ufeff \t\r\n") and not set(name) & set(",;\t|\ufeff"))


@QUICK
@given(
    header=st.lists(NAMES.filter(str.strip), min_size=1, max_size=4, unique=True),
    data=st.data(),
    name=st.sampled_from(["a.csv", "a.tsv"]),
)
def test_any_texts_round_trip_through_a_table(
    tmp_path: Path, header: list[str], data: Any, name: str
) -> None:
    cells = st.fixed_dictionaries(dict.fromkeys(header, TEXTS))
    content = data.draw(st.lists(cells, min_size=1, max_size=5))
    assert rows(as_table(content, header, tmp_path / name)) == content


@QUICK
@given(
    content=st.lists(
        st.fixed_dictionaries(
            {"text": TEXTS, "n": st.none() | st.integers(-(2**63), 2**63 - 1), "x": st.lists(TEXTS)}
        ),
        min_size=1,
        max_size=6,
    ),
    how=st.sampled_from(["parquet", "file", "stream", "feather"]),
    packed=PACKED,
)
def test_any_rows_round_trip_through_columns(tmp_path: Path, content: Any, how: str, packed: str) -> None:
    schema = pa.schema({"text": pa.string(), "n": pa.int64(), "x": pa.list_(pa.string())})
    suffix = {"parquet": ".parquet", "feather": ".feather"}.get(how, ".arrow")
    path = tmp_path / f"a{suffix}{packed}"
    assert rows(written(path, table_bytes(pa.Table.from_pylist(content, schema), how))) == content


def reads_or_says_why(path: Path) -> None:
    with contextlib.suppress(DataError):
        rows(path)


JSON_LIKE = st.text(st.sampled_from(list('[]{}",:\\ue018dtrN-.\n \0\ufeffé')), max_size=40).map(str.encode)


@settings(QUICK, max_examples=100)
@given(content=JSON_ROWS, data=st.data(), piece=st.integers(1, 9))
def test_a_json_array_is_read_as_python_reads_it(tmp_path: Path, content: Any, data: Any, piece: int) -> None:
    text = json.dumps(content, indent=data.draw(st.sampled_from([None, 1])), ensure_ascii=False)
    cut = st.integers(1, len(text))
    text = text[: data.draw(cut)] + data.draw(st.sampled_from([*'[]{}",:1e-.', ""])) + text[data.draw(cut) :]
    try:
        expected = row_reader.json_reader.DECODER.decode(text)
    except ValueError:
        expected = None
    path = written(tmp_path / "a.json", text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decompression, "PIECE_BYTES", piece)
        patch.setattr(row_reader.json_reader, "PIECE_BYTES", piece)
        if expected:
            assert rows(path) == expected
        else:
            wrong(path)


@settings(QUICK, max_examples=300)
@given(
    content=st.binary(max_size=60) | JSON_LIKE, name=st.sampled_from(["a", "a.gz", "a.zst"]), data=st.data()
)
def test_any_bytes_are_read_or_refused_with_a_data_error(
    tmp_path: Path, content: bytes, name: str, data: Any
) -> None:
    suffix = data.draw(st.sampled_from(data_files.DATA_SUFFIXES))
    path = tmp_path / name.replace("a", f"a{suffix}", 1)
    path.write_bytes(content)
    reads_or_says_why(path)


@settings(QUICK, max_examples=150)
@given(data=st.data(), how=st.sampled_from(["parquet", "file", "stream", "feather", "json.gz", "json.zst"]))
def test_a_good_file_with_some_bytes_changed_is_read_or_refused(tmp_path: Path, data: Any, how: str) -> None:
    suffix = how if "json" in how else {"parquet": "parquet"}.get(how, "arrow")
    table = pa.table({"t": ["one", "two", None, "three"], "l": [[1], [], None, [2, 3]]})
    path = tmp_path / f"a.{suffix}"
    written(path, json.dumps(ROWS) if "json" in how else table_bytes(table, how))
    content = bytearray(path.read_bytes())
    places = st.integers(0, len(content) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(places)] if data.draw(st.booleans()) else content)
    reads_or_says_why(path)


def test_every_known_type_of_file_has_a_reader() -> None:
    assert tuple(row_reader.READERS) == data_files.DATA_SUFFIXES
