"""Rows as tokens: encoded once for each tokenizer, template, cutoff and stage, cached on disk and memory-mapped.

tokens = tokenize_rows(SFT(), tokenizer, data.train, cutoff=1024)
tokens.lengths.max(), tokens[0].answer

The tokens of rows on disk (``data.arrow_rows.Rows``) are in ``PARETUNE_HOME/tokens``. Whatever they depend on is hashed
into the folder's name, so other inputs get another folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainables.data.arrow_rows import Rows
from trainables.data.rows import row_from_json
from trainables.storage import cache, files
from trainables.system.parallel import map_in_order
from trainables.system.progress import report_progress
from trainables.system.recent import Recent
from trainables.templates import TemplateError
from trainables.templates.control_tokens import end_tokens
from trainables.templates.settings import settings_of
from trainables.tokenization.deferred_tokenizer import AnyTokenizer, DeferredTokenizer, loaded
from trainables.tokenization.encode import IGNORED, Encoded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VERSION = 8  # of the encoding's result; increase it when that changes, and cached tokens are made anew
BATCH = 1024  # rows encoded at a time
SCHEMA = pa.schema(
    [
        ("row", pa.int64()),  # number of the row among the distinct rows; ascending
        ("input_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
        ("prompt_tokens", pa.int32()),
        ("truncated", pa.bool_()),
        ("remarks", pa.list_(pa.string())),
    ]
)

recent_tables = Recent[str, pa.Table](size=16)  # memory-mapped, by the hash of all that they depend on
# Of each entry of these tables, how many of its tokens have a label.
recent_labels = Recent[str, np.ndarray](size=16)


class RowEncoder(Protocol):
    """A training stage, as far as it encodes rows: what tokens depend on besides rows and tokenizer."""

    encoding: ClassVar[tuple[str, ...]]  # names of the stage's settings that tokens depend on

    @property
    def kind(self) -> str: ...

    @property
    def nothing_left(self) -> str:
        """Why a row may have no examples, as a clause."""

    def encode(self, tokenizer: PreTrainedTokenizerBase, row: Any, cutoff: int) -> list[Encoded]:
        """A row's training examples, with labels on the tokens that have a loss."""

    def encode_scored(self, tokenizer: PreTrainedTokenizerBase, row: Any, cutoff: int) -> list[Encoded]:
        """A row's examples for evaluation, with labels on the tokens that are scored."""


class Tokens(Sequence[Encoded]):
    """The examples of some rows, one or more of each, in the rows' order; read when they are asked for.

    ``entries`` (examples,): the place of each example in the table. ``rows`` (examples,): the number of its row.
    """

    def __init__(
        self,
        table: pa.Table,
        entries: np.ndarray,
        rows: np.ndarray,
        remarks: Mapping[str, np.ndarray],
        key: str | None = None,
    ) -> None:
        """``remarks``: for each remark the numbers of the rows that it is true of, ascending: (remarked rows,).
        ``key``: of the table among recent ones.
        """
        self.table, self.entries, self.rows, self.remarks, self.key = table, entries, rows, remarks, key

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, place: int) -> Encoded: ...
    @overload
    def __getitem__(self, place: slice) -> Tokens: ...
    def __getitem__(self, place: int | slice) -> Encoded | Tokens:
        if isinstance(place, slice):
            return Tokens(self.table, self.entries[place], self.rows[place], self.remarks, self.key)
        entry = int(self.entries[place])
        ids, labels, prompt_tokens, truncated, remarks = (
            self.table[name][entry].as_py() for name in SCHEMA.names[1:]
        )
        return Encoded(ids, labels, prompt_tokens, truncated, tuple(remarks))

    def __iter__(self) -> Iterator[Encoded]:
        return (self[place] for place in range(len(self)))

    @cached_property
    def lengths(self) -> np.ndarray:
        """The number of tokens of each example: (examples,)."""
        return pc.list_value_length(self.table["input_ids"]).to_numpy()[self.entries]

    @cached_property
    def truncated(self) -> np.ndarray:
        """Whether each example was cut to fit the cutoff: (examples,) of bool."""
        return self.table["truncated"].to_numpy()[self.entries]

    @cached_property
    def labels(self) -> np.ndarray:
        """The number of tokens of each example that have a label: (examples,). Reads all labels."""
        if self.key is None:
            return _count_labels(self.table)[self.entries]
        return recent_labels.get(self.key, lambda: _count_labels(self.table))[self.entries]

    def learned(self, place: int) -> int:
        """The number of an example's tokens that have a label."""
        return sum(label != IGNORED for label in self.table["labels"][int(self.entries[place])].as_py())


def tokenize_rows(
    stage: RowEncoder,
    tokenizer: AnyTokenizer,
    rows: Sequence[Any],
    cutoff: int,
    scoring: bool = False,
) -> Tokens:
    """The rows encoded for training or, if ``scoring``, for evaluation; at most ``cutoff`` tokens an example.

    Raises ``TemplateError`` for a row that can't be rendered or encoded, with its place.
    """

    def encoder() -> Encoder:
        return Encoder(stage, loaded(tokenizer), cutoff, scoring)

    # Rows in memory have no identity to be cached by.
    if not isinstance(rows, Rows):
        with _errors_at(lambda number: f"row {number + 1}"):
            batches = list(_encoded(encoder(), rows))
        return _tokens_of(pa.Table.from_batches(batches, SCHEMA), np.arange(len(rows)))
    settings = [stage.kind, scoring, {name: getattr(stage, name) for name in stage.encoding}]
    key = files.sha256([VERSION, rows.identity, tokenizer_identity(tokenizer), cutoff, settings])
    table = recent_tables.get(key, lambda: _cached_table(key, encoder, rows))
    # The table has distinct rows alone: one that mixing repeats is encoded once and found by its number.
    return _tokens_of(table, np.searchsorted(rows.distinct, rows.indices), key)


def _cached_table(key: str, encoder: Callable[[], Encoder], rows: Rows[Any]) -> pa.Table:
    """The examples of the distinct rows, encoded unless the cache folder has them, and memory-mapped."""

    def write(folder: Path) -> None:
        column = rows.table["row"]
        # Passed on as JSON, so that decoding happens in the worker processes.
        texts = (column[int(row)].as_py() for row in rows.distinct)
        with pa.OSFile(str(folder / "tokens.arrow"), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            for batch in _encoded(encoder(), texts, rows.row_type, len(rows.distinct)):
                writer.write_batch(batch)

    with _errors_at(lambda number: str(rows.table["where"][int(rows.distinct[number])])):
        return cache.opened("tokens", key, write, _mapped)


def _mapped(folder: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(folder / "tokens.arrow"))).read_all()


class RowError(Exception):
    """An error at the row of this number; the number and the message, so that it can be pickled."""


@contextmanager
def _errors_at(where: Callable[[int], str]) -> Iterator[None]:
    """Turns :class:`RowError` into ``TemplateError`` with the row's place, ``where`` of its number."""
    try:
        yield
    except RowError as error:
        number, message = error.args
        raise TemplateError(f"{where(number)}: {message}") from None


def _tokens_of(table: pa.Table, numbers: np.ndarray, key: str | None = None) -> Tokens:
    """The examples of some rows; ``numbers`` (rows,) are the rows' numbers in the table's column ``row``.

    An entry without tokens stands for a row that has no example, and is left out of them.
    """
    numbers_in_table = table["row"].to_numpy()  # (examples,), ascending: a row's examples are neighbours
    first = np.searchsorted(numbers_in_table, numbers, "left")
    counts = np.searchsorted(numbers_in_table, numbers, "right") - first  # (rows,) examples of each row
    rows = np.repeat(np.arange(len(numbers)), counts)
    # 0, 1, 2, ... within the examples of each row.
    within_row = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    entries = np.repeat(first, counts) + within_row
    kept = pc.list_value_length(table["input_ids"]).to_numpy()[entries] > 0
    return Tokens(table, entries[kept], rows[kept], _remarks_of(table, entries, rows), key)


def _count_labels(table: pa.Table) -> np.ndarray:
    """How many labels each entry has: (entries,)."""
    counts = [np.zeros(0, np.int64)]
    for chunk in table["labels"].chunks:
        ends = chunk.offsets.to_numpy()  # (entries + 1,)
        learned = np.cumsum(chunk.values.to_numpy()[ends[0] : ends[-1]] != IGNORED)
        before = np.concatenate(([0], learned))[ends - ends[0]]
        counts.append(np.diff(before))
    return np.concatenate(counts)


def _remarks_of(table: pa.Table, entries: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of each remark, those of a remark on more rows first."""
    remarks = table["remarks"].combine_chunks()
    counts = pc.list_value_length(remarks).to_numpy()
    found: dict[str, set[int]] = {}
    # Most rows have none.
    for place in np.flatnonzero(counts[entries]):
        for remark in remarks[int(entries[place])].as_py():
            found.setdefault(remark, set()).add(int(rows[place]))
    ordered = sorted(found.items(), key=lambda item: -len(item[1]))
    return {remark: np.array(sorted(numbers)) for remark, numbers in ordered}


def _encoded(
    encoder: Encoder, rows: Iterable[Any], row_type: type | None = None, total: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Batches of examples. If ``row_type`` is given, ``rows`` are JSON texts (``rows.row_to_json``) of that type."""
    done = 0
    for batch in map_in_order(encoder, _batches(rows, row_type)):
        yield batch
        if total is not None:
            done = min(done + BATCH, total)
            report_progress("tokenizing rows", done, total)


def _batches(rows: Iterable[Any], row_type: type | None) -> Iterator[tuple[int, list[Any], type | None]]:
    rows, start = iter(rows), 0
    while batch := list(islice(rows, BATCH)):
        yield start, batch, row_type
        start += len(batch)


class Encoder:
    """Encodes batches of (number of the first row, rows, type of rows that are given as JSON); picklable."""

    def __init__(
        self, stage: RowEncoder, tokenizer: PreTrainedTokenizerBase, cutoff: int, scoring: bool
    ) -> None:
        self.stage, self.tokenizer, self.cutoff, self.scoring = stage, tokenizer, cutoff, scoring

    def __call__(self, batch: tuple[int, list[Any], type | None]) -> pa.RecordBatch:
        start, rows, row_type = batch
        examples = [
            (number, example)
            for number, row in enumerate(rows, start)
            for example in self._examples(number, row_from_json(row, row_type) if row_type else row)
        ]
        columns: list[list[Any]] = [[number for number, _ in examples]]
        columns += [[getattr(example, name) for _, example in examples] for name in SCHEMA.names[1:]]
        arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
        return pa.record_batch(arrays, schema=SCHEMA)

    def _examples(self, number: int, row: Any) -> list[Encoded]:
        try:
            examples = encode_row(self.stage, self.tokenizer, row, self.cutoff, self.scoring)
        except TemplateError as error:
            raise RowError(number, str(error)) from error
        return examples or [Encoded([], [], 0, False, (f"{self.stage.nothing_left}, and they are left out",))]


def encode_row(
    stage: RowEncoder, tokenizer: PreTrainedTokenizerBase, row: Any, cutoff: int, scoring: bool = False
) -> list[Encoded]:
    """The examples of one row; none where nothing is left to learn.

    Raises ``TemplateError`` for a row that can't be rendered or encoded.
    """
    encode = stage.encode_scored if scoring else stage.encode
    try:
        return encode(tokenizer, row, cutoff)
    except TemplateError:
        raise
    except Exception as error:  # a template or a tokenizer of somebody else may raise anything
        raise TemplateError(f"{type(error).__name__}: {error}") from error


def tokenizer_identity(tokenizer: AnyTokenizer) -> str:
    """A hash of all that a row's tokens depend on: vocabulary, rules, special tokens and chat template."""
    if isinstance(tokenizer, DeferredTokenizer):
        return tokenizer.identity
    # Size and template are in the key since they may change while the tokenizer stays the same object.
    ends = tuple(sorted(end_tokens(tokenizer)))  # of the model, whose files name them beside the tokenizer
    settings = tuple(settings_of(tokenizer).items())
    return _identity(tokenizer, len(tokenizer), tokenizer.chat_template, ends, settings)


@lru_cache(maxsize=8)
def _identity(
    tokenizer: PreTrainedTokenizerBase,
    size: int,
    template: str | None,
    ends: tuple[int, ...],
    settings: tuple[tuple[str, str], ...],
) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else tokenizer.get_vocab()
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    return files.sha256([type(tokenizer).__name__, size, rules, special, template, ends, settings])
