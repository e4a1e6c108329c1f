"""Rows out of JSON, strictly, and one at a time however large the array around them is."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from trainables.data.decompression import LIMITS, PIECE_BYTES, Limits, too_long
from trainables.data.errors import DataError

# An object with one of these is a row; any other object with one list in it holds rows.
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
TAIL = 16  # a number or a word this near to the end of what was read may go on in what was not
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
BLANK = re.compile(r"[ \t\r\n]*")


class _RefusedError(ValueError):
    """JSON that Python would take and that means trouble."""


def decode(text: str, where: str) -> Any:
    """The one value that ``text``, a line, is."""
    try:
        value, end = _scan(text, _blank_end(text, 0))
        if (end := _blank_end(text, end)) < len(text):
            raise json.JSONDecodeError("Something follows the value", text, end)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: broken JSON at column {error.pos + 1}: {error.msg}; "
            "each line must be one whole JSON value (an array over several lines is a .json file)"
        ) from error
    except _RefusedError as error:
        raise DataError(f"{where}: {error}") from error
    return value


def rows(pieces: Iterator[str], label: str, limits: Limits = LIMITS) -> Iterator[tuple[int, Any]]:
    """(line it begins at, row) from an array, or from an object around one: ``{"data": [...]}``."""
    text = _Text(pieces, label, limits)
    opening = text.peek()
    if opening == "[":
        yield from _elements(text)
    elif opening == "{":
        yield from _members(text)
    elif opening:
        raise text.wrong("expected an array of rows", 'write [{"prompt": ...}, ...] or one object per line')
    if opening and text.peek():
        raise text.wrong("something follows the end of the rows", "keep one array, or one object per line")


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
    text.take("]")


def _members(text: _Text) -> Iterator[tuple[int, Any]]:
    """The rows of an object's only list, or the object itself when it is a row."""
    line, _ = text.place(text.at)
    row: dict[str, Any] = {}
    listed: str | None = None
    size = 0
    text.take("{")
    while text.peek() != "}":
        key = _key(text, row)
        row[key] = None
        if text.peek() == "[" and not ROW_COLUMNS & row.keys():
            if listed is not None:
                raise text.wrong(
                    f"two lists, {listed!r} and {key!r}", "save the one with the rows on its own"
                )
            listed = key
            yield from _elements(text)
        else:
            start = text.offset()
            row[key] = text.value()
            size += text.offset() - start + len(key)
        # What is kept must not grow with the file.
        if size > text.limits.line_bytes:
            raise too_long(f"{text.label}:{line}", "the object", text.limits)
        if listed is not None and ROW_COLUMNS & row.keys():
            raise text.wrong(f"a row ({key!r}) or a list of rows ({listed!r})?", "write an array of rows")
        if text.peek() == "}":
            break
        text.take(",", "or '}'")
        if text.peek() == "}":
            raise text.wrong("broken JSON: a comma before '}'", "remove it")
    text.take("}")
    if listed is None:
        yield line, row


def _key(text: _Text, known: dict[str, Any]) -> str:
    if text.peek() != '"':
        raise text.wrong("broken JSON: expected a name in double quotes", "is the file cut off?")
    key = text.value()
    if key in known:
        raise text.wrong(f"the name {key!r} stands twice in one object", "keep one")
    text.take(":")
    return key


class _Text:
    """Text that is read as it is needed and forgotten once used, and that knows its line and column."""

    def __init__(self, pieces: Iterator[str], label: str, limits: Limits) -> None:
        self.pieces, self.label, self.limits = pieces, label, limits
        self.held, self.at, self.forgotten = "", 0, 0
        self.line, self.line_start, self.counted = 1, 0, 0

    def offset(self) -> int:
        return self.forgotten + self.at

    def place(self, position: int) -> tuple[int, int]:
        """(line, column) of a place that is not before the last one asked for."""
        found = self.held.count("\n", self.counted, position)
        if found:
            self.line += found
            self.line_start = self.held.rfind("\n", self.counted, position) + 1
        self.counted = max(self.counted, position)
        return self.line, position - self.line_start + 1

    def wrong(self, what: str, advice: str, position: int | None = None) -> DataError:
        line, column = self.place(self.at if position is None else position)
        return DataError(f"{self.label}:{line}: {what}, at column {column}; {advice}")

    def more(self) -> bool:
        """Reads on; False at the end. Doubling keeps the work linear when a long value is tried again."""
        left = len(self.held) - self.at
        if left > self.limits.line_bytes + TAIL:  # a value of just the limit may need a look behind it
            raise self.too_long()
        got: list[str] = []
        size = 0
        while size < max(left, PIECE_BYTES) and (piece := next(self.pieces, None)) is not None:
            got.append(piece)
            size += len(piece)
        if size:
            self._forget()
            self.held += "".join(got)
        return size > 0

    def too_long(self) -> DataError:
        return too_long(f"{self.label}:{self.place(self.at)[0]}", "the row that begins here", self.limits)

    def _forget(self) -> None:
        self.place(self.at)
        self.held = self.held[self.at :]
        self.forgotten += self.at
        self.line_start -= self.at
        self.counted, self.at = 0, 0

    def peek(self) -> str:
        """The next character that is not blank, or nothing at the end."""
        while True:
            self.at = _blank_end(self.held, self.at)
            if self.at < len(self.held):
                return self.held[self.at]
            if not self.more():
                return ""

    def take(self, character: str, otherwise: str = "") -> None:
        found = self.peek()
        if found != character:
            what = f"found {found!r}" if found else "the file ends"
            expected = f"{character!r} {otherwise}".strip()
            raise self.wrong(f"broken JSON: expected {expected}, {what}", "is the file cut off?")
        self.at += 1

    def value(self) -> Any:
        """The value that begins here."""
        self.peek()
        while True:
            try:
                value, end = _scan(self.held, self.at)
            except json.JSONDecodeError as error:
                if not (self._may_go_on(error) and self.more()):
                    raise self.wrong(f"broken JSON: {error.msg}", "mend it there", error.pos) from error
            except _RefusedError as error:
                raise self.wrong(str(error), "in the row that begins there") from error
            else:
                if end < len(self.held) - TAIL or not self.more():
                    if end - self.at > self.limits.line_bytes:
                        raise self.too_long()
                    self.at = end
                    return value

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        return error.pos >= len(self.held) - TAIL or error.msg.startswith("Unterminated string")


def _blank_end(text: str, at: int) -> int:
    match = BLANK.match(text, at)
    return match.end() if match else at


def _scan(text: str, at: int) -> tuple[Any, int]:
    """The value at ``at`` and where it ends; JSONDecodeError, or _RefusedError in words."""
    try:
        value, end = DECODER.raw_decode(text, at)
        if SURROGATE.search(text, at, end):
            json.dumps(value, ensure_ascii=False).encode()
    except (json.JSONDecodeError, _RefusedError):
        raise
    except RecursionError:
        raise _RefusedError("lists or objects are nested too deep; make the row flatter") from None
    except UnicodeEncodeError:
        raise _RefusedError(
            "half a character (a \\ud... escape without its other half); write the text again"
        ) from None
    except ValueError:  # Python reads no integer of more than 4300 digits
        raise _RefusedError("a number with too many digits; write it as a text") from None
    return value, end


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _RefusedError(f"the name {twice!r} stands twice in one object; keep one")
    return row


def _constant(word: str) -> Any:
    raise _RefusedError(f"{word} is not JSON; write null or a number")


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise _RefusedError(f"the number {digits[:40]} is too large; write a smaller one")
    return number


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
