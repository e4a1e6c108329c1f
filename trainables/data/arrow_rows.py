"""Converted rows on disk: an Arrow table, memory-mapped and shared by all trials of a sweep on a node.

A folder of the cache holds ``rows.arrow`` (each row as JSON, with the hash of its prompt, that of what it opens with or
of its group, and its place in its file) and ``info.json``. The folder's name is a hash of what the rows were made from,
so other inputs get another folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Generic, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainables.data.content.turns import opening_key
from trainables.data.rows import R, Row, row_from_json, row_to_json

# large_string has 64-bit offsets: a batch of long rows may exceed the 2 GiB that a string column can address.
SCHEMA = pa.schema(
    [
        ("key", pa.binary(32)),  # of the prompt
        ("group", pa.binary(32)),  # of the value of data.group, else of what the row opens with
        ("source", pa.int32()),
        ("where", pa.large_string()),  # file and line or row, as messages name it: rows.jsonl:17
        ("row", pa.large_string()),
    ]
)


class Rows(Sequence[R], Generic[R]):
    """Some rows of a table, read when they are asked for.

    ``indices`` (rows,): the numbers of the table's rows, in this sequence's order. ``sha256``: the hash of all rows of
    the table, whether they are among these or not.
    """

    def __init__(self, table: pa.Table, indices: np.ndarray, row_type: type[R], sha256: str) -> None:
        self.table, self.indices, self.row_type, self.sha256 = table, indices, row_type, sha256

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, place: int) -> R: ...
    @overload
    def __getitem__(self, place: slice) -> Rows[R]: ...
    def __getitem__(self, place: int | slice) -> R | Rows[R]:
        if isinstance(place, slice):
            return Rows(self.table, self.indices[place], self.row_type, self.sha256)
        return row_from_json(self.table["row"][int(self.indices[place])].as_py(), self.row_type)

    def where(self, place: int) -> str:
        """The file of a row and its line or number there, as messages name it: ``rows.jsonl:17``."""
        return str(self.table["where"][int(self.indices[place])])

    def __iter__(self) -> Iterator[R]:
        for place in range(len(self)):
            yield self[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def openings(self, grouped: bool) -> pa.Array:
        """The hash of what each row opens with: (rows,). ``grouped``: the table has a group's hash in its place."""
        if grouped:
            return pa.array([opening_key(row) for row in self], SCHEMA.field("group").type)
        return pc.take(self.table["group"], pa.array(self.indices)).combine_chunks()

    @cached_property
    def distinct(self) -> np.ndarray:
        """The numbers of the table's rows that are among these, each once and in the table's order: (distinct,)."""
        return np.unique(self.indices)

    @cached_property
    def identity(self) -> str:
        """A hash of the distinct rows, whatever their order here."""
        # A fixed width and byte order, so that the hash is the same on every machine.
        return hashlib.sha256(self.sha256.encode() + self.distinct.astype("<i8").tobytes()).hexdigest()


def to_batch(
    source: int, places: Sequence[str], rows: Sequence[Row], groups: Sequence[bytes | None]
) -> pa.RecordBatch:
    """Some rows of source number ``source``, with the place of each in its file, as a batch of the table.

    ``groups``: the key of each row's group; ``None`` for a row that is kept with those that open as it does.
    """
    texts = [row_to_json(row) for row in rows]
    keys = [bytes.fromhex(row.key()) for row in rows]
    grouped = [group or opening_key(row) for group, row in zip(groups, rows, strict=True)]
    return pa.record_batch([keys, grouped, [source] * len(rows), places, texts], schema=SCHEMA)


def write_batches(path: Path, batches: Iterable[pa.RecordBatch]) -> str:
    """Writes batches to an Arrow file; returns the SHA-256 of all their rows, which does not depend on the batches."""
    digest = hashlib.sha256()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        for batch in batches:
            if batch.num_rows:
                # JSON escapes line feeds, so one after each row separates the rows of any batches.
                digest.update("".join(f"{text}\n" for text in batch["row"].to_pylist()).encode())
                writer.write_batch(batch)
    return digest.hexdigest()


def open_table(path: Path) -> pa.Table:
    """The table at ``path``, memory-mapped."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def key_prefixes(table: pa.Table, column: str = "key") -> np.ndarray:
    """The first eight bytes of every row's hash in a column as a big-endian number: (rows,) of uint64."""
    parts = [_first_eight(chunk) for chunk in table[column].chunks]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def _first_eight(chunk: pa.Array) -> np.ndarray:
    # Read straight from Arrow's buffer, (rows, 32) bytes: Python objects for millions of hashes would take seconds.
    raw = np.frombuffer(chunk.buffers()[1], np.uint8)
    hashes = raw[chunk.offset * 32 : (chunk.offset + len(chunk)) * 32].reshape(-1, 32)
    return np.ascontiguousarray(hashes[:, :8]).view(">u8").ravel().astype(np.uint64)
