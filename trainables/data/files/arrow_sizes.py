"""How many bytes Arrow's values take once each is written out: dictionaries, views and runs keep a value once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Sizes = np.ndarray  # (values,) of float64, so that no sum overflows
# Whether a type is one of values of any length: of lists of others, or of bytes.
LISTS = (
    pa.types.is_list, pa.types.is_large_list, pa.types.is_map, pa.types.is_list_view, pa.types.is_large_list_view,
)  # fmt: skip
TEXTS = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary,
    pa.types.is_string_view, pa.types.is_binary_view,
)  # fmt: skip


def value_bytes(batch: pa.RecordBatch) -> float:
    """The bytes of all values of a validated batch, each counted as often as it stands there, and one for each row."""
    return batch.num_rows + float(sum(_sizes(column).sum() for column in batch.columns))


def _sizes(array: Any) -> Sizes:
    """The bytes of each value of an array."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _sizes(array.storage)
    if pa.types.is_dictionary(kind):
        return _taken(_sizes(array.dictionary), _integers(array.indices))
    if pa.types.is_run_end_encoded(kind):
        ends = np.asarray(_integers(array.run_ends), np.int64)
        bounds = np.clip(ends - array.offset, 0, len(array))
        return np.repeat(_sizes(array.values), np.diff(bounds, prepend=0))
    if pa.types.is_struct(kind):
        return np.sum([_sizes(each) for each in array.flatten()], axis=0) + np.ones(len(array))
    if pa.types.is_fixed_size_list(kind):
        start = array.offset * kind.list_size
        child = _sizes(array.values)[start : start + len(array) * kind.list_size]
        return child.reshape(len(array), kind.list_size).sum(axis=1) + 1.0
    if any(is_kind(kind) for is_kind in LISTS):
        return _list_sizes(array)
    if any(is_kind(kind) for is_kind in TEXTS):
        return _binary_sizes(array)
    width = array.nbytes / len(array) if len(array) else 0.0
    return np.full(len(array), max(width, 1.0))


def _integers(array: Any) -> Any:
    return pc.fill_null(array, 0).to_numpy(zero_copy_only=False)


def _taken(sizes: Sizes, indices: Any) -> Sizes:
    return sizes[indices] if len(sizes) else np.zeros(len(indices))  # nulls alone


def _list_sizes(array: Any) -> Sizes:
    """From the offsets in memory: those of views may overlap, and name one value any number of times."""
    kind = array.type
    # Maps keep their keys and values as a list of structs, which is their only child.
    child = _map_entries(array) if pa.types.is_map(kind) else array.values
    until = np.concatenate([[0.0], np.cumsum(_sizes(child))])
    width = np.int64 if pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind) else np.int32
    buffers = array.buffers()
    first, last = array.offset, array.offset + len(array)
    if not len(array):
        return np.zeros(0)
    offsets = np.frombuffer(buffers[1], width)
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        starts = offsets[first:last].astype(np.int64)
        ends = starts + np.frombuffer(buffers[2], width)[first:last].astype(np.int64)
    else:
        starts, ends = offsets[first:last].astype(np.int64), offsets[first + 1 : last + 1].astype(np.int64)
    return until[ends] - until[starts] + 1.0


def _map_entries(array: Any) -> Any:
    return pa.StructArray.from_arrays([array.keys, array.items], ["key", "value"])


def _binary_sizes(array: Any) -> Sizes:
    kind = array.type
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        # A view is 16 bytes, of which the first four are its length.
        views = np.frombuffer(array.buffers()[1], np.int32).reshape(-1, 4)
        lengths: Any = views[array.offset : array.offset + len(array), 0]
    else:
        lengths = _integers(pc.binary_length(array))
    return np.asarray(lengths, np.float64) + 1.0
