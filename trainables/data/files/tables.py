"""Tables as spreadsheets write them: how their cells are separated, and which columns their header names."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainables.data.errors import DataError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
# Excel writes the separator into a line of its own before the header.
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)


@dataclass(frozen=True)
class Dialect:
    """How a table is written: between cells, and from which line on (counted from 1)."""

    separator: str
    first_line: int = 1

    def notes(self, usual: str) -> Iterator[str]:
        """What is unusual about it."""
        if self.separator != usual:
            named = ", as its first line says" if self.first_line > 1 else ""
            yield f"its cells are separated by {SEPARATORS.get(self.separator, repr(self.separator))}{named}"


def detect_dialect(lines: Sequence[str], usual: str) -> Dialect:
    """The separator with which the first records have the same number of cells, and more than one.

    >>> detect_dialect(["instruction;output\\n", "What, now?;Go.\\n"], ",").separator
    ';'
    """
    if lines and (named := SEPARATOR_LINE.fullmatch(lines[0])):
        return Dialect(named[1], first_line=2)
    others = [separator for separator in SEPARATORS if separator != usual]
    for separator in (usual, *others):
        counts = _cell_counts(lines, separator)
        if len(counts) == 1 and max(counts) > 1:
            return Dialect(separator)
    # Where no record count agrees, one of them is broken; the header alone says how the others should be.
    header_cells = {separator: _header_cells(lines, separator) for separator in (usual, *others)}
    return Dialect(
        usual if header_cells[usual] > 1 else max(header_cells, key=lambda each: header_cells[each])
    )


def _cell_counts(lines: Sequence[str], separator: str) -> set[int]:
    return {len(cells) for cells in _whole_records(lines, separator)}


def _header_cells(lines: Sequence[str], separator: str) -> int:
    return len(next(_whole_records(lines, separator), ()))


def _whole_records(lines: Sequence[str], separator: str) -> Iterator[list[str]]:
    """The records up to the first that is broken, or cut off where the lines end."""
    try:
        yield from (cells for cells in csv.reader(lines, delimiter=separator, strict=True) if cells)
    except csv.Error:
        return


@dataclass(frozen=True)
class Header:
    """The names of a table's columns, empty for a column without one; ``empty``: how many cells without one follow."""

    names: tuple[str, ...]
    empty: int = 0

    @classmethod
    def of(cls, cells: Sequence[str], where: str) -> Header:
        """Raises :class:`DataError` for a name that occurs twice, and for a header without any."""
        names = [name if name.strip() else "" for name in cells]
        checked_names([name for name in names if name], where)
        # Spreadsheets also write cells of columns to the right that were used once.
        while not names[-1]:
            names.pop()
        return cls(tuple(names), len(cells) - len(names))

    def notes(self) -> Iterator[str]:
        """Which columns are not read."""
        for number, name in enumerate(self.names, start=1):
            if not name:
                yield f"column {number} has no name in the header and is not read"
        if self.empty:
            columns = "1 empty column" if self.empty == 1 else f"{self.empty} empty columns"
            yield f"{columns} without a name at the right left out"

    def row(self, cells: Sequence[str], where: str) -> dict[str, str]:
        """A record's cells by column. Raises :class:`DataError` if there are too few, or texts without a column."""
        expected = len(self.names)
        beyond = [cell for cell in cells[expected:] if cell.strip()]
        if len(cells) < expected or beyond:
            raise DataError(
                f"{where}: {len(cells)} cells where the header has {expected}; "
                "is a separator missing, or a text with a separator not in quotes?"
            )
        return {name: cell for name, cell in zip(self.names, cells, strict=False) if name}


def checked_names(names: list[str], where: str) -> list[str]:
    """The names of a table's columns. Raises :class:`DataError` if there are none, or one of them twice."""
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise DataError(f"{where}: two columns are called {repeated[0]!r}; rename one")
    if not names:
        raise DataError(f"{where}: no columns; give a file with some")
    return names
