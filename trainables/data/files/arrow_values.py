"""Values of Arrow tables as a JSON file would have them: without what the table's format adds to them.

All objects of a column have the same fields there, so an object without one of them is filled up with null; and a map
is a list of pairs. Whether somebody wrote a null can't be seen in a table, so nulls inside of objects are left out:
in tools, calls and messages, where they occur, a missing field and null mean the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

Restore = Callable[[Any], Any]
MESSAGE_KEYS = ({"role", "content"}, {"from", "value"})


def to_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The batch's rows, column to value. Nulls of whole columns are kept: that is how a row lacks a value."""
    rows: list[dict[str, Any]] = batch.to_pylist()
    restores = {field.name: restore for field in batch.schema if (restore := _restore(field.type, True))}
    for row in rows:
        for column, restore in restores.items():
            row[column] = restore(row[column])
    return rows


def _restore(kind: pa.DataType, outermost: bool = False) -> Restore | None:
    """What makes of a value of this type what was written; ``None`` where the value is that already.

    ``outermost``: the value is a column's, or an item of it, and not a field of another object, such as an argument.
    """
    if isinstance(kind, pa.BaseExtensionType):
        return _restore(kind.storage_type, outermost)
    if pa.types.is_struct(kind):
        fields = {field.name: _restore(field.type) or _unchanged for field in kind}
        # A message whose content is null is an empty message, and one without content is none at all.
        keeps_null = outermost and any(keys <= fields.keys() for keys in MESSAGE_KEYS)
        return lambda value: (
            value
            and {name: fields[name](item) for name, item in value.items() if keeps_null or item is not None}
        )
    if pa.types.is_map(kind):
        restore = _restore(kind.item_type) or _unchanged
        return lambda value: value if value is None else {key: restore(item) for key, item in value}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        item_restore = _restore(kind.value_type, outermost)
        return item_restore and (lambda value: value and [item_restore(item) for item in value])
    return None


def _unchanged(value: Any) -> Any:
    return value
