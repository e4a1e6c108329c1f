"""Reads files of rows: one row at a time, in bounded memory, each with its place; no code in a file is run.

for raw in row_reader.read_rows(Path("rows.jsonl")):
    print(raw.where, raw.values)   # rows.jsonl:17 {'prompt': ...}
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from trainables.data.errors import DataError
from trainables.data.files import decompression, json_reader, tables
from trainables.data.files.data_files import advice, data_suffix
from trainables.data.files.decompression import LIMITS, Limits
from trainables.system.wording import counted

BATCH_ROWS = 256
# Of a table, to detect how its cells are separated.
SNIFFED_LINES = 50
SNIFFED_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class RawRow:
    """A row as it is in its file."""

    values: Any  # usually a dict of column to value
    where: str  # rows.jsonl:17 (a line) or rows.parquet row 17, both counted from 1


@dataclass
class FileRemarks:
    """What is unusual about files, each in a sentence that begins with the file's name."""

    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, later: FileRemarks, name: str, label: str) -> None:
        """Adds those on another file, which calls itself ``name`` and is called ``label`` here."""
        self.notes += [label + note.removeprefix(name) for note in later.notes]
        self.warnings += [label + warning.removeprefix(name) for warning in later.warnings]


def read_rows(
    path: Path, limits: Limits = LIMITS, remarks: FileRemarks | None = None, as_text: bool = False
) -> Iterator[RawRow]:
    """The file's rows in their order; adds to ``remarks`` what was unusual about the file.

    ``as_text``: lines of a ``.txt`` are texts, also if they are JSON. Raises :class:`DataError` at the first fault.
    """
    suffix = data_suffix(path)
    if suffix is None:
        raise DataError(f"{path}: can't read this type of file; {advice(path)}")
    is_empty = True
    reader, remarks = READERS[suffix], remarks or FileRemarks()
    if as_text and suffix == ".txt":
        reader, remarks = _plain_text_lines, FileRemarks()  # it is as it was asked for
    for raw in reader(Path(path), limits, remarks):
        is_empty = False
        yield raw
    if is_empty:
        raise DataError(f"{path}: holds no rows; give a file with rows")


def _json(path: Path, limits: Limits, remarks: FileRemarks) -> Iterator[RawRow]:
    if _holds_json_lines(path, limits):
        yield from _json_lines(path, limits, remarks)
        return
    yield from _json_array(path, limits)


def _json_array(path: Path, limits: Limits) -> Iterator[RawRow]:
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


def _json_lines(path: Path, limits: Limits, remarks: FileRemarks) -> Iterator[RawRow]:
    with decompression.open_decompressed(path, limits) as stream:
        for number, line in decompression.read_lines(stream, str(path), limits):
            if line.strip(" \t\r\n"):
                yield RawRow(json_reader.decode_line(line, f"{path}:{number}"), f"{path.name}:{number}")


def _text_lines(path: Path, limits: Limits, remarks: FileRemarks) -> Iterator[RawRow]:
    if not _begins_like_json(path, limits):
        yield from _plain_text_lines(path, limits, remarks)
    elif _has_objects_only(path, limits):
        remarks.notes.append(f"{path.name}: each line is a JSON object and is read as one; {TEXT_ADVICE}")
        yield from _json_lines(path, limits, remarks)
    elif _is_json_document(path, limits):
        raise DataError(
            f"{path}: it holds JSON, and its lines are no texts; rename it to {path.stem}.json. {TEXT_ADVICE}"
        )
    else:
        yield from _plain_text_lines(path, limits, remarks)


TEXT_ADVICE = "format: text in data reads its lines as texts"


def _plain_text_lines(path: Path, limits: Limits, remarks: FileRemarks) -> Iterator[RawRow]:
    lines, objects, blank, returns = 0, [], [], []
    with decompression.open_decompressed(path, limits) as stream:
        for number, line in decompression.read_lines(stream, str(path), limits):
            if not line.strip():
                blank.append(number)
                continue
            lines += 1
            if _is_object(line):
                objects.append(number)
            text = line.rstrip("\r\n")
            if "\r" in text:
                returns.append(number)
            yield RawRow({"text": text}, f"{path.name}:{number}")
    if blank:
        remarks.notes.append(f"{path.name}: {_lines(blank, path)} without a text, and left out")
    if returns:
        remarks.warnings.append(
            f"{path.name}: {_lines(returns, path)} with a carriage return alone inside, read as one text "
            "each; save the file with line feeds if these are line ends"
        )
    # A text may well quote some JSON; a file of rows is little else.
    if len(objects) > lines / 2:
        remarks.warnings.append(
            f"{path.name}: {len(objects)} of {lines} lines are JSON objects (the first: {path.name}:{objects[0]}) "
            "and are read as texts; if they are rows, correct the other lines and rename the file to .jsonl"
        )


def _lines(numbers: Sequence[int], path: Path) -> str:
    return f"{counted(len(numbers), 'line')} (the first: {path.name}:{numbers[0]})"


def _begins_like_json(path: Path, limits: Limits) -> bool:
    with decompression.open_decompressed(path, limits) as stream:
        return stream.peek().removeprefix(codecs.BOM_UTF8).lstrip().startswith((b"{", b"["))


def _has_objects_only(path: Path, limits: Limits) -> bool:
    with decompression.open_decompressed(path, limits) as stream:
        lines = decompression.read_lines(stream, str(path), limits)
        return all(_is_object(line) for _, line in lines if line.strip())


def _is_json_document(path: Path, limits: Limits) -> bool:
    """Whether the file holds an array of objects, or an object: its first row can be read as JSON."""
    try:
        first = next(_json_array(path, limits), None)
    except DataError:
        return False
    return first is not None and isinstance(first.values, dict)


def _is_object(line: str) -> bool:
    if not line.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json_reader.decode_line(line, ""), dict)
    except DataError:
        return False


def _csv(path: Path, limits: Limits, remarks: FileRemarks) -> Iterator[RawRow]:
    return _table(path, limits, remarks, ",")


def _tsv(path: Path, limits: Limits, remarks: FileRemarks) -> Iterator[RawRow]:
    return _table(path, limits, remarks, "\t")


def _table(path: Path, limits: Limits, remarks: FileRemarks, usual: str) -> Iterator[RawRow]:
    """Rows of a table with a header. Every cell is read as text, formulas too."""
    # Python's own limit, for the whole process, is 128 KiB; ours is checked for each record.
    csv.field_size_limit(max(csv.field_size_limit(), limits.line_bytes))
    dialect = _dialect(path, limits, usual)
    remarks.notes += [f"{path.name}: {note}" for note in dialect.notes(usual)]
    header: tables.Header | None = None
    with decompression.open_decompressed(path, limits) as stream:
        lines = decompression.read_lines(stream, str(path), limits)
        for number, cells in _records(
            islice(lines, dialect.first_line - 1, None), path, limits, dialect.separator
        ):
            if header is None and not any(cell.strip() for cell in cells):
                continue  # blank lines of a sheet, above its header
            if header is None:
                header = tables.Header.of(cells, f"{path}:{number}")
                remarks.notes += [f"{path.name}: {note}" for note in header.notes()]
            else:
                yield RawRow(header.row(cells, f"{path}:{number}"), f"{path.name}:{number}")


def _dialect(path: Path, limits: Limits, usual: str) -> tables.Dialect:
    """How a table's cells are separated, by its first records."""
    first: list[str] = []
    with decompression.open_decompressed(path, limits) as stream:
        for _, line in decompression.read_lines(stream, str(path), limits):
            first.append(line)
            if len(first) == SNIFFED_LINES or sum(map(len, first)) > SNIFFED_CHARACTERS:
                break
    return tables.detect_dialect(first, usual)


def _records(
    numbered: Iterator[tuple[int, str]], path: Path, limits: Limits, separator: str
) -> Iterator[tuple[int, list[str]]]:
    """(line it begins at, cells). A cell in quotes may hold line ends; the limit of a line holds for the record."""
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
        for cells in csv.reader(lines(), delimiter=separator, strict=True):
            if cells:
                yield start, cells
            start = characters = 0
    except csv.Error as error:
        if "new-line character" in str(error):
            raise DataError(
                f"{path}:{start}: lines end with a carriage return alone, or one is in a text that is not in quotes; "
                "save the file with line feeds"
            ) from error
        raise DataError(f"{path}:{start}: broken table: {error}; check the quotes and line ends") from error


def _parquet(path: Path, limits: Limits, remarks: FileRemarks) -> Iterator[RawRow]:
    import pyarrow.parquet as pq

    def batches(file: Path) -> Iterator[Any]:
        with pq.ParquetFile(file) as table:
            tables.checked_names(table.schema_arrow.names, str(path))
            yield from table.iter_batches(batch_size=BATCH_ROWS, use_threads=False)

    return _from_batches(path, limits, batches)


def _arrow(path: Path, limits: Limits, remarks: FileRemarks) -> Iterator[RawRow]:
    import pyarrow as pa

    def batches(file: Path) -> Iterator[Any]:
        # Memory-mapped, since one batch may be the whole table.
        with pa.memory_map(str(file)) as source:
            # Feather files begin with this mark; Arrow files of Hugging Face's data sets are plain streams.
            is_file = source.read(6) == b"ARROW1"
            source.seek(0)
            table = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
            tables.checked_names(table.schema.names, str(path))
            for number in range(table.num_record_batches) if is_file else ():
                yield table.get_batch(number)
            yield from () if is_file else table

    return _from_batches(path, limits, batches)


def _from_batches(path: Path, limits: Limits, batches: Callable[[Path], Iterator[Any]]) -> Iterator[RawRow]:
    import pyarrow as pa

    from trainables.data.files import arrow_values

    with decompression.decompressed_file(path, limits) as file:
        number = 0
        try:
            for batch in _validated(batches(file), path, limits):
                for values in arrow_values.to_rows(batch):
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
    from trainables.data.files import arrow_sizes

    allowed_bytes = max(limits.unpacked_bytes, limits.ratio * path.stat().st_size)
    unpacked_bytes = 0.0
    for batch in batches:
        # Rows first: a column of nulls, or of one run, takes no bytes, and its values could not even be counted.
        decompression.refuse_bomb(path, unpacked_bytes + batch.num_rows, allowed_bytes)
        batch.validate(full=True)
        unpacked_bytes += arrow_sizes.value_bytes(batch)
        decompression.refuse_bomb(path, unpacked_bytes, allowed_bytes)
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(start, BATCH_ROWS)


READERS: dict[str, Callable[[Path, Limits, FileRemarks], Iterator[RawRow]]] = {
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
