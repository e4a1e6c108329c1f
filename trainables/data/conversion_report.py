"""What became of a source's rows: how its files were read, and which rows were left out or read with a change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainables.data import formats
from trainables.data.files.data_files import data_suffix
from trainables.data.files.row_reader import FileRemarks
from trainables.data.formats.base import GivenColumns
from trainables.data.formats.readings import Candidate
from trainables.data.parsed_row import Layout, Remarks
from trainables.system.wording import counted

MAX_EXAMPLES = 5  # rows that are named for each reason and each remark
MAX_UNREAD = 12  # columns that are named, of those that are not read

# What to do about rows that were left out for a reason.
ADVICE = {
    "its answer is labelled bad, and sft would learn it": "columns: {kto_tag: null} in data keeps such rows",
    "its prompt is empty": "give them a prompt, or learn the answers alone as running text, with the stage pretrain "
    "and format: text, columns: {text: RESPONSE}",
    "its prompt ends with an answer": "if another column has the request, say so: columns: {prompt: its name}",
}


@dataclass
class FileReading:
    """How rows of one file were read in one format."""

    format: str
    first: str  # where its first row is
    rows: int = 0
    columns: dict[str, str] = field(default_factory=dict)  # column -> part
    existing: dict[str, None] = field(default_factory=dict)  # all columns of these rows, in their order
    other_formats: dict[str, None] = field(default_factory=dict)  # that fit too
    # Values that are no labels, of columns that would be read as labels: (column, whether it is 0 or 1) -> rows
    unmeant: Counter[tuple[str, bool]] = field(default_factory=Counter)

    def add(self, later: FileReading) -> None:
        """Adds what is known from the file's next rows."""
        self.rows += later.rows
        self.columns |= {column: part for column, part in later.columns.items() if column not in self.columns}
        self.existing |= later.existing
        self.other_formats |= later.other_formats
        self.unmeant += later.unmeant

    def description(self, named: bool, listed: Collection[str] | None) -> str:
        """``alpaca format (detected from its columns: instruction as prompt; not read: topic)``.

        ``named``: the format was given. ``listed``: the parts whose column ``dataset_info.json`` lists.
        """
        columns = ", ".join(
            formats.shown_name(column) if part == column else f"{formats.shown_name(column)} as {part}"
            for column, part in self.columns.items()
        )
        notes = "".join(f"; {note}" for note in self._notes(listed))
        origin = "named" if named else "detected from its columns"
        return f"{self.format} format ({origin}: {columns}{notes})"

    def is_of_lines(self, file: str) -> bool:
        """Whether the rows are the lines of a text file."""
        return self.format == "text" and data_suffix(file) == ".txt" and list(self.existing) == ["text"]

    def _notes(self, listed: Collection[str] | None) -> Iterator[str]:
        unlisted = [
            column for column, part in self.columns.items() if listed is not None and part not in listed
        ]
        if unlisted:
            yield f"not listed, but read because of their usual names: {', '.join(unlisted)}"
        unread = [formats.shown_name(column) for column in self.existing if column not in self.columns]
        if unread:
            more = f" and {len(unread) - MAX_UNREAD} more" if len(unread) > MAX_UNREAD else ""
            yield f"not read: {', '.join(unread[:MAX_UNREAD])}{more}"
        for (column, is_number), rows in self.unmeant.items():
            if is_number:
                yield (
                    f"the 0 and 1 of {column} may be classes; if 0 marks bad answers, columns: {{kto_tag: {column}}} "
                    "leaves them out"
                )
            elif column in self.columns:
                yield f"{column} is neither true nor false in {counted(rows, 'row')}, and not read there"
        for other in self.other_formats:
            yield f"its columns fit {other} too, which format: {other} takes"


@dataclass
class ConversionReport:
    """What became of a source's rows: counts, and the first examples for each reason to skip one and each remark."""

    name: str
    format_given: bool = False
    listed: Collection[str] | None = None  # the parts that dataset_info.json lists, if it has this source
    given: GivenColumns = field(default_factory=dict)  # by the spec or dataset_info.json
    readings: dict[tuple[str, str], FileReading] = field(default_factory=dict)  # by file and format
    files: FileRemarks = field(default_factory=FileRemarks)  # what is special about the files themselves
    rows: int = 0
    skipped: Counter[str] = field(default_factory=Counter)  # by reason
    remarks: Counter[str] = field(default_factory=Counter)  # rows that were read with a change
    examples: dict[str, list[str]] = field(default_factory=dict)  # reason or remark -> where such rows are
    placeholders: set[str] = field(default_factory=set)  # names that stay in the rows
    variables: set[str] = field(default_factory=set)  # of those that were given, the ones that the files have

    def read(
        self,
        file: str,
        where: str,
        layout: Layout,
        row: Mapping[str, Any],
        others: Iterable[Candidate] = (),
        unmeant: Iterable[tuple[str, bool]] = (),
        group: str | None = None,
    ) -> None:
        """Counts a row that is read by ``layout``.

        ``others``: those that would fit, too. ``unmeant``: its columns whose value is no label, and whether it is 0
        or 1. ``group``: the column of what keeps rows together.
        """
        reading = FileReading(
            layout.format,
            where,
            rows=1,
            columns={column: part for part, column in layout.columns.items()}
            | ({group: "group"} if group is not None and group not in layout.columns.values() else {}),
            existing=dict.fromkeys(row),
            other_formats=dict.fromkeys(other.layout.format for other in others),
            unmeant=Counter(unmeant),
        )
        self._add_reading((file, layout.format), reading)

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

    def _add_reading(self, key: tuple[str, str], reading: FileReading) -> None:
        if key in self.readings:
            self.readings[key].add(reading)
        else:
            self.readings[key] = reading

    def add(self, later: ConversionReport) -> None:
        """Adds the report on the source's next rows."""
        for key, reading in later.readings.items():
            self._add_reading(key, reading)
        self.rows += later.rows
        self.skipped += later.skipped
        self.remarks += later.remarks
        for reason, places in later.examples.items():
            self.examples[reason] = [*self.examples.get(reason, ()), *places][:MAX_EXAMPLES]
        self.placeholders |= later.placeholders
        self.variables |= later.variables

    def columns(self) -> tuple[str, ...]:
        """All columns of the files, in their order."""
        return tuple(dict.fromkeys(name for reading in self.readings.values() for name in reading.existing))

    def unread_parts(self) -> dict[str, str]:
        """The given parts, and their columns, that no row was read with."""
        read = {column for reading in self.readings.values() for column in reading.columns}
        return {
            part: column for part, column in self.given.items() if column is not None and column not in read
        }

    def notes(self) -> Iterator[str]:
        """How each file was read, in sentences for ``plan`` and the report."""
        yield from self.files.notes
        formats_of = Counter(file for file, _ in self.readings)
        for (file, _), reading in self.readings.items():
            description = (
                "each line is a text"
                if reading.is_of_lines(file)
                else reading.description(self.format_given, self.listed)
            )
            several = (
                f"{counted(reading.rows, 'row')}, the first {reading.first}, in "
                if formats_of[file] > 1
                else ""
            )
            yield f"{file}: {several}{description}"

    def warnings(self) -> Iterator[str]:
        """Which rows were left out, read with a change, or look unfinished, in sentences."""
        yield from self.files.warnings
        for part, column in self.unread_parts().items() if self.readings else ():
            yield f"{self.name}: {formats.shown_name(column)} is given as {part}, which this stage does not read"
        total = sum(self.skipped.values())
        if total:
            reasons = "; ".join(
                f"{count} because {reason} ({self._places(reason, count)}){self._advice(reason)}"
                for reason, count in self.skipped.most_common()
            )
            yield f"{self.name}: {total} of {counted(total + self.rows, 'row')} left out: {reasons}"
        for remark, count in self.remarks.most_common():
            of_all = counted(total + self.rows, "row")
            yield f"{self.name}: in {count} of {of_all} {remark} ({self._places(remark, count)})"
        if self.placeholders:
            names = ", ".join(f"{{{{{name}}}}}" for name in sorted(self.placeholders))
            yield f"{self.name}: {names} stay as they are; set data.variables to fill them in"

    def _places(self, what: str, count: int) -> str:
        return ", ".join([*self.examples[what], *(["..."] if count > MAX_EXAMPLES else [])])

    def _advice(self, reason: str) -> str:
        columns = [column for reading in self.readings.values() for column in reading.columns.items()]
        answers = next((column for column, part in columns if part == "response"), "COLUMN")
        return f": {ADVICE[reason].replace('RESPONSE', answers)}" if reason in ADVICE else ""
