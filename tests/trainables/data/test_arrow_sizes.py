"""The bytes of Arrow's values are counted as often as the values stand in the file, however it keeps them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainables.data.errors import DataError
from trainables.data.files.arrow_sizes import value_bytes
from trainables.data.files.row_reader import read_rows

TEXTS = ["a", None, "seven b", "", "a"]


def text_bytes(value: Any) -> int:
    """The characters of all texts in a value (ASCII)."""
    if isinstance(value, dict):
        return sum(map(text_bytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(text_bytes, value))
    return len(value) if isinstance(value, str | bytes) else 0


def _runs() -> pa.Array:
    return pa.RunEndEncodedArray.from_arrays(pa.array([3, 5], pa.int32()), pa.array(["x" * 50, "y"]))


def _views() -> pa.Array:
    child = pa.array(["x" * 30, "y", "z" * 7])
    return pa.ListViewArray.from_arrays(
        pa.array([0, 0, 1, 0], pa.int32()), pa.array([3, 3, 1, 0], pa.int32()), child
    )


ARRAYS: dict[str, Callable[[], pa.Array]] = {
    "string": lambda: pa.array(TEXTS),
    "large_string": lambda: pa.array(TEXTS, pa.large_string()),
    "string_view": lambda: pa.array([*TEXTS, "x" * 40], pa.string_view()),
    "binary": lambda: pa.array([b"abc", None], pa.binary()),
    "dictionary": lambda: pa.array(["x" * 90, "b", None, "x" * 90, "x" * 90]).dictionary_encode(),
    "nulls in a dictionary": lambda: pa.DictionaryArray.from_arrays(pa.array([0, 1, 1, None]), pa.array([None, "abc"])),
    "empty dictionary": lambda: pa.DictionaryArray.from_arrays(
        pa.array([None, None], pa.int8()), pa.array([], pa.string())
    ),
    "list": lambda: pa.array([TEXTS, None, [], ["xyz"] * 3]),
    "large_list": lambda: pa.array([TEXTS, None, ["xyz"] * 3], pa.large_list(pa.string())),
    "fixed_size_list": lambda: pa.array([["a", "bcd"], ["e", "fghi"], None], pa.list_(pa.string(), 2)),
    "struct": lambda: pa.array([{"a": "xx", "b": ["y", "zz"]}, None, {"a": None, "b": ["wwww"]}]),
    "map": lambda: pa.array([[("k", "v" * 9)], [], [("a", "b"), ("cc", None)]], pa.map_(pa.string(), pa.string())),
    "runs": _runs,
    "views": _views,
    "list of dictionaries": lambda: pa.ListArray.from_arrays(
        pa.array([0, 2, 2, 4], pa.int32()), pa.array(["x" * 70, "y", "x" * 70, "x" * 70]).dictionary_encode()
    ),
    "messages": lambda: pa.array([[{"role": "user", "content": "x" * n}] for n in range(6)]),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_every_text_counts_as_often_as_it_stands_in_a_column(name: str) -> None:
    array = ARRAYS[name]()
    for start in range(len(array)):
        for part in (array.slice(start), array.slice(start, 2)):
            batch = pa.record_batch([part], names=["a"])
            texts = text_bytes(part.to_pylist())
            # Each value takes a few bytes of its own beside its text.
            assert texts <= value_bytes(batch) <= texts + 24 * (len(part) + 12), (start, len(part))


@pytest.mark.parametrize("kind", [pa.int64(), pa.bool_(), pa.null(), pa.float32(), pa.timestamp("s")])
def test_a_column_without_texts_takes_its_width_and_at_least_a_byte_a_row(kind: pa.DataType) -> None:
    batch = pa.record_batch([pa.array([None] * 1000, kind)], names=["a"])
    assert 1000 <= value_bytes(batch) <= 20_000


def _dictionary_bomb() -> pa.Table:
    indices = pa.array([0] * 100_000, pa.int8())
    return pa.table({"text": pa.DictionaryArray.from_arrays(indices, pa.array(["x" * 50_000]))})


def _view_bomb() -> pa.Table:
    starts, sizes = pa.array([0] * 100_000, pa.int32()), pa.array([1000] * 100_000, pa.int32())
    return pa.table({"text": pa.ListViewArray.from_arrays(starts, sizes, pa.array(["x" * 50] * 1000))})


def _run_bomb() -> pa.Table:
    ends = pa.array([2**31 - 1], pa.int32())
    return pa.table({"text": pa.RunEndEncodedArray.from_arrays(ends, pa.array(["x" * 50]))})


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("bomb", [_dictionary_bomb, _view_bomb, _run_bomb])
def test_a_small_file_of_values_that_stand_there_many_times_is_refused(
    tmp_path: Path, bomb: Callable[[], pa.Table], suffix: str
) -> None:
    path = tmp_path / f"rows{suffix}"
    if suffix == ".arrow":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, bomb().schema) as writer:
            writer.write_table(bomb())
    else:
        try:
            pq.write_table(bomb(), path)
        except (pa.ArrowNotImplementedError, pa.ArrowException):
            pytest.skip("Parquet has no such columns")
    assert path.stat().st_size < 2_000_000
    with pytest.raises(DataError, match="decompresses to over"):
        list(read_rows(path))
