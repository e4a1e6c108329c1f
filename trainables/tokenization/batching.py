"""Which examples are trained on, in which order, and how they share a batch: the same for every method and stage.

Every epoch is a permutation that the seed decides. Little of a batch need be padding: short examples share one of its
rows, whatever comes together; by wish, examples of like length come together, or as many as fill rows to the cutoff.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np

# Batches whose rows are sorted among one another. Never more than a quarter of an epoch, or rows of one length would
# meet in every epoch (as in transformers' LengthGroupedSampler).
WINDOW = 16
SHORT_ROW = (
    256  # tokens; up to about here attention, which costs the square of a row, is little beside all else
)
LOOKED_AT = 2000  # batches
TRIED = 8  # numbers of rows that examples are spread over
PACKED_AT_ONCE = 2048  # examples that are packed among one another


def order(lengths: np.ndarray, count: int, batch: int, seed: int, by_length: bool = False) -> np.ndarray:
    """The examples of ``count`` places of a training run, ``batch`` of them at a time: (count,).

    ``lengths`` (examples,) in tokens. With ``by_length`` the batch of the longest row comes first: running out of
    memory shows in step 1, not in step 900.
    """
    drawn = _drawn(len(lengths), count, seed)
    if not by_length:
        return drawn
    generator = np.random.default_rng([seed, 1])
    window = batch * max(1, min(WINDOW, len(lengths) // (4 * batch)))
    found = [
        _matched(drawn[start : start + window], lengths, batch, generator)
        for start in range(0, count, window)
    ]
    return _longest_first(np.concatenate(found), lengths, batch)


def _drawn(examples: int, count: int, seed: int) -> np.ndarray:
    """Permutation after permutation, up to ``count``."""
    generator = np.random.default_rng(seed)
    epochs = [generator.permutation(examples) for _ in range(-(-count // examples))]
    return np.concatenate(epochs)[:count]


def _matched(
    drawn: np.ndarray, lengths: np.ndarray, batch: int, generator: np.random.Generator
) -> np.ndarray:
    """The examples sorted into batches of like length, the batches in random order."""
    ordered = drawn[np.argsort(-lengths[drawn], kind="stable")]
    batches = [ordered[start : start + batch] for start in range(0, len(ordered), batch)]
    return np.concatenate([batches[place] for place in generator.permutation(len(batches))])


def _longest_first(found: np.ndarray, lengths: np.ndarray, batch: int) -> np.ndarray:
    start = int(np.argmax(lengths[found])) // batch * batch
    return np.concatenate([found[start : start + batch], found[:start], found[start + batch :]])


def shares(places: Sequence[int], batch: int, workers: int, rank: int) -> list[list[int]]:
    """The worker's share of each batch, all of them equal: the places, ``batch`` of them at a time, which go in turn.

    >>> shares([5, 6, 7, 8, 9, 4], 4, workers=2, rank=1)
    [[7, 8], [4]]
    """
    found = []
    for start in range(0, len(places), batch):
        together = places[start : start + batch]
        own = len(together) // workers
        found.append(list(together[rank * own : (rank + 1) * own]))
    return found


def padding_share(lengths: np.ndarray, batch: int, shared: bool = False) -> float:
    """The share of padding among all tokens of batches of ``batch`` examples in this order.

    ``lengths`` (examples,), or (examples, sequences): a row of a preference stage is two sequences, padded alike.
    ``shared``: examples share rows, see :func:`shared_rows`. Of very many batches, some two thousand are looked at.

    >>> padding_share(np.array([4, 2]), 2)
    0.25
    """
    starts = list(range(0, len(lengths), batch))
    starts = starts[:: -(-len(starts) // LOOKED_AT)]
    groups = [lengths[start : start + batch] for start in starts]
    tokens = sum(int(group.sum()) for group in groups)
    if shared:
        taken = sum(_area(shared_rows(group), group) for group in groups)
    else:
        taken = sum(int(group.max()) * group.size for group in groups)
    return 1 - tokens / taken


def shared_rows(lengths: np.ndarray) -> list[list[int]]:
    """Which examples share a row, so that the least of the batch is padding; of as good ones the shortest rows.

    A row is as long as the longest example, or a short one (``SHORT_ROW``).

    >>> shared_rows(np.array([90, 50, 40]))
    [[0], [1, 2]]
    """
    room = max(SHORT_ROW, int(lengths.max()))
    fewest = -(-int(lengths.sum()) // room)
    found = [_spread(lengths, rows) for rows in range(fewest, min(len(lengths), fewest + TRIED) + 1)]
    fitting = [rows for rows in found if _longest(rows, lengths) <= room]
    whole = [[place] for place in range(len(lengths))]
    return min([whole, *fitting], key=lambda rows: (_area(rows, lengths), _longest(rows, lengths)))


def _spread(lengths: np.ndarray, rows: int) -> list[list[int]]:
    """The examples over so many rows, each to the shortest, the longest first (LPT; Graham, 1969)."""
    spread: list[list[int]] = [[] for _ in range(rows)]
    filled = [0] * rows
    for place in np.argsort(-lengths, kind="stable").tolist():
        row = filled.index(min(filled))
        spread[row].append(place)
        filled[row] += int(lengths[place])
    return spread


def _longest(rows: list[list[int]], lengths: np.ndarray) -> int:
    return max(int(lengths[row].sum()) for row in rows)


def _area(rows: list[list[int]], lengths: np.ndarray) -> int:
    """The tokens of the batch, padding included."""
    return len(rows) * _longest(rows, lengths)


def packs(lengths: np.ndarray, room: int, count: int, seed: int) -> list[np.ndarray]:
    """``count`` groups of examples that fit into ``room`` tokens together: best fit, the longest first.

    Some two thousand examples, as they are drawn, are packed among one another, and their packs shuffled.
    """
    generator = np.random.default_rng([seed, 2])
    found: list[np.ndarray] = []
    epoch = 0
    while len(found) < count:
        drawn = np.random.default_rng([seed, 3, epoch]).permutation(len(lengths))
        for start in range(0, len(drawn), PACKED_AT_ONCE):
            packed = best_fit(lengths, drawn[start : start + PACKED_AT_ONCE], room)
            found += [packed[place] for place in generator.permutation(len(packed))]
            if len(found) >= count:
                break
        epoch += 1
    return found[:count]


def best_fit(lengths: np.ndarray, examples: Sequence[int] | np.ndarray, room: int) -> list[np.ndarray]:
    """The examples in packs of at most ``room`` tokens: each into the fullest pack that still takes it.

    Best-fit decreasing (Johnson, 1974; for packing rows: Ding et al., 2024, arXiv:2404.10830).

    >>> [pack.tolist() for pack in best_fit(np.array([6, 5, 4, 3]), [0, 1, 2, 3], 10)]
    [[0, 2], [1, 3]]
    """
    open_packs: list[tuple[int, int]] = []  # (room left, which pack), sorted
    packed: list[list[int]] = []
    for example in sorted(map(int, examples), key=lambda each: -lengths[each]):
        need = int(lengths[example])
        place = bisect_left(open_packs, (need, -1))
        if place < len(open_packs):
            left, pack = open_packs.pop(place)
            packed[pack].append(example)
        else:
            left, pack = room, len(packed)
            packed.append([example])
        if left > need:
            insort(open_packs, (left - need, pack))
    return [np.array(each) for each in packed]


def filling(lengths: np.ndarray, room: int) -> list[int]:
    """The longest example, and after it, again and again, the longest that still fits into ``room`` tokens.

    >>> filling(np.array([6, 5, 3]), 10)
    [0, 2]
    """
    ordered = np.argsort(-lengths, kind="stable")
    found: list[int] = []
    while True:
        fitting = ordered[lengths[ordered] <= room]
        if not len(fitting):
            return found
        found.append(int(fitting[0]))
        room -= int(lengths[fitting[0]])
