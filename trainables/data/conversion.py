"""Converts the files of sources to the rows a stage needs, and reports which rows were left out and why."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from trainables.config.data import DataConfig
from trainables.data import arrow_rows, formats
from trainables.data.content.edits import PLACEHOLDER, edited, placeholders
from trainables.data.content.media import check_media
from trainables.data.content.turns import group_key
from trainables.data.conversion_report import ConversionReport
from trainables.data.embedded.data_sets import embedded_rows
from trainables.data.errors import DataError
from trainables.data.files import row_reader
from trainables.data.files.row_reader import FileRemarks
from trainables.data.formats.base import Format
from trainables.data.formats.marks import check_row_marks
from trainables.data.formats.pairs import MissingPrompt
from trainables.data.formats.readings import Candidate, Reading, is_zero_or_one, without_unmeant_label
from trainables.data.parsed_row import (
    InvalidLabel,
    InvalidRow,
    Layout,
    ParsedRow,
    Remarks,
    SkippedRow,
    parse_label,
)
from trainables.data.row_builder import build_row
from trainables.data.rows import Prompt, Row
from trainables.data.sources import Source, file_labels
from trainables.system.parallel import map_in_order
from trainables.system.progress import report_progress
from trainables.system.wording import counted

BATCH = 1024  # rows converted at a time
MAX_COLUMNS = 1000  # of a file, for rows that lack some; objects may have as many names as there are rows
SourceRow = tuple[Any, str, str]  # a row's values, where it is (rows.jsonl:17), and the name of its file
# Parts whose absence from one row of a file that has them makes the row useless, and no other format of it.
ESSENTIAL = {
    "kto_tag": "it has no label",
    "chosen": "its chosen answer is missing",
    "rejected": "its rejected answer is missing",
}

REQUESTS = frozenset({"prompt", "messages"})  # parts that hold what an answer answers


@dataclass(frozen=True)
class RawBatch:
    """Rows as they are in their files. ``columns``: by file, those of its rows up to the end of this batch."""

    source: int  # number of the source
    rows: Sequence[SourceRow]
    columns: Mapping[str, Sequence[str]]


def convert_sources(
    sources: Sequence[Source], row_type: type, config: DataConfig, reports: Sequence[ConversionReport]
) -> Iterator[pa.RecordBatch]:
    """Batches of the sources' rows as ``row_type``, converted on all cores; fills ``reports``, one for each source.

    Raises :class:`DataError` for a row of the wrong shape (its file, its number, what was found and expected),
    and, if ``config.strict``, for one that would be left out or read with a change.
    """
    done = 0
    converter = Converter(tuple(sources), row_type, config)
    batches = _raw_batches(sources, row_type, config, reports)
    for number, rows, report in map_in_order(converter, batches):
        reports[number].add(report)
        done += report.rows
        report_progress("reading rows", done)
        yield rows


def _raw_batches(
    sources: Sequence[Source], row_type: type, config: DataConfig, reports: Sequence[ConversionReport]
) -> Iterator[RawBatch]:
    labels = file_labels([path for source in sources for path in source.files])
    for number, source in enumerate(sources):
        rows = islice(_raw_rows(source, row_type, config, reports[number], labels), source.max_rows)
        columns: dict[str, dict[str, None]] = {}
        # A batch never spans two sources, so one number says which source all of its rows are of.
        while batch := list(islice(rows, BATCH)):
            for values, _, file in batch:
                known = columns.setdefault(file, {})
                if (
                    isinstance(values, dict)
                    and len(known) < MAX_COLUMNS
                    and not values.keys() <= known.keys()
                ):
                    known |= dict.fromkeys(values)
            yield RawBatch(number, batch, {file: tuple(names) for file, names in columns.items()})


def _raw_rows(
    source: Source, row_type: type, config: DataConfig, report: ConversionReport, labels: Mapping[Path, str]
) -> Iterator[SourceRow]:
    """``labels``: by path, the name of each file in messages."""
    if source.embedded:
        with source.errors():
            rows = embedded_rows(source.name, row_type, config.split_by)
        for number, row in enumerate(rows, start=1):
            yield row, f"{source.name} row {number}", source.name
    for path in source.files:
        label, remarks = labels[path], FileRemarks()
        with source.errors():
            for raw in row_reader.read_rows(path, remarks=remarks, as_text=source.format == "text"):
                yield raw.values, label + raw.where.removeprefix(path.name), label
        report.files.add(remarks, path.name, label)


@dataclass
class Converter:
    """Converts batches of a source's raw rows; picklable, to run in other processes."""

    sources: tuple[Source, ...]
    row_type: type
    config: DataConfig
    # Filled while converting, in each process on its own: the layouts for each set of columns.
    layouts: dict[tuple[str, frozenset[str], int], list[Candidate]] = field(default_factory=dict)

    def __call__(self, batch: RawBatch) -> tuple[int, pa.RecordBatch, ConversionReport]:
        """(number of the source, its rows, report) of a batch."""
        report = ConversionReport(self.sources[batch.source].name)
        with self.sources[batch.source].errors():
            rows = list(self._rows(batch, report))
        places = [where for where, _, _ in rows]
        converted, groups = [row for _, row, _ in rows], [group for _, _, group in rows]
        table = arrow_rows.to_batch(batch.source, places, converted, groups)
        # As JSON, which to_batch has written anyway, and a name is written there as it is.
        with_braces = pc.filter(table["row"], pc.match_substring(table["row"], "{{"))
        report.placeholders |= {name for text in with_braces for name in PLACEHOLDER.findall(text.as_py())}
        return batch.source, table, report

    def _rows(self, batch: RawBatch, report: ConversionReport) -> Iterator[tuple[str, Row, bytes | None]]:
        """Where each row is, the row, and the key of its group."""
        source = self.sources[batch.source]
        for values, where, file in batch.rows:
            remarks: Remarks = []
            try:
                layout, needed = self._layout(values, where, file, batch, report, remarks)
                report.variables |= self._variables_in(values, report)
                read = layout.columns.values()
                check_media(values, read, self.config.ignore_columns, remarks)
                check_row_marks(values, read, self.config.ignore_columns, self.row_type, remarks)
                parsed = self._parsed(values, layout, needed, file, batch, remarks)
                row = build_row(edited(parsed, self.config, remarks), self.row_type, remarks)
                row = self._with_columns(row, values)
                group = self._group(values, remarks)
            except SkippedRow as reason:
                if self.config.strict:
                    raise DataError(
                        f"{where}: {reason}; correct it, or leave it out with strict: false"
                    ) from None
                # Without the message's number, so that rows with the same fault are counted under one reason.
                report.skip(where, re.sub(r"message \d+", "a message", str(reason)))
                continue
            except formats.InvalidColumns as error:
                raise DataError(f"{where}: {error}", source.setting_of(error.part)) from None
            except InvalidRow as error:
                raise DataError(f"{where}: {error}{_same_fault(error, batch)}") from None
            if remarks and self.config.strict:
                raise DataError(f"{where}: {remarks[0]}; correct the row, or accept this with strict: false")
            report.rows += 1
            report.remark(where, remarks)
            yield where, row, group

    def _with_columns(self, row: Row, values: Mapping[str, Any]) -> Row:
        """The row with the columns that reward functions are given, where there are such and it is a prompt's."""
        names = self.config.reward_columns
        if not names or not isinstance(row, Prompt):
            return row
        kept = {name: values.get(name) for name in names}
        # What JSON has no form for, such as a date of a Parquet file, is written as its text.
        return replace(row, columns=json.dumps(kept, ensure_ascii=False, default=str))

    def _group(self, values: Mapping[str, Any], remarks: Remarks) -> bytes | None:
        """The key of the row's group; ``None`` where the data has none, or the row no value."""
        column = self.config.group
        if column is None:
            return None
        if (value := values.get(column)) in (None, ""):
            remarks.append(f"{column} has no value, so that only rows that open alike stay together")
            return None
        return group_key(value)

    def _parsed(
        self,
        values: Mapping[str, Any],
        layout: Layout,
        needed: Collection[str],
        file: str,
        batch: RawBatch,
        remarks: Remarks,
    ) -> ParsedRow:
        try:
            return _parse(values, layout, needed, remarks)
        except MissingPrompt:
            self._check_for_prompts(file, batch.columns[file], self.sources[batch.source])
            raise

    def _layout(
        self, values: Any, where: str, file: str, batch: RawBatch, report: ConversionReport, remarks: Remarks
    ) -> tuple[Layout, Collection[str]]:
        """How a row is read, which the report notes, and the parts that it can't do without."""
        if not isinstance(values, dict):
            array = "; an array of rows is a .json file" if isinstance(values, list) else ""
            raise InvalidRow(
                f"expected an object with {formats.EXPECTED}, got {type(values).__name__}{array}"
            )
        source = self.sources[batch.source]
        found = self._candidates(values, file, batch.columns[file], source)
        # With one candidate there is nothing to decide: what its row lacks is said when it is read.
        fitting = [each for each in found if each.fits(values)] if len(found) > 1 else []
        chosen, *others = fitting or found[:1]
        filled = formats.with_filled_columns(chosen.layout, values, source.columns, remarks)
        layout = without_unmeant_label(filled, self.row_type, values, source.columns)
        if not source.embedded:
            unmeant = [
                (column, is_zero_or_one(value))
                for part, column in chosen.layout.columns.items()
                if part not in layout.columns and (value := values.get(column)) is not None
            ]
            others = [each for each in others if not each.columns <= chosen.columns]
            report.read(file, where, layout, values, others, unmeant, self.config.group)
        return layout, chosen.reading.needed

    def _candidates(
        self, values: Mapping[str, Any], file: str, of_file: Collection[str], source: Source
    ) -> list[Candidate]:
        """The layouts for a row, by its own columns; rows of a JSON Lines file may have different ones."""
        key = file, frozenset(values), len(of_file)
        if key not in self.layouts:
            own, all_columns = (
                [name for name in names if name not in self.config.ignore_columns]
                for names in (values, of_file)
            )
            self.layouts[key] = self._detect(own, all_columns, source)
        return self.layouts[key]

    def _detect(self, own: Sequence[str], of_file: Sequence[str], source: Source) -> list[Candidate]:
        reading = self.row_type, source.format, source.columns, source.tags
        try:
            if found := formats.candidates(own, *reading):
                return found
        except formats.InvalidColumns:
            if set(own) == set(of_file):
                raise
        # A row that lacks a column which others of its file have is read as they are, and has nothing there.
        found = formats.candidates(of_file, *reading)
        if found := [each for each in found if formats.lacks_parts_only(each, own, source.columns)]:
            return found
        formats.check_readable(source.columns, self.row_type)
        layout = formats.detect_layout(own, source.format, source.columns, source.tags)
        return [Candidate(layout, Reading(frozenset(layout.columns)))]

    def _check_for_prompts(self, file: str, of_file: Collection[str], source: Source) -> None:
        """Raises ``SkippedRow`` for a row without a prompt if its file has prompts."""
        every = (file, frozenset(of_file), len(of_file))
        if every not in self.layouts:
            columns = [name for name in of_file if name not in self.config.ignore_columns]
            self.layouts[every] = self._detect(columns, columns, source)
        if any(REQUESTS & each.layout.columns.keys() for each in self.layouts[every]):
            raise SkippedRow("its prompt is empty")

    def _variables_in(self, values: Mapping[str, Any], report: ConversionReport) -> set[str]:
        """Of the variables that no row had yet, those that stand anywhere in this row, even if nothing reads it."""
        missing = self.config.variables.keys() - report.variables
        return missing & placeholders(values) if missing else set()


def _same_fault(error: InvalidRow, batch: RawBatch) -> str:
    """How many rows of a batch have no label where one of them has none, to append to its error."""
    if not isinstance(error, InvalidLabel):
        return ""
    count = sum(
        isinstance(values, dict) and not _is_label(values.get(error.column)) for values, _, _ in batch.rows
    )
    first, last = batch.rows[0][1], batch.rows[-1][1]
    of_these = f"of the {counted(len(batch.rows), 'row')} from {first} to {last}"
    return f"; {count} {of_these} have no label there" if count > 1 else ""


def _is_label(value: Any) -> bool:
    try:
        parse_label(value)
    except InvalidRow:
        return False
    return True


def _parse(values: Mapping[str, Any], layout: Layout, needed: Collection[str], remarks: Remarks) -> ParsedRow:
    for part, reason in ESSENTIAL.items():
        if part in needed and layout.get(values, part) in (None, "", []):
            raise SkippedRow(reason)
    form = formats.FORMATS[layout.format]
    try:
        return form.convert(values, layout, remarks)
    except InvalidRow as error:
        for part in layout.columns.keys() - needed:
            if _is_valid(form, values, _without(layout, part)):
                raise InvalidRow(
                    f"{error}; correct it, or leave the column out with columns: {{{part}: null}}"
                ) from None
        raise


def _without(layout: Layout, part: str) -> Layout:
    columns = {other: column for other, column in layout.columns.items() if other != part}
    return replace(layout, columns=columns)


def _is_valid(form: Format, values: Mapping[str, Any], layout: Layout) -> bool:
    try:
        form.convert(values, layout, [])
    except SkippedRow:
        return True
    except InvalidRow:
        return False
    return True
