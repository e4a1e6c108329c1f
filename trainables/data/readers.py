"""Reads files of rows: one row at a time, in bounded memory, each with its place; no code in a file is run.

for raw in readers.read_rows(Path("rows.jsonl")):
    print(raw.where, raw.values)   # rows.jsonl:17 {'prompt': ...}
"""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.data import decompression, json_reader
from trainables.data.data_files import advice, data_suffix
from trainables.data.decompression import LIMITS, Limits
from trainables.data.errors import DataError

BATCH_ROWS = 256


@dataclass(frozen=True)
class RawRow:
    """A row as it is in its file."""

    values: Any  # usually a dict of column to value
    where: str  # rows.jsonl:17 (a line) or rows.parquet row 17, both counted from 1


def read_rows(path: Path, limits: Limits = LIMITS) -> Iterator[RawRow]:
    """The file's rows in their order. Raises :class:`DataError` at the first fault."""
    suffix = data_suffix(path)
    if suffix is None:
        raise DataError(f"{path}: can't read this type of file; {advice(path)}")
    is_empty = True
    for raw in READERS[suffix](Path(path), limits):
        is_empty = False
        yield raw
    if is_empty:
        raise DataError(f"{path}: holds no rows; give a file with rows")


def _json(path: Path, limits: Limits) -> Iterator[RawRow]:
    if _holds_json_lines(path, limits):
        yield from _json_lines(path, limits)
        return
    previous_line = 0
    with decompression.open_decompressed(path, limits) as stream:
        rows = json_reader.read_rows(decompression.read_pieces(stream, str(path)), str(path), limits)
        for number, (line, values) in enumerate(rows, start=1):
            # Several rows on one line: the line alone does not say which row it is.
            row = f" row {number}" if line == previous_line else ""
            yield RawRow(values, f"{path.name}:{line}{row}")
            previous_line = line


def _holds_json_lines(path: Path, limits: Limits) -> bool:
    """Whether a .json file holds an object per line: the first line is a whole one, and more lines follow."""
    with decompression.open_decompressed(path, limits) as stream:
        # An array is read as one, and is often a single long line.
        if not stream.peek().removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{"):
            return False
        first = next(_filled_lines(stream, limits.line_bytes + 1), b"")
        # A single line is read as one value; that a second one exists is enough, whatever it holds.
        if not first.endswith(b"\n") or next(_filled_lines(stream, 100), None) is None:
            return False
    try:
        json_reader.decode_line(first.decode("utf-8-sig"), "")
    except ValueError:
        return False
    return True


def _filled_lines(stream: io.BufferedReader[Any], max_bytes: int) -> Iterator[bytes]:
    """The lines that are not blank, each up to ``max_bytes``."""
    lines = iter(lambda: stream.readline(max_bytes), b"")
    return (line for line in lines if line.removeprefix(codecs.BOM_UTF8).strip())


def _json_lines(path: Path, limits: Limits) -> Iterator[RawRow]:
    with decompression.open_decompressed(path, limits) as stream:
        for number, line in decompression.read_lines(stream, str(path), limits):
            if line.strip(" \t\r\n"):
                yield RawRow(json_reader.decode_line(line, f"{path}:{number}"), f"{path.name}:{number}")


def _text_lines(path: Path, limits: Limits) -> Iterator[RawRow]:
    with decompression.open_decompressed(path, limits) as stream:
        for number, line in decompression.read_lines(stream, str(path), limits):
            if line.strip():
                yield RawRow({"text": line.rstrip("\r\n")}, f"{path.name}:{number}")


def _csv(path: Path, limits: Limits) -> Iterator[RawRow]:
    return _table(path, limits, "excel")


def _tsv(path: Path, limits: Limits) -> Iterator[RawRow]:
    return _table(path, limits, "excel-tab")


def _table(path: Path, limits: Limits, dialect: str) -> Iterator[RawRow]:
    """Rows of a table with a header. Every cell is read as text, formulas too."""
    header: list[str] = []
    with decompression.open_decompressed(path, limits) as stream:
        for number, cells in _records(
            decompression.read_lines(stream, str(path), limits), path, limits, dialect
        ):
            if not header:
                header = _checked_names(cells, f"{path}:{number}")
            elif len(cells) != len(header):
                raise DataError(
                    f"{path}:{number}: {len(cells)} cells where the header has {len(header)}; "
                    "is a separator missing, or a text with a separator not in quotes?"
                )
            else:
                yield RawRow(dict(zip(header, cells, strict=True)), f"{path.name}:{number}")


def _records(
    numbered: Iterator[tuple[int, str]], path: Path, limits: Limits, dialect: str
) -> Iterator[tuple[int, list[str]]]:
    """(line it begins at, cells). A cell in quotes may hold line ends; the limit of a line holds for the record."""
    # Python's own limit, for the whole process, is 128 KiB; ours is checked below.
    csv.field_size_limit(max(csv.field_size_limit(), limits.line_bytes))
    start = characters = 0

    def lines() -> Iterator[str]:
        nonlocal start, characters
        for number, line in numbered:
            # The csv module takes as many lines as a record needs; `start` is the first of them.
            start = start or number
            characters += len(line)
            if characters > limits.line_bytes:
                raise decompression.too_long_error(f"{path}:{start}", "the row that begins here", limits)
            yield line

    try:
        # Strict: otherwise an open quote silently swallows the rows after it.
        for cells in csv.reader(lines(), dialect, strict=True):
            if cells:
                yield start, cells
            start = characters = 0
    except csv.Error as error:
        raise DataError(f"{path}:{start}: broken table: {error}; check the quotes and line ends") from error


def _checked_names(names: list[str], where: str) -> list[str]:
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise DataError(f"{where}: two columns are called {repeated[0]!r}; rename one")
    if not names:
        raise DataError(f"{where}: no columns; give a file with some")
    return names


def _parquet(path: Path, limits: Limits) -> Iterator[RawRow]:
    import pyarrow.parquet as pq

    def batches(file: Path) -> Iterator[Any]:
        with pq.ParquetFile(file) as table:
            _checked_names(table.schema_arrow.names, str(path))
            yield from table.iter_batches(batch_size=BATCH_ROWS, use_threads=False)

    return _from_batches(path, limits, batches)


def _arrow(path: Path, limits: Limits) -> Iterator[RawRow]:
    import pyarrow as pa

    def batches(file: Path) -> Iterator[Any]:
        # Memory-mapped, since one batch may be the whole table.
        with pa.memory_map(str(file)) as source:
            # Feather files begin with this mark; Arrow files of Hugging Face's data sets are plain streams.
            is_file = source.read(6) == b"ARROW1"
            source.seek(0)
            table = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
            _checked_names(table.schema.names, str(path))
            for number in range(table.num_record_batches) if is_file else ():
                yield table.get_batch(number)
            yield from () if is_file else table

    return _from_batches(path, limits, batches)


def _from_batches(path: Path, limits: Limits, batches: Callable[[Path], Iterator[Any]]) -> Iterator[RawRow]:
    import pyarrow as pa

    with decompression.decompressed_file(path, limits) as file:
        number = 0
        try:
            for batch in _validated(batches(file), path, limits):
                for values in batch.to_pylist():
                    number += 1
                    yield RawRow(values, f"{path.name} row {number}")
        except DataError:
            raise
        except (pa.ArrowException, OSError, ValueError, ArithmeticError, LookupError) as error:
            message = str(error).partition("\n")[0]
            raise DataError(
                f"{path}: can't be read after row {number}: {message}; "
                f"is it complete, and really {data_suffix(path)}?"
            ) from error


def _validated(batches: Iterator[Any], path: Path, limits: Limits) -> Iterator[Any]:
    """The batches, validated (offsets in a broken file may point anywhere) and cut into small ones."""
    allowed_bytes = max(limits.unpacked_bytes, limits.ratio * path.stat().st_size)
    unpacked_bytes = 0
    for batch in batches:
        batch.validate(full=True)
        unpacked_bytes += batch.nbytes + batch.num_rows  # a column of nulls takes no bytes
        decompression.refuse_bomb(path, unpacked_bytes, allowed_bytes)
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(start, BATCH_ROWS)


READERS: dict[str, Callable[[Path, Limits], Iterator[RawRow]]] = {
    ".json": _json,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".feather": _arrow,
    ".txt": _text_lines,
}
