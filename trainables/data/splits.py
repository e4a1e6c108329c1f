"""Which rows are held out, by the hash of their prompt; and in which order several data sets are trained on.

Rows with the same prompt never part, and adding rows moves none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from trainables.config import limits
from trainables.data.errors import DataError

Indices = np.ndarray  # of row numbers


def cut(
    keys: np.ndarray,
    tie: Callable[[int], str],
    fraction: float,
    count: int | None = None,
    most: int | None = None,
) -> tuple[Indices, Indices, Indices]:
    """(train, validation, test) of the rows whose ``keys`` (rows,) are the first eight bytes of their hash.

    Held out is what falls below ``fraction`` of all hashes, or, with ``count``, the ``count`` prompts of the
    smallest hash. They are in the order of their hash, so ``most`` of each half are the same ones whatever the
    file's order (``tie`` orders rows of one prompt); training rows keep the file's order.
    """
    below = _limit(keys, fraction, count)
    held = np.flatnonzero((keys >> np.uint64(16)) < below)
    train = np.flatnonzero((keys >> np.uint64(16)) >= below)
    return train, *halves(keys, held, tie, most)


def halves(
    keys: np.ndarray, held: Indices, tie: Callable[[int], str], most: int | None = None
) -> tuple[Indices, Indices]:
    """The validation and the test half of held-out rows, by a bit of their hash that the cut doesn't use."""
    odd = (keys[held] & np.uint64(1)).astype(bool)
    first, second = (_ordered(keys, held[half], tie)[:most] for half in (~odd, odd))
    return first, second


def _limit(keys: np.ndarray, fraction: float, count: int | None) -> np.uint64:
    if count is None:
        return np.uint64(int(fraction * 2**48))
    prompts = np.unique(keys >> np.uint64(16))
    return prompts[count] if count < len(prompts) else np.uint64(2**48)


def _ordered(keys: np.ndarray, rows: Indices, tie: Callable[[int], str]) -> Indices:
    rows = rows[np.argsort(keys[rows], kind="stable")]
    ordered = keys[rows]
    if len(rows) > 1 and (ordered[1:] == ordered[:-1]).any():
        return np.array(sorted(rows, key=lambda row: (int(keys[row]), tie(int(row)))), dtype=rows.dtype)
    return rows


def interleave(parts: Sequence[Indices], weights: Sequence[float], until: str, seed: int = 0) -> Indices:
    """Rows of several data sets in turn, each drawn with its weight and in its own order.

    ``until`` ``first``: to the end of the first that is used up; ``all``: to the end of the last, the others
    from their beginning again (LLaMA-Factory's ``interleave_under`` and ``interleave_over``).
    """
    generator = np.random.default_rng(seed)
    share = np.array(weights, float) / sum(weights)
    ends = [len(part) / each for part, each in zip(parts, share, strict=True)]
    length = int((min if until == "first" else max)(ends)) + 1
    if length > limits.ROWS:
        raise DataError(
            f"with these weights the last data set is used up after {length:,} rows; at most {limits.ROWS:,}. "
            "Give weights that are less far apart, or mix: interleave_under"
        )
    draws = generator.choice(len(parts), size=length * 2, p=share)
    # How often each has been drawn by then: its next row.
    turns = [np.cumsum(draws == part) for part in range(len(parts))]
    over = [turn >= len(part) for turn, part in zip(turns, parts, strict=True)]
    ended = np.logical_or.reduce(over) if until == "first" else np.logical_and.reduce(over)
    stop = int(np.argmax(ended)) + 1 if ended.any() else len(draws)
    chosen = np.empty(stop, dtype=np.int64)
    for part, rows in enumerate(parts):
        mine = draws[:stop] == part
        chosen[mine] = rows[(turns[part][:stop][mine] - 1) % len(rows)]
    return chosen
