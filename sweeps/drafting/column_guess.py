"""Guesses which column is the prompt and which the answer, of a file whose columns have no usual names."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from sweeps.drafting.spec_text import yaml_value
from trainables.config.data import DataConfig
from trainables.data.errors import DataError
from trainables.data.files import row_reader
from trainables.data.formats.likely_columns import likely_parts
from trainables.data.row_kind import detect_row_type
from trainables.data.sources import resolve

LOOKED_AT = 20  # rows of the first file
NAMED_COLUMNS = "columns: {"  # in an error that naming the columns would mend


class UnreadColumns(DataError):  # noqa: N818
    """Columns of which only a person can say which is what. ``likely``: a guess of prompt and response, to be asked."""

    def __init__(self, reason: str, rows: Sequence[Mapping[str, object]]) -> None:
        self.columns = _columns(rows)
        named = {part: column for part, column in likely_parts(self.columns).items() if column is not None}
        texts = [column for column in self.columns if _holds_texts(rows, column)]
        rest = [column for column in (*texts, *self.columns) if column not in named.values()]
        rest = list(dict.fromkeys(rest))
        # As most files have it, the question stands before the answer.
        self.likely = {
            part: named.get(part) or (rest.pop(0) if rest else "") for part in ("prompt", "response")
        }
        option = shlex.quote(columns_override(self.likely))
        super().__init__(f"{reason}. Without a spec that is an option, as in --set {option}")


def columns_override(columns: Mapping[str, str]) -> str:
    """What ``--set`` takes to say which column is what.

    >>> columns_override({"prompt": "Ticket text", "response": "Queue"})
    'data.columns={prompt: "Ticket text", response: Queue}'
    """
    return f"data.columns={yaml_value(dict(columns))}"


def guess_columns(config: DataConfig) -> dict[str, str]:
    """Part -> column for data that can't be read without it: by the columns' names, else by the order of two columns
    with texts. Empty where nothing has to be guessed.

    Raises :class:`UnreadColumns` where no guess makes rows of the data, and :class:`DataError` for data that does not
    exist.
    """
    if config.format is not None:
        return {}
    sources = [resolve(name, config) for name in config.names]
    try:
        detect_row_type(config)
        return {}
    except DataError as error:
        reason = str(error)
        files = [path for source in sources for path in source.files]
        read = [row.values for row in islice(row_reader.read_rows(files[0]), LOOKED_AT)] if files else []
    rows: list[Mapping[str, object]] = [row for row in read if isinstance(row, dict)]
    # A guess would contradict what is given.
    for columns in _guesses(rows) if not config.columns else ():
        try:
            detect_row_type(config.model_copy(update={"columns": columns}))
        except DataError:
            continue
        return columns
    if NAMED_COLUMNS in reason:
        raise UnreadColumns(reason, rows)
    return {}


def _columns(rows: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(column for row in rows for column in row))


def _guesses(rows: Sequence[Mapping[str, object]]) -> Iterator[dict[str, str]]:
    columns = _columns(rows)
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


def _holds_texts(rows: Sequence[Mapping[str, object]], column: str) -> bool:
    """Whether most rows have a text there that is neither a number nor a name of the row, such as T-1032."""
    values = [row.get(column) for row in rows]
    texts = [value for value in values if isinstance(value, str) and any(map(str.isalpha, value))]
    numbered = [value for value in texts if " " not in value.strip() and any(map(str.isdigit, value))]
    names_rows = len(numbered) == len(texts) == len(set(texts))
    return 2 * len(texts) > len(rows) and not names_rows
