"""Strict JSON: one value of a line, or the rows of an array of any size, one at a time.

ijson does not replace this: it gives no lines for rows and errors, silently keeps the last of two equal names, and does
not limit a row's size; with names checked it is slower.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from trainables.data.errors import DataError
from trainables.data.files.decompression import LIMITS, PIECE_BYTES, Limits, too_long_error
from trainables.data.files.written_numbers import WrittenFloat

# An object with one of these names is a row; any other object that has one list holds rows in it.
ROW_COLUMNS = frozenset({"messages", "conversations", "conversation", "prompt", "completion", "chosen"})
ROW_COLUMNS |= {
    "rejected",
    "instruction",
    "input",
    "output",
    "response",
    "question",
    "answer",
    "text",
    "system",
}
TAIL = 16  # characters: a number or word this near to the end of the text that was read may continue after it
# Only an escaped surrogate can leave half a character in a text, which can't be stored as UTF-8.
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
BLANK = re.compile(r"[ \t\r\n]*")


class _RefusedError(ValueError):
    """JSON that Python accepts, but that is ambiguous or can't be stored: what it is, and what to do."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what}; {advice}")
        self.what, self.advice = what, advice


def decode_line(text: str, where: str) -> Any:
    """The value of a line of JSON. Raises :class:`DataError` at ``where`` for anything but one whole value."""
    try:
        value, end = _scan(text, _blank_end(text, 0))
        if (end := _blank_end(text, end)) < len(text):
            what = "Something" if text[end:].strip() != "," else "A comma, as between the items of an array,"
            raise json.JSONDecodeError(f"{what} follows the value", text, end)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: broken JSON at column {error.pos + 1}: {error.msg}; "
            "each line must be one whole JSON value (an array over several lines is a .json file)"
        ) from error
    except _RefusedError as error:
        raise DataError(f"{where}: {error}") from error
    return value


def read_rows(pieces: Iterator[str], label: str, limits: Limits = LIMITS) -> Iterator[tuple[int, Any]]:
    """(line it begins at, row) of an array, or of an object that holds one: ``{"data": [...]}``.

    An object of columns, such as ``{"prompt": ["a", "b"], "completion": ["c", "d"]}``, has the rows of its columns.

    Raises :class:`DataError` with the line, and the column, for broken JSON and rows above the limit.
    """
    text = _Text(pieces, label, limits)
    opening = text.peek()
    if opening == "[":
        yield from _elements(text)
    elif opening == "{":
        yield from _members(text)
    elif opening:
        raise text.error("expected an array of rows", 'write [{"prompt": ...}, ...] or one object per line')
    if opening and text.peek():
        raise text.error("something follows the end of the rows", "keep one array, or one object per line")


def _elements(text: _Text) -> Iterator[tuple[int, Any]]:
    text.take("[")
    if text.peek() != "]":
        while True:
            text.peek()
            line, _ = text.place(text.at)
            yield line, text.value()
            if text.peek() == "]":
                break
            text.take(",", "or ']'")
            if text.peek() == "]":
                raise text.error("broken JSON: a comma before ']'", "remove it")
    text.take("]")


def _members(text: _Text) -> Iterator[tuple[int, Any]]:
    """The rows of an object's only list, or the object itself if it is a row."""
    line, _ = text.place(text.at)
    row: dict[str, Any] = {}
    list_name: str | None = None
    size = 0
    text.take("{")
    while text.peek() != "}":
        key = _key(text, row)
        # Before the value is read, as the name alone can say that this object is a row.
        row[key] = None
        if text.peek() == "[" and not ROW_COLUMNS & row.keys() and text.opens_objects():
            if list_name is not None:
                raise text.error(
                    f"two lists, {list_name!r} and {key!r}", "save the one with the rows on its own"
                )
            list_name = key
            yield from _elements(text)
        else:
            start = text.offset()
            row[key] = text.value()
            # Offsets are positions in the whole file, so text that was dropped meanwhile counts too.
            size += text.offset() - start + len(key)
        # Whatever surrounds the list stays in memory, so it must not grow with the file.
        if size > text.limits.line_bytes:
            raise too_long_error(f"{text.label}:{line}", "the object", text.limits)
        if list_name is not None and ROW_COLUMNS & row.keys():
            raise text.error(f"a row ({key!r}) or a list of rows ({list_name!r})?", "write an array of rows")
        if text.peek() == "}":
            break
        text.take(",", "or '}'")
        if text.peek() == "}":
            raise text.error("broken JSON: a comma before '}'", "remove it")
    text.take("}")
    if list_name is None:
        yield from ((line, values) for values in _rows_within(row) or [row])


def _rows_within(value: Mapping[str, Any]) -> list[Any] | None:
    """The rows that an object is made of, in one of the forms of pandas' ``to_json``; ``None`` if it is a row itself.

    ``{"prompt": ["a", "b"]}``, ``{"prompt": {"0": "a", "1": "b"}}``, ``{"0": {"prompt": "a"}, "1": {"prompt": "b"}}``
    and ``{"columns": ["prompt"], "index": [0, 1], "data": [["a"], ["b"]]}`` are the same two rows.
    """
    if {"columns", "data"} <= value.keys() <= {"columns", "index", "data"}:
        return _rows_of_lists(value["columns"], value["data"])
    inner = list(value.values())
    if inner and all(isinstance(each, dict) for each in inner):
        if _are_labels(value) or ROW_COLUMNS & inner[0].keys():
            return inner
        if any(each.keys() != inner[0].keys() for each in inner) or not _are_labels(inner[0]):
            return None
        inner = [list(each.values()) for each in inner]
    is_table = (
        bool(inner)
        and all(isinstance(column, list) for column in inner)
        and len({len(column) for column in inner}) == 1
        # A row of messages has lists, too, but no texts in them, and no lists.
        and any(isinstance(item, str | list) for column in inner for item in column)
    )
    return [dict(zip(value, row, strict=True)) for row in zip(*inner, strict=True)] if is_table else None


def _are_labels(names: Collection[str]) -> bool:
    """Whether names of an object are numbers of rows."""
    return bool(names) and all(name.isdecimal() for name in names)


def _rows_of_lists(columns: Any, rows: Any) -> list[Any] | None:
    is_table = isinstance(columns, list) and isinstance(rows, list) and bool(rows)
    if not is_table or not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
        return None
    return [dict(zip(map(str, columns), row, strict=True)) for row in rows]


def _key(text: _Text, earlier: dict[str, Any]) -> str:
    if text.peek() != '"':
        raise text.error("broken JSON: expected a name in double quotes", "is the file cut off?")
    key = text.value()
    if key in earlier:
        raise text.error(f"the name {key!r} occurs twice in one object", "keep one")
    text.take(":")
    return key


class _Text:
    """A text that is read piece by piece, dropped once used, and that knows the line and column of a position."""

    def __init__(self, pieces: Iterator[str], label: str, limits: Limits) -> None:
        self.pieces, self.label, self.limits = pieces, label, limits
        # What is in memory, the position in it, and how many characters before it were dropped.
        self.text, self.at, self.dropped = "", 0, 0
        # The line of position `counted`, and where in the text that line starts (negative if it was dropped).
        self.line, self.line_start, self.counted = 1, 0, 0

    def offset(self) -> int:
        """The position in the whole file, in characters."""
        return self.dropped + self.at

    def place(self, position: int) -> tuple[int, int]:
        """(line, column) of a position that is not before an earlier one."""
        # Only from the position counted up to before, so that all calls together scan the text once.
        line_feeds = self.text.count("\n", self.counted, position)
        if line_feeds:
            self.line += line_feeds
            self.line_start = self.text.rfind("\n", self.counted, position) + 1
        self.counted = max(self.counted, position)
        return self.line, position - self.line_start + 1

    def error(self, what: str, advice: str, position: int | None = None) -> DataError:
        """The error at a position, by default the current one."""
        line, column = self.place(self.at if position is None else position)
        return DataError(f"{self.label}:{line}: {what}, at column {column}; {advice}")

    def more(self) -> bool:
        """Reads on; returns ``False`` at the end of the file.

        Each time the unused text at least doubles, so that the work stays linear when a long value is parsed again.
        """
        unused = len(self.text) - self.at
        # A value of exactly the limit may need the characters after it.
        if unused > self.limits.line_bytes + TAIL:
            raise self.too_long()
        read: list[str] = []
        size = 0
        while size < max(unused, PIECE_BYTES) and (piece := next(self.pieces, None)) is not None:
            read.append(piece)
            size += len(piece)
        if size:
            self._drop_used()
            self.text += "".join(read)
        return size > 0

    def too_long(self) -> DataError:
        """The error for the row at the current position."""
        return too_long_error(
            f"{self.label}:{self.place(self.at)[0]}", "the row that begins here", self.limits
        )

    def _drop_used(self) -> None:
        # Line feeds that are dropped can't be counted later.
        self.place(self.at)
        self.text = self.text[self.at :]
        self.dropped += self.at
        self.line_start -= self.at
        self.counted, self.at = 0, 0

    def peek(self) -> str:
        """The next character that is not blank; an empty text at the end."""
        while True:
            self.at = _blank_end(self.text, self.at)
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def opens_objects(self) -> bool:
        """Whether the list that begins at the current position has an object as its first item, or none."""
        while True:
            first = _blank_end(self.text, self.at + 1)
            if first < len(self.text):
                return self.text[first] in "{]"
            # Reading on drops what is before the current position, and the list begins there.
            if not self.more():
                return True

    def take(self, character: str, alternative: str = "") -> None:
        """Steps over a character that must come next."""
        actual = self.peek()
        if actual != character:
            what = f"found {actual!r}" if actual else "the file ends"
            expected = f"{character!r} {alternative}".strip()
            raise self.error(f"broken JSON: expected {expected}, {what}", "is the file cut off?")
        self.at += 1

    def value(self) -> Any:
        """The value that begins at the current position, which moves to its end."""
        self.peek()
        while True:
            try:
                value, end = _scan(self.text, self.at)
            except json.JSONDecodeError as error:
                if not (self._may_continue(error) and self.more()):
                    # `more` drops text only if it reads some, so error.pos still points into this text.
                    raise self.error(f"broken JSON: {error.msg}", "correct it there", error.pos) from error
            except _RefusedError as error:
                raise self.error(f"{error.what}, in the row that begins", error.advice) from error
            else:
                # A number at the end of the text may continue in the next piece, so it is parsed again.
                if end < len(self.text) - TAIL or not self.more():
                    if end - self.at > self.limits.line_bytes:
                        raise self.too_long()
                    self.at = end
                    return value

    def _may_continue(self, error: json.JSONDecodeError) -> bool:
        # json reports an unterminated string at its beginning, which may be far before the end of the text.
        return error.pos >= len(self.text) - TAIL or error.msg.startswith("Unterminated string")


def _blank_end(text: str, at: int) -> int:
    match = BLANK.match(text, at)
    return match.end() if match else at


def _scan(text: str, at: int) -> tuple[Any, int]:
    """The value at position ``at`` and where it ends. Raises JSONDecodeError, or _RefusedError with a message."""
    try:
        value, end = DECODER.raw_decode(text, at)
        # Python decodes a lone surrogate without an error; encoding it finds it.
        if SURROGATE.search(text, at, end):
            json.dumps(value, ensure_ascii=False).encode()
    except (json.JSONDecodeError, _RefusedError):
        raise
    except RecursionError:
        raise _RefusedError("lists or objects are nested too deep", "make the row flatter") from None
    except UnicodeEncodeError:
        raise _RefusedError(
            "half a character (a \\ud... escape without its other half)", "write the text again"
        ) from None
    except ValueError:  # Python reads no integer of more than 4300 digits
        raise _RefusedError("a number with too many digits", "write it as a text") from None
    return value, end


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _RefusedError(f"the name {twice!r} occurs twice in one object", "keep one")
    return row


def _constant(word: str) -> Any:
    raise _RefusedError(f"{word} is not JSON", "write null or a number, as pandas' to_json does")


def _float(digits: str) -> float:
    number = float(digits)
    # Python reads 1e999 as infinity, which JSON can't express.
    if math.isinf(number):
        raise _RefusedError(f"the number {digits[:40]} is too large", "write a smaller one")
    return number if repr(number) == digits else WrittenFloat(digits)


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
