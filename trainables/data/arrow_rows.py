"""Rows on disk: converted once, as Arrow, memory-mapped, and shared by all trials of a sweep on a node.

A folder of the cache holds ``rows.arrow`` (one JSON text a row, and the hash of its prompt) and ``info.json``. What
it was made from is in its name: another input is another folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Generic, overload

import numpy as np
import pyarrow as pa

from trainables.data.rows import R, Row, pack, unpack

SCHEMA = pa.schema([("key", pa.binary(32)), ("source", pa.int32()), ("row", pa.large_string())])


class Rows(Sequence[R], Generic[R]):
    """Some rows of a table, read when they are asked for; ``indices`` says which, in which order.

    ``sha256`` is the hash of all the table's rows.
    """

    def __init__(self, table: pa.Table, indices: np.ndarray, cls: type[R], sha256: str) -> None:
        self.table, self.indices, self.cls, self.sha256 = table, indices, cls, sha256

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, place: int) -> R: ...
    @overload
    def __getitem__(self, place: slice) -> Rows[R]: ...
    def __getitem__(self, place: int | slice) -> R | Rows[R]:
        if isinstance(place, slice):
            return Rows(self.table, self.indices[place], self.cls, self.sha256)
        return unpack(self.table["row"][int(self.indices[place])].as_py(), self.cls)

    def __iter__(self) -> Iterator[R]:
        for place in range(len(self)):
            yield self[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def distinct(self) -> np.ndarray:
        """The table's rows that are among these, each once and in the table's order."""
        return np.unique(self.indices)

    @cached_property
    def identity(self) -> str:
        """A hash of what the distinct rows are."""
        return hashlib.sha256(self.sha256.encode() + self.distinct.astype("<i8").tobytes()).hexdigest()


def batch(source: int, rows: Sequence[Row]) -> pa.RecordBatch:
    """Some rows of a source, by its number, as they are written."""
    packed = [pack(row) for row in rows]
    keys = [bytes.fromhex(row.key()) for row in rows]
    return pa.record_batch([keys, [source] * len(rows), packed], schema=SCHEMA)


def write(path: Path, batches: Iterable[pa.RecordBatch]) -> str:
    """Writes batches one after another; returns the SHA-256 of all their rows, however they were batched."""
    digest = hashlib.sha256()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        for each in batches:
            if each.num_rows:
                digest.update("".join(f"{text}\n" for text in each["row"].to_pylist()).encode())
                writer.write_batch(each)
    return digest.hexdigest()


def read(path: Path) -> pa.Table:
    """The table at ``path``, memory-mapped."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def keys(table: pa.Table) -> np.ndarray:
    """Every row's hash as eight bytes, big-endian: (rows,) of uint64."""
    parts = [_first_eight(chunk) for chunk in table["key"].chunks]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def _first_eight(chunk: pa.Array) -> np.ndarray:
    raw = np.frombuffer(chunk.buffers()[1], np.uint8)
    whole = raw[chunk.offset * 32 : (chunk.offset + len(chunk)) * 32].reshape(-1, 32)
    return np.ascontiguousarray(whole[:, :8]).view(">u8").ravel().astype(np.uint64)
