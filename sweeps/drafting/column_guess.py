"""Guesses which column is the prompt and which the answer, of a file whose columns have no usual names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from trainables.config.data import DataConfig
from trainables.data.errors import DataError
from trainables.data.files import row_reader
from trainables.data.formats.likely_columns import likely_parts
from trainables.data.row_kind import detect_row_type
from trainables.data.sources import resolve

LOOKED_AT = 20  # rows of the first file


def guess_columns(config: DataConfig) -> dict[str, str]:
    """Part -> column for data that can't be read without it: by the columns' names, else by the order of two columns
    with texts. Empty where nothing has to be guessed, and where no guess makes rows of the data.

    Raises :class:`DataError` for data that does not exist.
    """
    if config.columns or config.format is not None:
        return {}
    sources = [resolve(name, config) for name in config.names]
    try:
        detect_row_type(config)
        return {}
    except DataError:
        files = [path for source in sources for path in source.files]
        rows = [row.values for row in islice(row_reader.read_rows(files[0]), LOOKED_AT)] if files else []
    for columns in _guesses([row for row in rows if isinstance(row, dict)]):
        try:
            detect_row_type(config.model_copy(update={"columns": columns}))
        except DataError:
            continue
        return columns
    return {}


def _guesses(rows: list[Mapping[str, object]]) -> Iterator[dict[str, str]]:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    by_name = likely_parts(columns)
    known = {part: column for part, column in by_name.items() if column is not None}
    if known.keys() == by_name.keys():
        yield known
    texts = [column for column in columns if _holds_texts(rows, column)]
    if len(texts) == 2:
        # An answer may be recognized where the question is not.
        first, second = texts if known.get("response") != texts[0] else texts[::-1]
        yield {"prompt": first, "response": second}
    if len(texts) == 1:
        yield {"text": texts[0]}


def _holds_texts(rows: list[Mapping[str, object]], column: str) -> bool:
    """Whether most rows have a text there that is no number."""
    values = [row.get(column) for row in rows]
    texts = [value for value in values if isinstance(value, str) and any(map(str.isalpha, value))]
    return 2 * len(texts) > len(rows)
