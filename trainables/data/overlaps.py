"""How much of the test rows stands in the training rows all the same: turns, answers, and runs of thirteen words.

The split keeps rows that open alike together. Later turns, and texts that differ in a few words, it can't see.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainables.data.arrow_rows import Rows
from trainables.data.content.turns import Exchange, exchanges, last_exchanges, texts
from trainables.data.rows import Row, row_from_json
from trainables.storage import cache, files
from trainables.system.parallel import map_in_order
from trainables.system.progress import report_progress
from trainables.system.wording import counted

VERSION = 1  # of what is counted; increase it when that changes
BATCH = 2048  # training rows that are looked at at a time
# Two texts are near duplicates if they share so many words in a row (Brown et al., 2020, arXiv:2005.14165, appendix C).
GRAM_WORDS = 13
# A run of words that stands in more rows than this is a form, such as an instruction that many rows begin with; the
# number is that of lm-evaluation-harness's decontamination.
FORM_ROWS = 10
MAX_TEST_ROWS, MAX_TRAINING_ROWS = 1_000, 30_000  # in which runs of words are looked for
MAX_PLACES = 3
# A word, or a character of a script that has no spaces: Thai, Lao, kana, Han.
_UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that its powers never become 0 modulo 2^64


@dataclass(frozen=True)
class Overlaps:
    """Of ``rows`` test rows, how many the training rows hold parts of.

    ``turns``: their last user turn is one of a training row; ``answers``: with the same answer behind it; ``alike``, of
    ``alike_rows`` that were looked at: they share :data:`GRAM_WORDS` words in a row with one of ``training_rows``.
    ``places``: where the first of ``turns`` are, ``alike_places`` those of ``alike``.
    """

    rows: int
    turns: int
    answers: int
    alike: int
    alike_rows: int
    training_rows: int
    places: tuple[str, ...] = ()
    alike_places: tuple[str, ...] = ()

    def warning(self) -> str | None:
        """A sentence on test rows whose question was trained on; ``None`` without any."""
        if not self.turns:
            return None
        verb = "ends" if self.turns == 1 else "end"
        return (
            f"{self.turns} of {counted(self.rows, 'test row')} {verb} with a user turn that stands in a training row "
            f"too, {self.answers} of them with the same answer "
            f"({_listed(self.places, self.turns)}): these measure what was trained on. data.group names a column that "
            "keeps rows which belong together on one side"
        )

    def note(self) -> str | None:
        """A sentence on test rows that resemble a training row; ``None`` without any."""
        if not self.alike:
            return None
        return (
            f"{self.alike} of {counted(self.alike_rows, 'test row')} share {GRAM_WORDS} words in a row with one of "
            f"{counted(self.training_rows, 'training row')} ({_listed(self.alike_places, self.alike)}): near "
            "duplicates may stand on both sides of the split, which data.group prevents"
        )


def find_overlaps(train: Any, test: Any) -> Overlaps | None:
    """The overlaps of rows on disk, computed once and kept in the cache; ``None`` for other rows, or no test rows."""
    if not (isinstance(train, Rows) and isinstance(test, Rows)) or not len(test):
        return None

    key = files.sha256([VERSION, train.identity, test.identity])
    return cache.value("overlaps", key, "overlaps.json", Overlaps, lambda: _count(train, test))


def _count(train: Rows[Any], test: Rows[Any]) -> Overlaps:
    last = [[_hashes(exchange) for exchange in last_exchanges(row)] for row in test]
    compared = test[:MAX_TEST_ROWS]
    grams = [_grams(row) for row in compared]
    wanted = np.unique(np.concatenate(grams)) if grams else np.empty(0, np.uint64)
    step = -(-len(train.distinct) // MAX_TRAINING_ROWS)
    search = _Search(
        _array({turn for each in last for turn, _ in each}),
        _array({both for each in last for _, both in each if both is not None}),
        wanted,
        train.row_type,
        step,
    )
    turns: set[int] = set()
    answered: set[int] = set()
    rows_with = np.zeros(
        len(wanted), np.int64
    )  # the number of training rows that hold each of the wanted runs
    done = 0
    for found_turns, found_answers, held in map_in_order(search, _batches(train)):
        turns.update(found_turns)
        answered.update(found_answers)
        np.add.at(rows_with, held, 1)
        done += BATCH
        report_progress("comparing test rows with training rows", min(done, len(train.distinct)))
    repeated = wanted[(rows_with > 0) & (rows_with <= FORM_ROWS)]
    in_training = [number for number, each in enumerate(last) if any(turn in turns for turn, _ in each)]
    alike = [number for number, each in enumerate(grams) if np.isin(each, repeated).any()]
    return Overlaps(
        rows=len(test),
        turns=len(in_training),
        answers=sum(any(both in answered for _, both in each) for each in last),
        alike=len(alike),
        alike_rows=len(compared),
        training_rows=-(-len(train.distinct) // step),
        places=tuple(test.where(number) for number in in_training[:MAX_PLACES]),
        alike_places=tuple(test.where(number) for number in alike[:MAX_PLACES]),
    )


def _batches(train: Rows[Any]) -> Iterator[tuple[int, list[str]]]:
    """The number of the first row of each batch among the distinct training rows, and the batch's rows as JSON."""
    for start in range(0, len(train.distinct), BATCH):
        yield start, train.table["row"].take(train.distinct[start : start + BATCH]).to_pylist()


@dataclass(frozen=True)
class _Search:
    """What of the test rows a batch of training rows holds; picklable, to run in other processes.

    ``turns``, ``answers`` and ``grams``: hashes, each once, (n,) of uint64. Runs of words are looked for in every
    ``step``-th row.
    """

    turns: np.ndarray
    answers: np.ndarray
    grams: np.ndarray
    row_type: type
    step: int

    def __call__(self, batch: tuple[int, list[str]]) -> tuple[list[int], list[int], np.ndarray]:
        """The turns and the answers that the batch holds, and the place of each run of words, once for each row."""
        start, rows = batch
        turns: set[int] = set()
        answers: set[int] = set()
        places = [np.empty(0, np.int64)]
        for number, text in enumerate(rows, start=start):
            row: Row = row_from_json(text, self.row_type)
            for exchange in exchanges(row):
                turn, both = _hashes(exchange)
                turns.add(turn)
                if both is not None:
                    answers.add(both)
            if len(self.grams) and number % self.step == 0:
                own = np.unique(_grams(row))
                places.append(np.flatnonzero(np.isin(self.grams, own, assume_unique=True)))
        return _among(turns, self.turns), _among(answers, self.answers), np.concatenate(places)


def _among(found: set[int], wanted: np.ndarray) -> list[int]:
    return [int(each) for each in np.intersect1d(_array(found), wanted)]


def _array(hashes: set[int]) -> np.ndarray:
    """(hashes,) of uint64: from a list, numpy would make floats of whole numbers from 2^63 on."""
    return np.fromiter(hashes, np.uint64, len(hashes))


def _hashes(exchange: Exchange) -> tuple[int, int | None]:
    """64 bits for the turn, and for the turn with its answer: equal by chance once in 10^10 pairs of 10^9 turns."""
    turn, answer = exchange
    return _hash(turn), None if answer is None else _hash(f"{turn}\0{answer}")


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _grams(row: Row) -> np.ndarray:
    """A hash of every run of :data:`GRAM_WORDS` words of the row's texts, of 64 bits: (runs,)."""
    return np.concatenate([np.empty(0, np.uint64), *map(_runs, texts(row))])


def _runs(text: str) -> np.ndarray:
    words = _WORD.findall(text)
    if len(words) < GRAM_WORDS:
        return np.empty(0, np.uint64)
    codes = np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words], np.uint64)
    count = len(words) - GRAM_WORDS + 1
    hashes = np.zeros(count, np.uint64)
    # A polynomial of the words' codes modulo 2^64, which unsigned integers wrap to.
    for offset in range(GRAM_WORDS):
        hashes = hashes * _BASE + codes[offset : offset + count]
    return hashes


def _listed(places: Sequence[str], count: int) -> str:
    return ", ".join([*places, *(["..."] if count > len(places) else [])])
