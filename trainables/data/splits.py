"""Splits rows by the hash of their prompt, and mixes several data sets.

Rows with the same prompt stay together, and adding rows moves no other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from trainables.config import limits
from trainables.config.data import DataConfig
from trainables.data.errors import DataError
from trainables.system.wording import counted

Indices = np.ndarray  # of row numbers
LEAST = 2  # prompts that are held out: one for validation, one for the test


def split_rows(
    keys: np.ndarray,
    row_text: Callable[[int], str],
    fraction: float,
    count: int | None = None,
    max_rows: int | None = None,
) -> tuple[Indices, Indices, Indices]:
    """Row numbers of the training, validation and test part.

    ``keys`` (rows,): the first eight bytes of the hash of each row's prompt. Held out are the prompts whose hash is
    below ``fraction`` of all hashes or, with ``count``, the ``count`` prompts with the smallest hashes; of three
    prompts or more at least :data:`LEAST`, so that both halves have rows. Held-out rows are in the order of their
    hashes, rows of one prompt in that of ``row_text``; so the ``max_rows`` of each half do not depend on the file's
    order. Training rows keep the file's order.
    """
    # The upper 48 bits decide whether a row is held out; the lowest bit decides between validation and test.
    threshold = _threshold(keys, fraction, count)
    if (count or fraction) and len(np.unique(keys)) > LEAST:
        threshold = max(threshold, _threshold(keys, fraction, LEAST))
    held_out = np.flatnonzero((keys >> np.uint64(16)) < threshold)
    train = np.flatnonzero((keys >> np.uint64(16)) >= threshold)
    return train, *split_halves(keys, held_out, row_text, max_rows)


def split_halves(
    keys: np.ndarray,
    held_out: Indices,
    row_text: Callable[[int], str],
    max_rows: int | None = None,
) -> tuple[Indices, Indices]:
    """The validation and the test half of held-out rows, by a bit of their hash that holding out doesn't use.

    Where all prompts of a few rows have the same bit, every other prompt is in the test half.
    """
    is_odd = _is_odd(keys[held_out])
    if is_odd.all() or not is_odd.any():
        # (rows,) the place of each row's prompt in the order of their hashes.
        is_odd = np.searchsorted(np.unique(keys[held_out]), keys[held_out]) % 2 == 1
    validation, test = (by_hash(keys, held_out[half], row_text)[:max_rows] for half in (~is_odd, is_odd))
    return validation, test


def _is_odd(keys: np.ndarray) -> np.ndarray:
    return (keys & np.uint64(1)).astype(bool)


def few_held_out(config: DataConfig, keys: np.ndarray, validation: int, test: int) -> str | None:
    """A sentence where ``eval_fraction`` of few rows alone would leave a half of the held-out rows without any.

    ``keys`` (rows,): the hashes of what keeps rows together. ``validation``, ``test``: the rows of the two halves.
    """
    if config.eval_names or config.eval_count or not config.holds_out:
        return None
    below = keys[(keys >> np.uint64(16)) < _threshold(keys, config.eval_fraction, None)]
    is_odd = _is_odd(below)
    if is_odd.any() and not is_odd.all():
        return None
    held_out = max(LEAST, len(np.unique(below)))
    parts = f"{counted(validation, 'validation row')} and {counted(test, 'test row')}"
    return (
        f"eval_fraction {config.eval_fraction} of {counted(len(keys), 'row')} would leave a half of the held-out rows "
        f"empty, so {parts} are held out, as eval_count: {held_out} does; scores on so few rows say little"
    )


def held_out_setting(config: DataConfig) -> tuple[str, object]:
    """The setting that says which rows are held out, and its value."""
    if config.eval_names:
        return "eval", ", ".join(config.eval_names)
    return ("eval_count", config.eval_count) if config.eval_count else ("eval_fraction", config.eval_fraction)


def split_advice(config: DataConfig, part: str, what: str, keys: np.ndarray, held_out: np.ndarray) -> str:
    """What to do about a part without rows. ``what``: a row's prompt, or its text.

    ``keys`` and ``held_out`` (rows,): the rows' hashes, and which of them ``data.eval`` holds out.
    """
    if config.eval_names and part == "training":
        return f"each {what} is among the held-out rows, which are never trained on; give others to hold out"
    count = len(np.unique(keys[held_out] if config.eval_names else keys))
    rows = int(held_out.sum()) if config.eval_names else len(keys)
    same = f"all {rows} rows have the same {what}" if rows > 1 else f"there is one {what} alone"
    have = same if count == 1 else f"there are {count} {what}s"
    if config.eval_names:
        return f"{have}, and its two halves, validation and test, share no {what}; give held-out rows of more {what}s"
    if count == 1:
        return f"{have}, and rows are held out by their {what}; give rows of other {what}s in data.eval"
    if count <= LEAST:
        return (
            f"{have}, too few to hold some out; give more rows, or held-out rows in data.eval, or train on all rows "
            "without measuring quality: eval_fraction: 0"
        )
    # As many hundredths as leave out the largest hash, whose rows are then trained on.
    share = int(keys.max() >> np.uint64(16)) * 100 // 2**48
    fractions = f" or eval_fraction: {share / 100:g} at most" if share else ""
    return (
        f"{have}, of which eval_count: {count - 1}{fractions} leaves some; or give held-out rows in data.eval"
    )


def samples_of(counts: int | Sequence[int] | None, source: int) -> int | None:
    """How many rows are drawn of the data set of that number; of counts by data set, all of those that have none.

    >>> [samples_of([5, 3], source) for source in range(3)], samples_of(4, 2)
    ([5, 3, None], 4)
    """
    if counts is None or isinstance(counts, int):
        return counts
    return counts[source] if source < len(counts) else None


def sampled_rows(sources: np.ndarray, count: int | Sequence[int] | None, seed: int) -> Indices:
    """The numbers of ``count`` rows of each data set, drawn by ``seed``, in the rows' order; all without ``count``.

    ``sources`` (rows,): the data set of each row; ``count`` may be of each of them. By one seed, a larger sample of the
    same rows contains a smaller.

    >>> sampled_rows(np.array([0, 0, 0, 1]), 1, seed=0).tolist()
    [2, 3]
    """
    if count is None:
        return np.arange(len(sources))
    drawn = []
    for source in np.unique(sources):
        rows = np.random.default_rng([seed, source]).permutation(np.flatnonzero(sources == source))
        drawn.append(rows[: samples_of(count, int(source))])
    return np.sort(np.concatenate(drawn)) if drawn else np.arange(0)


def _threshold(keys: np.ndarray, fraction: float, count: int | None) -> np.uint64:
    if count is None:
        return np.uint64(int(fraction * 2**48))
    prompts = np.unique(keys >> np.uint64(16))
    # `prompts` is sorted, so exactly `count` of them lie below the one at place `count`.
    return prompts[count] if count < len(prompts) else np.uint64(2**48)


def by_hash(keys: np.ndarray, rows: Indices, row_text: Callable[[int], str]) -> Indices:
    """The rows in the order of their hashes, rows of one hash in that of their texts."""
    rows = rows[np.argsort(keys[rows], kind="stable")]
    sorted_keys = keys[rows]
    # Rows of one prompt tie. Only then are texts read, since reading them from the table is slow.
    if len(rows) > 1 and (sorted_keys[1:] == sorted_keys[:-1]).any():
        return np.array(sorted(rows, key=lambda row: (int(keys[row]), row_text(int(row)))), dtype=rows.dtype)
    return rows


def interleave(parts: Sequence[Indices], weights: Sequence[float], until: str, seed: int = 0) -> Indices:
    """Rows of several data sets in turn: the data set of each row is drawn by weight, its rows stay in order.

    ``until`` ``"first"`` ends with the first data set that is used up; ``"all"`` with the last one, while the others
    begin again (LLaMA-Factory's ``interleave_under`` and ``interleave_over``). Raises :class:`DataError` if that
    would take more than :data:`limits.ROWS` rows.
    """
    generator = np.random.default_rng(seed)
    shares = np.array(weights, float) / sum(weights)
    expected_ends = [len(part) / share for part, share in zip(parts, shares, strict=True)]
    length = int((min if until == "first" else max)(expected_ends)) + 1
    if length > limits.ROWS:
        raise DataError(
            f"with these weights the last data set is used up after {length:,} rows; the limit is {limits.ROWS:,}. "
            "Give weights that differ less, or set mix: interleave_under"
        )
    # Data set i is used up after about len / share draws; there are twice as many, as chance may take longer.
    draws = generator.choice(len(parts), size=length * 2, p=shares)  # (draws,) the data set of each row
    # (data sets, draws): how often each has been drawn up to and including that draw.
    drawn = [np.cumsum(draws == part) for part in range(len(parts))]
    used_up = [counts >= len(part) for counts, part in zip(drawn, parts, strict=True)]
    ended = np.logical_or.reduce(used_up) if until == "first" else np.logical_and.reduce(used_up)
    # argmax finds the first True; if the end is never reached, all draws are used.
    stop = int(np.argmax(ended)) + 1 if ended.any() else len(draws)
    mixed = np.empty(stop, dtype=np.int64)
    for part, rows in enumerate(parts):
        from_part = draws[:stop] == part
        # The n-th draw of a data set takes its n-th row, and begins again after its last one.
        mixed[from_part] = rows[(drawn[part][:stop][from_part] - 1) % len(rows)]
    return mixed
