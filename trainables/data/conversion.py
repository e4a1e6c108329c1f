"""From a source's files to the rows a stage needs, one after another, with account of what was left out."""

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
from trainables.data.parsed_row import Found, Layout, Skip, Wrong
from trainables.data.row_builder import as_row
from trainables.data.rows import Conversation, Labelled, Preference, Prompt, Row, Text
from trainables.data.sources import Source
from trainables.data.thinking import thinking
from trainables.system.parallel import ordered
from trainables.system.progress import tell

EXAMPLES = 5  # skipped rows that are named
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
Raw = tuple[Any, str, str]  # a row's values, its place, its file


@dataclass
class Account:
    """What became of a source's rows: counts, and the first examples of each fault."""

    name: str
    formats: dict[str, str] = field(default_factory=dict)  # file -> format and the columns it was told from
    rows: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    placeholders: set[str] = field(default_factory=set)

    def skip(self, where: str, why: str) -> None:
        self.skipped[why] += 1
        named = self.examples.setdefault(why, [])
        if len(named) < EXAMPLES:
            named.append(where)

    def add(self, later: Account) -> None:
        """Takes in what became of the rows that come next."""
        self.formats |= {file: told for file, told in later.formats.items() if file not in self.formats}
        self.rows += later.rows
        self.skipped += later.skipped
        for why, places in later.examples.items():
            self.examples[why] = [*self.examples.get(why, ()), *places][:EXAMPLES]
        self.placeholders |= later.placeholders


def batches(
    sources: Sequence[Source], need: type, config: DataConfig, accounts: Sequence[Account]
) -> Iterator[pa.RecordBatch]:
    """The sources' rows as ``need``, on all cores where they are many; what is left out is in ``accounts``.

    Raises :class:`DataError` for a row whose shape is wrong (its file, its number, what was found and expected),
    and, if ``config.strict``, for one that would be left out.
    """
    done = 0
    for number, rows, account in ordered(
        Converter(tuple(sources), need, config), _raw_batches(sources, need)
    ):
        accounts[number].add(account)
        done += account.rows
        tell("reading rows", done)
        yield rows


def _raw_batches(sources: Sequence[Source], need: type) -> Iterator[tuple[int, list[Raw]]]:
    for number, source in enumerate(sources):
        rows = islice(_raw(source, need), source.most)
        while batch := list(islice(rows, BATCH)):
            yield number, batch


def _raw(source: Source, need: type) -> Iterator[Raw]:
    """Rows as they were found, each with its place and its file."""
    if source.embedded:
        for number, row in enumerate(EMBEDDED_ROWS[need](), start=1):
            yield row, f"{source.name} row {number}", source.name
    for path in source.files:
        for raw in readers.read(path):
            yield raw.values, raw.where, str(path)


@dataclass
class Converter:
    """Makes a stage's rows of some raw ones of a source, which is named by its number."""

    sources: tuple[Source, ...]
    need: type
    config: DataConfig
    layouts: Layouts = field(default_factory=dict)

    def __call__(self, batch: tuple[int, list[Raw]]) -> tuple[int, pa.RecordBatch, Account]:
        number, raw = batch
        account = Account(self.sources[number].name)
        rows = list(self._rows(raw, self.sources[number], account))
        return number, arrow_rows.batch(number, rows), account

    def _rows(self, raw: Iterable[Raw], source: Source, account: Account) -> Iterator[Row]:
        for values, where, file in raw:
            try:
                found = _read(values, file, source, self.layouts, account)
                row = as_row(_edited(found, self.config), self.need)
            except Skip as why:
                if self.config.strict:
                    raise DataError(f"{where}: {why}; mend it, or leave it out with strict: false") from None
                account.skip(where, re.sub(r"message \d+", "a message", str(why)))
                continue
            except Wrong as error:
                raise DataError(f"{where}: {error}") from None
            account.rows += 1
            account.placeholders |= _placeholders(row)
            yield row


def _read(values: Any, file: str, source: Source, layouts: Layouts, account: Account) -> Found:
    if not isinstance(values, dict):
        raise Wrong(f"expected an object with {formats.EXPECTED}, got {type(values).__name__}")
    key = file, frozenset(values)
    if key not in layouts:
        layouts[key] = formats.layout(list(values), source.format, source.columns, source.tags)
    if not source.embedded and (name := basename(file)) not in account.formats:
        account.formats[name] = _told(layouts[key], source)
    return formats.FORMATS[layouts[key].format].convert(values, layouts[key])


def _told(layout: Layout, source: Source) -> str:
    columns = ", ".join(
        column if part == column else f"{part}: {column}" for part, column in layout.columns.items()
    )
    how = "named" if source.format else "told from its columns"
    fallen = [column for part, column in layout.columns.items() if part not in source.columns]
    note = (
        f"; not listed, taken by their usual names: {', '.join(fallen)}"
        if source.registered and fallen
        else ""
    )
    return f"{layout.format} ({how}; {columns}{note})"


def _edited(found: Found, config: DataConfig) -> Found:
    """With ``{{name}}`` replaced by what the spec gives for it, and thinking blocks as it wants them."""

    def edit(text: str, answer: bool) -> str:
        filled = PLACEHOLDER.sub(lambda match: config.variables.get(match[1], match[0]), text)
        return thinking(filled, config.thinking) if answer else filled

    if not config.variables and config.thinking == "keep":
        return found
    answers = {n: edit(text, True) for n in ("chosen", "rejected") if (text := getattr(found, n)) is not None}
    messages = tuple(
        {**message, "content": edit(message["content"], message["role"] == "assistant")}
        for message in found.messages
    )
    text = edit(found.text, False) if found.text is not None else None
    return replace(found, messages=messages, text=text, **answers)  # type: ignore[arg-type]


def _placeholders(row: Row) -> set[str]:
    text = str(row)
    return set(PLACEHOLDER.findall(text)) if "{{" in text else set()


def summary(account: Account) -> Iterator[str]:
    """How the rows were read, in sentences, for ``plan`` and the report."""
    for file, told in account.formats.items():
        yield f"{file}: {told}"


def warnings(account: Account) -> Iterator[str]:
    """What was left out or looks unfinished, in sentences."""
    total = sum(account.skipped.values())
    if total:
        reasons = "; ".join(
            f"{count} because {why} ({', '.join(account.examples[why])}{', ...' if count > EXAMPLES else ''})"
            for why, count in account.skipped.most_common()
        )
        yield f"{account.name}: {total} of {total + account.rows} rows left out: {reasons}"
    if account.placeholders:
        names = ", ".join(f"{{{{{name}}}}}" for name in sorted(account.placeholders))
        yield f"{account.name}: {names} stay as they are; give data.variables to fill them in"
