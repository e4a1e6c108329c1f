"""Detects which kind of rows data holds, from its first rows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from trainables.config.data import DataConfig
from trainables.data import formats, readers
from trainables.data.errors import DataError
from trainables.data.parsed_row import InvalidRow, ParsedRow, SkippedRow
from trainables.data.rows import Conversation, Labelled, Preference, Prompt, Text
from trainables.data.sources import Source, resolve

SAMPLE_ROWS = 100  # of each source


def detect_row_type(config: DataConfig) -> type | None:
    """The row type (``trainables.data.rows``) that the data holds; ``None`` for embedded data, which has every kind.

    Raises :class:`DataError` for data that does not exist or has no row of any kind.
    """
    sources = [resolve(name, config) for name in config.names]
    if all(source.embedded for source in sources):
        return None
    parsed_rows = [row for source in sources for row in islice(_parsed_rows(source), SAMPLE_ROWS)]
    for row_type, matches in _BY_SPECIFICITY:
        if any(matches(row) for row in parsed_rows):
            return row_type
    raise DataError(
        f"{', '.join(config.names)}: none of the first {SAMPLE_ROWS} rows has anything to evaluate; "
        "give rows with a text, a request or answers"
    )


# The most specific first: a pair is also a prompt, and a labelled answer also an answer.
_BY_SPECIFICITY = (
    (Preference, lambda row: row.chosen is not None and row.rejected is not None),
    (Labelled, lambda row: row.label is not None),
    (Conversation, lambda row: row.answered),
    (Prompt, lambda row: bool(row.messages)),
    (Text, lambda row: row.text is not None),
)


def _parsed_rows(source: Source) -> Iterator[ParsedRow]:
    for path in source.files:
        for raw in islice(readers.read_rows(path), SAMPLE_ROWS):
            try:
                layout = formats.detect_layout(list(raw.values), source.format, source.columns, source.tags)
                yield formats.FORMATS[layout.format].convert(raw.values, layout, [])
            except SkippedRow:
                continue
            # A row that is no object, such as a number, has no columns: `list` raises TypeError.
            except (InvalidRow, TypeError) as error:
                raise DataError(f"{raw.where}: {error}") from None
