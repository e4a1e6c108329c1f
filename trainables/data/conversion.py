"""Converts the files of sources to the rows a stage needs, and reports which rows were left out and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from os.path import basename
from typing import Any

import pyarrow as pa

from trainables.config.data import DataConfig
from trainables.data import arrow_rows, formats, readers
from trainables.data.embedded import commands
from trainables.data.errors import DataError
from trainables.data.parsed_row import InvalidRow, Layout, ParsedRow, Remarks, SkippedRow
from trainables.data.row_builder import build_row
from trainables.data.rows import Conversation, Labelled, Message, Preference, Prompt, Row, Text
from trainables.data.sources import Source
from trainables.data.thinking import edit_thinking
from trainables.system.parallel import map_in_order
from trainables.system.progress import report_progress

MAX_EXAMPLES = 5  # rows that are named for each reason and each remark
PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")

EMBEDDED_ROWS: Mapping[type, Callable[[], list[dict[str, Any]]]] = {
    Text: commands.texts,
    Conversation: commands.rows,
    Preference: commands.preferences,
    Labelled: commands.labelled,
    Prompt: commands.prompts,
}

Layouts = dict[tuple[str, frozenset[str]], Layout]  # by file and columns

BATCH = 1024  # rows converted at a time
SourceRow = tuple[Any, str, str]  # a row's values, where it is (rows.jsonl:17), and the path of its file


@dataclass
class ConversionReport:
    """What became of a source's rows: counts, and the first examples for each reason to skip one and each remark."""

    name: str
    formats: dict[str, str] = field(default_factory=dict)  # file -> format and the columns that are read
    rows: int = 0
    skipped: Counter[str] = field(default_factory=Counter)  # by reason
    remarks: Counter[str] = field(default_factory=Counter)  # rows that were read with a change
    examples: dict[str, list[str]] = field(default_factory=dict)  # reason or remark -> where such rows are
    placeholders: set[str] = field(default_factory=set)

    def skip(self, where: str, reason: str) -> None:
        """Counts a row that was left out."""
        self._count(self.skipped, where, reason)

    def remark(self, where: str, remarks: Remarks) -> None:
        """Counts a row that was read with these changes; each counts once for a row."""
        for remark in dict.fromkeys(remarks):
            self._count(self.remarks, where, remark)

    def _count(self, counter: Counter[str], where: str, what: str) -> None:
        counter[what] += 1
        examples = self.examples.setdefault(what, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append(where)

    def add(self, later: ConversionReport) -> None:
        """Adds the report on the source's next rows."""
        # Each batch has a report of its own and describes its file again: the first description counts.
        self.formats |= {file: text for file, text in later.formats.items() if file not in self.formats}
        self.rows += later.rows
        self.skipped += later.skipped
        self.remarks += later.remarks
        for reason, places in later.examples.items():
            self.examples[reason] = [*self.examples.get(reason, ()), *places][:MAX_EXAMPLES]
        self.placeholders |= later.placeholders

    def notes(self) -> Iterator[str]:
        """How each file was read, in sentences for ``plan`` and the report."""
        for file, text in self.formats.items():
            yield f"{file}: {text}"

    def warnings(self) -> Iterator[str]:
        """Which rows were left out, read with a change, or look unfinished, in sentences."""
        total = sum(self.skipped.values())
        if total:
            reasons = "; ".join(
                f"{count} because {reason} ({self._places(reason, count)})"
                for reason, count in self.skipped.most_common()
            )
            yield f"{self.name}: {total} of {total + self.rows} rows left out: {reasons}"
        for remark, count in self.remarks.most_common():
            yield f"{self.name}: in {count} of {self.rows} rows {remark} ({self._places(remark, count)})"
        if self.placeholders:
            names = ", ".join(f"{{{{{name}}}}}" for name in sorted(self.placeholders))
            yield f"{self.name}: {names} stay as they are; set data.variables to fill them in"

    def _places(self, what: str, count: int) -> str:
        return ", ".join([*self.examples[what], *(["..."] if count > MAX_EXAMPLES else [])])


def convert_sources(
    sources: Sequence[Source], row_type: type, config: DataConfig, reports: Sequence[ConversionReport]
) -> Iterator[pa.RecordBatch]:
    """Batches of the sources' rows as ``row_type``, converted on all cores; fills ``reports``, one for each source.

    Raises :class:`DataError` for a row of the wrong shape (its file, its number, what was found and expected),
    and, if ``config.strict``, for one that would be left out or read with a change.
    """
    done = 0
    converter = Converter(tuple(sources), row_type, config)
    for number, rows, report in map_in_order(converter, _raw_batches(sources, row_type)):
        reports[number].add(report)
        done += report.rows
        report_progress("reading rows", done)
        yield rows


def _raw_batches(sources: Sequence[Source], row_type: type) -> Iterator[tuple[int, list[SourceRow]]]:
    for number, source in enumerate(sources):
        rows = islice(_raw_rows(source, row_type), source.max_rows)
        # A batch never spans two sources, so one number says which source all of its rows are of.
        while batch := list(islice(rows, BATCH)):
            yield number, batch


def _raw_rows(source: Source, row_type: type) -> Iterator[SourceRow]:
    if source.embedded:
        for number, row in enumerate(EMBEDDED_ROWS[row_type](), start=1):
            yield row, f"{source.name} row {number}", source.name
    for path in source.files:
        for raw in readers.read_rows(path):
            yield raw.values, raw.where, str(path)


@dataclass
class Converter:
    """Converts batches of a source's raw rows; picklable, to run in other processes."""

    sources: tuple[Source, ...]
    row_type: type
    config: DataConfig
    # Filled while converting, in each process on its own.
    layouts: Layouts = field(default_factory=dict)

    def __call__(self, batch: tuple[int, list[SourceRow]]) -> tuple[int, pa.RecordBatch, ConversionReport]:
        """(number of the source, its rows, report) of (number of the source, its raw rows)."""
        number, raw = batch
        report = ConversionReport(self.sources[number].name)
        rows = list(self._rows(raw, self.sources[number], report))
        places, converted = [where for where, _ in rows], [row for _, row in rows]
        return number, arrow_rows.to_batch(number, places, converted), report

    def _rows(
        self, raw: Iterable[SourceRow], source: Source, report: ConversionReport
    ) -> Iterator[tuple[str, Row]]:
        """Where each row is, and the row."""
        for values, where, file in raw:
            remarks: Remarks = []
            try:
                parsed = _parse(values, file, source, self.layouts, report, remarks)
                row = build_row(_edited(parsed, self.config), self.row_type, remarks)
            except SkippedRow as reason:
                if self.config.strict:
                    raise DataError(
                        f"{where}: {reason}; correct it, or leave it out with strict: false"
                    ) from None
                # Without the message's number, so that rows with the same fault are counted under one reason.
                report.skip(where, re.sub(r"message \d+", "a message", str(reason)))
                continue
            except InvalidRow as error:
                raise DataError(f"{where}: {error}") from None
            if remarks and self.config.strict:
                raise DataError(f"{where}: {remarks[0]}; correct the row, or accept this with strict: false")
            report.rows += 1
            report.remark(where, remarks)
            report.placeholders |= _placeholders(row)
            yield where, row


def _parse(
    values: Any, file: str, source: Source, layouts: Layouts, report: ConversionReport, remarks: Remarks
) -> ParsedRow:
    if not isinstance(values, dict):
        raise InvalidRow(f"expected an object with {formats.EXPECTED}, got {type(values).__name__}")
    # By columns too, since the rows of a JSON Lines file may have different keys.
    key = file, frozenset(values)
    if key not in layouts:
        layouts[key] = formats.detect_layout(list(values), source.format, source.columns, source.tags)
    if not source.embedded and (name := basename(file)) not in report.formats:
        report.formats[name] = _description(layouts[key], source)
    return formats.FORMATS[layouts[key].format].convert(values, layouts[key], remarks)


def _description(layout: Layout, source: Source) -> str:
    """``alpaca format (detected from its columns: instruction as prompt, output as response)``."""
    columns = ", ".join(
        column if part == column else f"{column} as {part}" for part, column in layout.columns.items()
    )
    origin = "named" if source.format else "detected from its columns"
    unlisted = [column for part, column in layout.columns.items() if part not in source.columns]
    note = (
        f"; not listed, but read because of their usual names: {', '.join(unlisted)}"
        if source.registered and unlisted
        else ""
    )
    return f"{layout.format} format ({origin}: {columns}{note})"


def _edited(parsed: ParsedRow, config: DataConfig) -> ParsedRow:
    """The row with ``{{name}}`` filled in from ``config.variables``, and thoughts edited by ``config.thinking``."""

    def edit(text: str, is_answer: bool) -> str:
        # A name without a value stays as it is, and a warning lists it.
        filled = PLACEHOLDER.sub(lambda match: config.variables.get(match[1], match[0]), text)
        return edit_thinking(filled, config.thinking) if is_answer else filled

    if not config.variables and config.thinking == "keep":
        return parsed

    def edited(messages: tuple[Message, ...]) -> tuple[Message, ...]:
        return tuple(
            {**message, "content": edit(message["content"], message["role"] == "assistant")}
            for message in messages
        )

    text = edit(parsed.text, False) if parsed.text is not None else None
    chosen, rejected = (answer and edited(answer) for answer in (parsed.chosen, parsed.rejected))
    return replace(parsed, messages=edited(parsed.messages), text=text, chosen=chosen, rejected=rejected)


def _placeholders(row: Row) -> set[str]:
    # The representation has all texts of the row, nested ones included, and leaves braces as they are.
    text = str(row)
    return set(PLACEHOLDER.findall(text)) if "{{" in text else set()
