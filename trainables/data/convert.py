"""From a source's files to the rows a stage needs, one after another, with account of what was left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from trainables import commands
from trainables.config import DataConfig
from trainables.data import formats, readers
from trainables.data.errors import DataError
from trainables.data.found import Found, Layout, Skip, Wrong
from trainables.data.needs import as_row
from trainables.data.sources import Source
from trainables.rows import Conversation, Labelled, Preference, Prompt, Row, Text
from trainables.templates.thinking import thinking

EXAMPLES = 5  # skipped rows that are named
PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")

EMBEDDED_ROWS: Mapping[type, Callable[[], list[dict[str, Any]]]] = {
    Text: commands.texts,
    Conversation: commands.rows,
    Preference: commands.preferences,
    Labelled: commands.labelled,
    Prompt: commands.prompts,
}


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


def rows(source: Source, need: type, account: Account, config: DataConfig) -> Iterator[Row]:
    """The source's rows as ``need``; what is left out is in ``account``, or an error if ``config.strict``.

    Raises :class:`DataError` for a row whose shape is wrong: its file, its number, what was found and expected.
    """
    for found, where in islice(_found(source, need, account), source.most):
        try:
            row = as_row(_edited(found(), config), need)
        except Skip as why:
            if config.strict:
                raise DataError(f"{where}: {why}; mend it, or leave it out with strict: false") from None
            account.skip(where, re.sub(r"message \d+", "a message", str(why)))
            continue
        except Wrong as error:
            raise DataError(f"{where}: {error}") from None
        account.rows += 1
        account.placeholders |= _placeholders(row)
        yield row


def _found(source: Source, need: type, account: Account) -> Iterator[tuple[Any, str]]:
    if source.embedded:
        account.formats[source.name] = "embedded"
        columns: dict[frozenset[str], Layout] = {}
        for number, row in enumerate(EMBEDDED_ROWS[need](), start=1):
            yield _reading(row, source, columns, source.name, account), f"{source.name} row {number}"
        return
    for path in source.files:
        known: dict[frozenset[str], Layout] = {}
        for raw in readers.read(path):
            yield _reading(raw.values, source, known, path.name, account), raw.where


def _reading(
    row: Any, source: Source, known: dict[frozenset[str], Layout], file: str, account: Account
) -> Any:
    """A function that reads the row: what goes wrong in it is the caller's to place."""

    def read() -> Found:
        if not isinstance(row, dict):
            raise Wrong(f"expected an object with {formats.EXPECTED}, got {type(row).__name__}")
        columns = frozenset(row)
        if columns not in known:
            known[columns] = formats.layout(list(row), source.format, source.columns, source.tags)
            if not source.embedded:
                account.formats.setdefault(file, _told(known[columns], source))
        return formats.FORMATS[known[columns].format].convert(row, known[columns])

    return read


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
        if told != "embedded":
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
