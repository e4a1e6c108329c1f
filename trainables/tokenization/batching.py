"""Order of the training examples, and how they share the rows of a batch: the same for every method and stage.

Every epoch is a permutation that the seed decides. Padding is kept low: short examples of a batch share a row; on
request, examples of similar length form a batch, or examples are packed into rows up to the cutoff.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np

# Number of batches whose rows are sorted together. At most a quarter of an epoch, or rows of one length would meet in
# every epoch (as in transformers' LengthGroupedSampler).
WINDOW = 16
# In tokens: up to about this length, attention (quadratic in a row's length) is a small part of the work.
SHORT_ROW = 256
# What each token to attend to costs on a CPU, by what all else of a token costs: measured with eager attention and
# SmolLM2-135M, where attention over 225 tokens took a third of the time of a layer's products.
CPU_WIDTH_COST = 1 / 1000
SAMPLED_BATCHES = 2000
ROW_COUNTS_TRIED = 8  # numbers of rows over which examples are spread
PACKING_WINDOW = 2048  # examples that are packed together


def example_order(
    lengths: np.ndarray, count: int, batch: int, seed: int, by_length: bool = False
) -> np.ndarray:
    """The example at each of ``count`` places of a training run, ``batch`` of them per step: (count,).

    ``lengths`` (examples,) in tokens. With ``by_length`` the batch with the longest example comes first: running out
    of memory shows in step 1, not in step 900.
    """
    drawn = _drawn(len(lengths), count, seed)
    if not by_length:
        return drawn
    # A stream of its own: grouping by length must not change which examples are drawn.
    generator = np.random.default_rng([seed, 1])
    # In examples: WINDOW batches, but at most a quarter of the epoch, and at least one batch.
    window = batch * max(1, min(WINDOW, len(lengths) // (4 * batch)))
    windows = [
        _grouped_by_length(drawn[start : start + window], lengths, batch, generator)
        for start in range(0, count, window)
    ]
    return _longest_first(np.concatenate(windows), lengths, batch)


def _drawn(examples: int, count: int, seed: int) -> np.ndarray:
    """One permutation of the examples per epoch, up to ``count`` places."""
    generator = np.random.default_rng(seed)
    # The number of epochs is rounded up: the last one is usually cut.
    epochs = [generator.permutation(examples) for _ in range(-(-count // examples))]
    return np.concatenate(epochs)[:count]


def _grouped_by_length(
    drawn: np.ndarray, lengths: np.ndarray, batch: int, generator: np.random.Generator
) -> np.ndarray:
    """The examples in batches of similar length, the batches in random order."""
    by_length = drawn[np.argsort(-lengths[drawn], kind="stable")]
    batches = [by_length[start : start + batch] for start in range(0, len(by_length), batch)]
    return np.concatenate([batches[place] for place in generator.permutation(len(batches))])


def _longest_first(order: np.ndarray, lengths: np.ndarray, batch: int) -> np.ndarray:
    # The first place of the batch that has the longest example.
    start = int(np.argmax(lengths[order])) // batch * batch
    return np.concatenate([order[start : start + batch], order[:start], order[start + batch :]])


def worker_shares(places: Sequence[int], batch: int, workers: int, rank: int) -> list[list[int]]:
    """The places of each batch that worker ``rank`` trains on; all workers get equally many, a remainder is dropped.

    >>> worker_shares([5, 6, 7, 8, 9, 4], 4, workers=2, rank=1)
    [[7, 8], [4]]
    """
    shares = []
    for start in range(0, len(places), batch):
        of_batch = places[start : start + batch]
        size = len(of_batch) // workers
        shares.append(list(of_batch[rank * size : (rank + 1) * size]))
    return shares


def width_cost(device: str) -> float:
    """What each token of a row's width adds to the work on each of its tokens, by device; see :func:`shared_rows`."""
    return CPU_WIDTH_COST if device == "cpu" else 0.0


def padding_share(lengths: np.ndarray, batch: int, shared: bool = False, width_cost: float = 0.0) -> float:
    """The share of padding among all tokens of batches of ``batch`` examples in this order, from 0 to 1.

    ``lengths`` (examples,), or (examples, sequences): a row of a preference stage is two sequences, padded to one
    length. ``shared``: examples share rows, see :func:`shared_rows`, also for ``width_cost``. Of many batches some two
    thousand are sampled.

    >>> padding_share(np.array([4, 2]), 2)
    0.25
    """
    starts = list(range(0, len(lengths), batch))
    # Every n-th batch, with n rounded up, so that at most SAMPLED_BATCHES remain.
    starts = starts[:: -(-len(starts) // SAMPLED_BATCHES)]
    groups = [lengths[start : start + batch] for start in starts]
    tokens = sum(int(group.sum()) for group in groups)
    if shared:
        padded = sum(_padded_tokens(shared_rows(group, width_cost), group) for group in groups)
    else:
        padded = sum(int(group.max()) * group.size for group in groups)
    return 1 - tokens / padded


def shared_rows(lengths: np.ndarray, width_cost: float = 0.0) -> list[list[int]]:
    """Which examples of a batch share a row, so that the work is least; of equally good ways, the shortest rows.

    The work is that on all tokens, padding included, and more by ``width_cost`` for each token of a row's width, over
    which a token attends. A row is at most as long as the longest example or, if that is more, ``SHORT_ROW`` tokens.

    >>> shared_rows(np.array([90, 50, 40]))
    [[0], [1, 2]]
    >>> shared_rows(np.array([30, 29, 28, 27]), width_cost=1 / 100)
    [[0], [1], [2], [3]]
    """
    capacity = max(SHORT_ROW, int(lengths.max()))
    fewest = -(-int(lengths.sum()) // capacity)
    # The greedy spreading may not find a way into the fewest rows, so some more are tried.
    most = min(len(lengths), fewest + ROW_COUNTS_TRIED)
    candidates = [_spread(lengths, rows) for rows in range(fewest, most + 1)]
    fitting = [rows for rows in candidates if _longest(rows, lengths) <= capacity]
    # A row for each example always fits, as the capacity is at least the longest one.
    unshared = [[place] for place in range(len(lengths))]

    def work(rows: list[list[int]]) -> tuple[float, int]:
        width = _longest(rows, lengths)
        return len(rows) * width * (1 + width_cost * width), width

    return min([unshared, *fitting], key=work)


def _spread(lengths: np.ndarray, rows: int) -> list[list[int]]:
    """The examples spread over ``rows`` rows: the longest first, each to the shortest row (LPT; Graham, 1969)."""
    spread: list[list[int]] = [[] for _ in range(rows)]
    filled = [0] * rows
    for place in np.argsort(-lengths, kind="stable").tolist():
        row = filled.index(min(filled))
        spread[row].append(place)
        filled[row] += int(lengths[place])
    return spread


def _longest(rows: list[list[int]], lengths: np.ndarray) -> int:
    return max(int(lengths[row].sum()) for row in rows)


def _padded_tokens(rows: list[list[int]], lengths: np.ndarray) -> int:
    """The tokens of the batch, padding included."""
    return len(rows) * _longest(rows, lengths)


def pack_examples(lengths: np.ndarray, capacity: int, count: int, seed: int) -> list[np.ndarray]:
    """``count`` packs of examples with at most ``capacity`` tokens together.

    Epoch after epoch is shuffled; some two thousand examples at a time are packed by :func:`best_fit`, and their packs
    shuffled, since best fit puts the fullest first.
    """
    generator = np.random.default_rng([seed, 2])
    packs: list[np.ndarray] = []
    epoch = 0
    while len(packs) < count:
        # By epoch, so that its order doesn't depend on how many packs the epochs before it gave.
        shuffled = np.random.default_rng([seed, 3, epoch]).permutation(len(lengths))
        for start in range(0, len(shuffled), PACKING_WINDOW):
            window = best_fit(lengths, shuffled[start : start + PACKING_WINDOW], capacity)
            packs += [window[place] for place in generator.permutation(len(window))]
            if len(packs) >= count:
                break
        epoch += 1
    return packs[:count]


def best_fit(lengths: np.ndarray, examples: Sequence[int] | np.ndarray, capacity: int) -> list[np.ndarray]:
    """The examples in packs of at most ``capacity`` tokens: the longest first, each into the fullest pack it fits in.

    Best-fit decreasing (Johnson, 1974; for packing rows: Ding et al., 2024, arXiv:2404.10830).

    >>> [pack.tolist() for pack in best_fit(np.array([6, 5, 4, 3]), [0, 1, 2, 3], 10)]
    [[0, 2], [1, 3]]
    """
    open_packs: list[tuple[int, int]] = []  # (free tokens, number of the pack), sorted
    packs: list[list[int]] = []
    for example in sorted(map(int, examples), key=lambda example: -lengths[example]):
        needed = int(lengths[example])
        # The first pack with enough free tokens is the fullest of them; -1 is below every pack's number.
        place = bisect_left(open_packs, (needed, -1))
        if place < len(open_packs):
            free, pack = open_packs.pop(place)
            packs[pack].append(example)
        else:
            free, pack = capacity, len(packs)
            packs.append([example])
        if free > needed:
            insort(open_packs, (free - needed, pack))
    return [np.array(pack) for pack in packs]


def fill_longest_first(lengths: np.ndarray, capacity: int) -> list[int]:
    """The longest example, then repeatedly the longest one that still fits, up to ``capacity`` tokens together.

    >>> fill_longest_first(np.array([6, 5, 3]), 10)
    [0, 2]
    """
    by_length = np.argsort(-lengths, kind="stable")
    chosen: list[int] = []
    while True:
        # An example may be chosen again: the pack is to be full even if there are few examples.
        fitting = by_length[lengths[by_length] <= capacity]
        if not len(fitting):
            return chosen
        chosen.append(int(fitting[0]))
        capacity -= int(lengths[fitting[0]])
