"""From what people have on disk to raw rows: one at a time, bounded, with the place of each; nothing is run.

for raw in readers.read(Path("rows.jsonl")):
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
from trainables.data.data_files import advice, kind
from trainables.data.decompression import LIMITS, Limits
from trainables.data.errors import DataError

BATCH_ROWS = 256


@dataclass(frozen=True)
class Raw:
    """A row as it was found."""

    values: Any  # as a rule a dict of column to value
    where: str  # rows.jsonl:17 (a line), rows.parquet row 17; both count from 1


def read(path: Path, limits: Limits = LIMITS) -> Iterator[Raw]:
    """The file's rows in their order. Raises :class:`DataError` at the first thing that is wrong."""
    found = kind(path)
    if found is None:
        raise DataError(f"{path}: can't read this kind of file; {advice(path)}")
    none = True
    for raw in READERS[found](Path(path), limits):
        none = False
        yield raw
    if none:
        raise DataError(f"{path}: holds no rows; give a file with rows")


def _json(path: Path, limits: Limits) -> Iterator[Raw]:
    if _is_really_lines(path, limits):
        yield from _json_lines(path, limits)
        return
    before = 0
    with decompression.opened(path, limits) as stream:
        rows = json_reader.rows(decompression.pieces(stream, str(path)), str(path), limits)
        for number, (line, values) in enumerate(rows, start=1):
            # An array on one line: there the line alone doesn't say which row.
            yield Raw(values, f"{path.name}:{line}" + (f" row {number}" if line == before else ""))
            before = line


def _is_really_lines(path: Path, limits: Limits) -> bool:
    """Whether a .json file holds an object per line: the first line is whole, and more follows."""
    with decompression.opened(path, limits) as stream:
        # An array has no need of this, and is often one long line.
        if not stream.peek().removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{"):
            return False
        first = next(_filled(stream, limits.line_bytes + 1), b"")
        if not first.endswith(b"\n") or next(_filled(stream, 100), None) is None:
            return False
    try:
        json_reader.decode(first.decode("utf-8-sig"), "")
    except ValueError:
        return False
    return True


def _filled(stream: io.BufferedReader[Any], most: int) -> Iterator[bytes]:
    """The lines that are not blank, each up to ``most`` bytes."""
    lines = iter(lambda: stream.readline(most), b"")
    return (line for line in lines if line.removeprefix(codecs.BOM_UTF8).strip())


def _json_lines(path: Path, limits: Limits) -> Iterator[Raw]:
    with decompression.opened(path, limits) as stream:
        for number, line in decompression.lines(stream, str(path), limits):
            if line.strip(" \t\r\n"):
                yield Raw(json_reader.decode(line, f"{path}:{number}"), f"{path.name}:{number}")


def _text_lines(path: Path, limits: Limits) -> Iterator[Raw]:
    with decompression.opened(path, limits) as stream:
        for number, line in decompression.lines(stream, str(path), limits):
            if line.strip():
                yield Raw({"text": line.rstrip("\r\n")}, f"{path.name}:{number}")


def _commas(path: Path, limits: Limits) -> Iterator[Raw]:
    return _table(path, limits, "excel")


def _tabs(path: Path, limits: Limits) -> Iterator[Raw]:
    return _table(path, limits, "excel-tab")


def _table(path: Path, limits: Limits, dialect: str) -> Iterator[Raw]:
    """Rows of a table with a header; every cell is text as it stands, formulas too."""
    header: list[str] = []
    with decompression.opened(path, limits) as stream:
        for number, cells in _records(decompression.lines(stream, str(path), limits), path, limits, dialect):
            if not header:
                header = _unlike(cells, f"{path}:{number}")
            elif len(cells) != len(header):
                raise DataError(
                    f"{path}:{number}: {len(cells)} cells where the header has {len(header)}; "
                    "is a separator missing, or a text with one not in quotes?"
                )
            else:
                yield Raw(dict(zip(header, cells, strict=True)), f"{path.name}:{number}")


def _records(
    numbered: Iterator[tuple[int, str]], path: Path, limits: Limits, dialect: str
) -> Iterator[tuple[int, list[str]]]:
    """(line it begins at, cells). A cell in quotes may hold line ends, but not more than a line may."""
    # Python's own limit is 128 KiB, one for the whole process; ours is checked below.
    csv.field_size_limit(max(csv.field_size_limit(), limits.line_bytes))
    begins = characters = 0

    def fed() -> Iterator[str]:
        nonlocal begins, characters
        for number, line in numbered:
            begins = begins or number
            characters += len(line)
            if characters > limits.line_bytes:
                raise decompression.too_long(f"{path}:{begins}", "the row that begins here", limits)
            yield line

    try:
        # Strict: otherwise a quote left open swallows the rows after it without a word.
        for cells in csv.reader(fed(), dialect, strict=True):
            if cells:
                yield begins, cells
            begins = characters = 0
    except csv.Error as error:
        raise DataError(f"{path}:{begins}: broken table: {error}; check the quotes and line ends") from error


def _unlike(names: list[str], where: str) -> list[str]:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise DataError(f"{where}: two columns are called {twice[0]!r}; rename one")
    if not names:
        raise DataError(f"{where}: no columns; give a file with some")
    return names


def _parquet(path: Path, limits: Limits) -> Iterator[Raw]:
    import pyarrow.parquet as pq

    def batches(file: Path) -> Iterator[Any]:
        with pq.ParquetFile(file) as table:
            _unlike(table.schema_arrow.names, str(path))
            yield from table.iter_batches(batch_size=BATCH_ROWS, use_threads=False)

    return _columns(path, limits, batches)


def _arrow(path: Path, limits: Limits) -> Iterator[Raw]:
    import pyarrow as pa

    def batches(file: Path) -> Iterator[Any]:
        # Mapped: a batch may be the whole table, and must not be copied into memory.
        with pa.memory_map(str(file)) as source:
            is_file = source.read(6) == b"ARROW1"
            source.seek(0)
            table = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
            _unlike(table.schema.names, str(path))
            for number in range(table.num_record_batches) if is_file else ():
                yield table.get_batch(number)
            yield from () if is_file else table

    return _columns(path, limits, batches)


def _columns(path: Path, limits: Limits, batches: Callable[[Path], Iterator[Any]]) -> Iterator[Raw]:
    import pyarrow as pa

    with decompression.plain(path, limits) as file:
        number = 0
        try:
            for batch in _checked(batches(file), path, limits):
                for values in batch.to_pylist():
                    number += 1
                    yield Raw(values, f"{path.name} row {number}")
        except DataError:
            raise
        except (pa.ArrowException, OSError, ValueError, ArithmeticError, LookupError) as error:
            what = str(error).partition("\n")[0]
            raise DataError(
                f"{path}: can't be read after row {number}: {what}; is it whole, and really {kind(path)}?"
            ) from error


def _checked(batches: Iterator[Any], path: Path, limits: Limits) -> Iterator[Any]:
    """Small batches that are what they claim to be: offsets in a broken file may point anywhere."""
    most = max(limits.unpacked_bytes, limits.ratio * path.stat().st_size)
    unpacked_bytes = 0
    for batch in batches:
        batch.validate(full=True)
        unpacked_bytes += batch.nbytes + batch.num_rows  # columns of nulls take no bytes
        decompression.refuse_bomb(path, unpacked_bytes, most)
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(start, BATCH_ROWS)


READERS: dict[str, Callable[[Path, Limits], Iterator[Raw]]] = {
    ".json": _json,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _commas,
    ".tsv": _tabs,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".feather": _arrow,
    ".txt": _text_lines,
}
