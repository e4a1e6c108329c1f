"""What keeps rows on one side of the split: the first user turn, the whole prompt, or a column of the user's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from trainables.config.data import DataConfig
from trainables.data import arrow_rows
from trainables.data.rows import Text

OTHER_SPLIT = (
    "data.group names a column that keeps rows together instead, data.split_by: prompt keeps only those of one whole "
    "prompt"
)
LARGE_SHARE = 0.1  # of the rows, from which on the size of a part depends on where one group of rows falls


def split_keys(config: DataConfig, table: pa.Table) -> np.ndarray:
    """The first eight bytes of the hash of what keeps each row with others: (rows,) of uint64."""
    by_prompt = config.group is None and config.split_by != "first_turn"
    return arrow_rows.key_prefixes(table, "key" if by_prompt else "group")


def group_names(config: DataConfig, rows: object) -> list[str] | None:
    """A name for what keeps each row with others, the same for rows that stay together; ``None`` for rows in memory."""
    if not isinstance(rows, arrow_rows.Rows):
        return None
    return [f"{int(key):016x}" for key in split_keys(config, rows.table)[rows.indices]]


def kept_together(config: DataConfig, row_type: type) -> str:
    """What rows that stay together share, as a noun."""
    if config.group is not None:
        return config.group
    if row_type is Text:
        return "text"
    return "first turn" if config.split_by == "first_turn" else "prompt"


def other_split(config: DataConfig, keys: np.ndarray, prompts: np.ndarray) -> str:
    """What else to do where too few rows open differently, to append to an error; empty where prompts are as few.

    ``keys``, ``prompts`` (rows,): the hashes of what keeps rows together, and of their prompts.
    """
    fewer = config.split_by == "first_turn" and len(np.unique(keys)) < len(np.unique(prompts))
    return f"; or {OTHER_SPLIT}" if fewer else ""


def large_group_warnings(
    config: DataConfig, row_type: type, keys: np.ndarray, prompts: np.ndarray
) -> Iterator[str]:
    """A sentence where so many rows of different prompts stay together that parts have other sizes than was asked.

    ``keys``, ``prompts`` (rows,): the hashes of what keeps rows together, and of their prompts.
    """
    groups, sizes = np.unique(keys, return_counts=True)
    largest, size = groups[sizes.argmax()], int(sizes.max())
    if size <= LARGE_SHARE * len(keys) or len(np.unique(prompts[keys == largest])) == 1:
        return
    what = kept_together(config, row_type)
    advice = "give a column of smaller groups" if config.group is not None else OTHER_SPLIT
    yield (
        f"{size} of {len(keys)} rows have the same {what} and are all trained on or all held out, so that the parts "
        f"may have other sizes than asked for; {advice}"
    )
