"""Rows on disk: converted once, as Arrow, memory-mapped, and shared by all trials of a sweep on a node.

A folder of the cache holds ``rows.arrow`` (one JSON text a row, and the hash of its prompt) and ``info.json``. What
it was made from is in its name: another input is another folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, overload

import numpy as np
import pyarrow as pa

from trainables.rows import R, Row, pack, unpack

BATCH = 4096  # rows written at a time
SCHEMA = pa.schema([("key", pa.binary(32)), ("source", pa.int32()), ("row", pa.large_string())])


class Rows(Sequence[R], Generic[R]):
    """Some rows of a table, read when they are asked for; ``indices`` says which, in which order."""

    def __init__(self, table: pa.Table, indices: np.ndarray, cls: type[R]) -> None:
        self._column, self._indices, self._cls = table["row"], indices, cls

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, place: int) -> R: ...
    @overload
    def __getitem__(self, place: slice) -> Rows[R]: ...
    def __getitem__(self, place: int | slice) -> R | Rows[R]:
        if isinstance(place, slice):
            part = object.__new__(Rows)
            part._column, part._indices, part._cls = self._column, self._indices[place], self._cls
            return part
        return unpack(self._column[int(self._indices[place])].as_py(), self._cls)

    def __iter__(self) -> Iterator[R]:
        for place in range(len(self)):
            yield self[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def write(path: Path, numbered: Iterable[tuple[int, Row]]) -> str:
    """Writes (source number, row) pairs in bounded memory; returns the SHA-256 of all rows."""
    digest = hashlib.sha256()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        batch = _Batch(writer.write_batch)
        for source, row in numbered:
            packed = pack(row)
            digest.update(packed.encode())
            digest.update(b"\n")
            batch.add(bytes.fromhex(row.key()), source, packed)
        batch.flush()
    return digest.hexdigest()


class _Batch:
    def __init__(self, emit: Callable[[pa.RecordBatch], None]) -> None:
        self.emit, self.columns = emit, ([], [], [])  # type: tuple[Any, tuple[list[Any], ...]]

    def add(self, *values: Any) -> None:
        for column, value in zip(self.columns, values, strict=True):
            column.append(value)
        if len(self.columns[0]) >= BATCH:
            self.flush()

    def flush(self) -> None:
        if self.columns[0]:
            arrays = [pa.array(values, kind.type) for values, kind in zip(self.columns, SCHEMA, strict=True)]
            self.emit(pa.record_batch(arrays, schema=SCHEMA))
        self.columns = ([], [], [])


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
