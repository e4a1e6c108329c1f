"""Detects which kind of rows data holds, from its first rows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from trainables.config.data import DataConfig
from trainables.data import formats
from trainables.data.embedded.data_sets import row_types as embedded_types
from trainables.data.errors import DataError
from trainables.data.files import row_reader
from trainables.data.formats.readings import without_unmeant_label
from trainables.data.parsed_row import InvalidRow, SkippedRow
from trainables.data.row_builder import build_row
from trainables.data.rows import Classified, Conversation, Labelled, Preference, Prompt, Text
from trainables.data.sources import Source, resolve

SAMPLE_ROWS = 100  # of each source
# The most specific first: a pair is also a prompt, and a labelled answer also an answer. An answer may be a class, too:
# rows with a class are those that have one and no answer.
BY_SPECIFICITY = (Preference, Labelled, Conversation, Classified, Prompt, Text)


def detect_row_type(config: DataConfig, classes: bool = True) -> type | None:
    """The row type (``trainables.data.rows``) that the data holds; ``None`` for embedded data, which has several kinds,
    unless all that is named has one. Without ``classes``, a text with a label is a text or a prompt, as it is to a
    model that is no classifier.

    Raises :class:`DataError` for data that does not exist or has no row of any kind.
    """
    sources = [resolve(name, config) for name in config.names]
    if all(source.embedded for source in sources):
        kinds = {kind for source in sources for kind in embedded_types(source.name)}
        return kinds.pop() if len(kinds) == 1 else None
    raw = [(row, source) for source in sources for row in _sample(source)]
    for row_type in BY_SPECIFICITY:
        if (classes or row_type is not Classified) and any(
            _is_a(row_type, row, source) for row, source in raw
        ):
            return row_type
    for row, source in raw:
        _check_columns(row, source)
    raise DataError(
        f"{', '.join(config.names)}: none of the first {SAMPLE_ROWS} rows has anything to evaluate; "
        "give rows with a text, a request or answers"
    )


def _sample(source: Source) -> Iterator[row_reader.RawRow]:
    for path in source.files:
        yield from islice(row_reader.read_rows(path), SAMPLE_ROWS)


def _is_a(row_type: type, row: row_reader.RawRow, source: Source) -> bool:
    """Whether a row has what a row of this type needs, and can be read as one."""
    if not isinstance(row.values, dict):
        return False
    try:
        found = formats.candidates(list(row.values), row_type, source.format, source.columns, source.tags)
        fitting = next((each.layout for each in found if each.fits(row.values)), None)
        if fitting is None:
            return False
        layout = without_unmeant_label(fitting, row_type, row.values, source.columns)
        build_row(formats.FORMATS[layout.format].convert(row.values, layout, []), row_type, [])
    except (InvalidRow, SkippedRow):
        return False
    return True


def _check_columns(row: row_reader.RawRow, source: Source) -> None:
    """Raises :class:`DataError` for a row that is no object, or whose columns are those of no format."""
    try:
        if not isinstance(row.values, dict):
            raise InvalidRow(f"expected an object with {formats.EXPECTED}, got {type(row.values).__name__}")
        layout = formats.detect_layout(list(row.values), source.format, source.columns, source.tags)
        formats.FORMATS[layout.format].convert(row.values, layout, [])
    except SkippedRow:
        pass
    except InvalidRow as error:
        raise DataError(f"{row.where}: {error}") from None
