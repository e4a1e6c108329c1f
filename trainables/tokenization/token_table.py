"""Rows as tokens: encoded once for each tokenizer, template, cutoff and stage, kept on disk and memory-mapped.

tokens = tokenized(SFT(), tokenizer, data.train, cutoff=1024)
tokens.lengths.max(), tokens[0].answer

Rows that are on disk (``data.arrow_rows.Rows``) have their tokens there too, in ``PARETUNE_HOME/tokens``: whatever the
tokens depend on is hashed into the folder's name, so another input is another folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainables.data.arrow_rows import Rows
from trainables.data.rows import unpack
from trainables.storage import cache, files
from trainables.system.parallel import ordered
from trainables.system.progress import tell
from trainables.system.recent import Recent
from trainables.tokenization.encode import IGNORED, Encoded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VERSION = 1  # of what encoding gives; a change of it makes kept tokens anew
BATCH = 1024  # rows encoded at a time
SCHEMA = pa.schema(
    [
        ("row", pa.int64()),  # which of the distinct rows, in their order
        ("input_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
        ("prompt_tokens", pa.int32()),
        ("truncated", pa.bool_()),
    ]
)

recent_tables = Recent[str, pa.Table](size=16)  # memory-mapped, by the hash of all that they depend on


class RowEncoder(Protocol):
    """What tokens depend on besides rows and tokenizer: a training stage, as far as it encodes rows."""

    encoding: ClassVar[tuple[str, ...]]  # names of the settings that decide which tokens a row becomes

    @property
    def kind(self) -> str: ...

    def encode(self, tokenizer: PreTrainedTokenizerBase, row: Any, cutoff: int) -> list[Encoded]:
        """A row's examples, with labels where the loss is."""

    def encode_scored(self, tokenizer: PreTrainedTokenizerBase, row: Any, cutoff: int) -> list[Encoded]:
        """A row's examples, with labels on what its score is of."""


class Tokens(Sequence[Encoded]):
    """What a stage makes of some rows: one or more examples of each, in the rows' order, read as they are asked for.

    ``entries`` (examples,) says where in the table each example is, ``rows`` (examples,) which row it is of.
    """

    def __init__(self, table: pa.Table, entries: np.ndarray, rows: np.ndarray) -> None:
        self.table, self.entries, self.rows = table, entries, rows

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, place: int) -> Encoded: ...
    @overload
    def __getitem__(self, place: slice) -> Tokens: ...
    def __getitem__(self, place: int | slice) -> Encoded | Tokens:
        if isinstance(place, slice):
            return Tokens(self.table, self.entries[place], self.rows[place])
        entry = int(self.entries[place])
        ids, labels, prompt, truncated = (self.table[name][entry].as_py() for name in SCHEMA.names[1:])
        return Encoded(ids, labels, prompt, truncated)

    def __iter__(self) -> Iterator[Encoded]:
        return (self[place] for place in range(len(self)))

    @cached_property
    def lengths(self) -> np.ndarray:
        """Each example's tokens: (examples,)."""
        return pc.list_value_length(self.table["input_ids"]).to_numpy()[self.entries]

    @cached_property
    def truncated(self) -> np.ndarray:
        """Whether tokens of it were cut to fit the cutoff: (examples,)."""
        return self.table["truncated"].to_numpy()[self.entries]

    def learned(self, place: int) -> int:
        """How many tokens of an example bear a loss."""
        return sum(label != IGNORED for label in self.table["labels"][int(self.entries[place])].as_py())


def tokenized(
    stage: RowEncoder,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Any],
    cutoff: int,
    scoring: bool = False,
) -> Tokens:
    """The rows as the stage trains on them or, if ``scoring``, as it scores them; at most ``cutoff`` tokens each.

    Raises ``TemplateError`` for a row that the chat template can't render.
    """
    encoder = Encoder(stage, tokenizer, cutoff, scoring)
    if not isinstance(rows, Rows):
        return _placed(pa.Table.from_batches(_encoded(encoder, rows), SCHEMA), np.arange(len(rows)))
    settings = [stage.kind, scoring, {name: getattr(stage, name) for name in stage.encoding}]
    key = files.sha256([VERSION, rows.identity, identity(tokenizer), cutoff, settings])
    table = recent_tables.get(key, lambda: _cached_table(key, encoder, rows))
    return _placed(table, np.searchsorted(rows.distinct, rows.indices))


def _cached_table(key: str, encoder: Encoder, rows: Rows[Any]) -> pa.Table:
    """The examples of the distinct rows, encoded unless the cache folder has them, and memory-mapped."""

    def write(folder: Path) -> None:
        column = rows.table["row"]
        texts = (column[int(row)].as_py() for row in rows.distinct)
        with pa.OSFile(str(folder / "tokens.arrow"), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            for batch in _encoded(encoder, texts, rows.cls, len(rows.distinct)):
                writer.write_batch(batch)

    folder = cache.entry("tokens", key, write)
    return pa.ipc.open_file(pa.memory_map(str(folder / "tokens.arrow"))).read_all()


def _placed(table: pa.Table, places: np.ndarray) -> Tokens:
    """The examples of the rows at ``places`` (rows,) among the distinct ones, which the table is in the order of."""
    of = table["row"].to_numpy()
    first, last = np.searchsorted(of, places, "left"), np.searchsorted(of, places, "right")
    counts = last - first
    rows = np.repeat(np.arange(len(places)), counts)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return Tokens(table, np.repeat(first, counts) + within, rows)


def _encoded(
    encoder: Encoder, rows: Iterable[Any], cls: type | None = None, total: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Batches of examples; ``rows`` are texts of ``rows.pack`` where ``cls`` is given."""
    done = 0
    for batch in ordered(encoder, _batches(rows, cls)):
        yield batch
        if total is not None:
            done = min(done + BATCH, total)
            tell("tokenizing rows", done, total)


def _batches(rows: Iterable[Any], cls: type | None) -> Iterator[tuple[int, list[Any], type | None]]:
    rows, start = iter(rows), 0
    while batch := list(islice(rows, BATCH)):
        yield start, batch, cls
        start += len(batch)


class Encoder:
    """Makes tokens of some rows, given as (the first one's number, the rows, what to unpack them as)."""

    def __init__(
        self, stage: RowEncoder, tokenizer: PreTrainedTokenizerBase, cutoff: int, scoring: bool
    ) -> None:
        self.stage, self.tokenizer, self.cutoff, self.scoring = stage, tokenizer, cutoff, scoring

    def __call__(self, batch: tuple[int, list[Any], type | None]) -> pa.RecordBatch:
        start, rows, cls = batch
        encode = self.stage.encode_scored if self.scoring else self.stage.encode
        found = [
            (number, example)
            for number, row in enumerate(rows, start)
            for example in encode(self.tokenizer, unpack(row, cls) if cls else row, self.cutoff)
        ]
        columns: list[list[Any]] = [[number for number, _ in found]]
        columns += [[getattr(example, name) for _, example in found] for name in SCHEMA.names[1:]]
        arrays = [pa.array(values, kind.type) for values, kind in zip(columns, SCHEMA, strict=True)]
        return pa.record_batch(arrays, schema=SCHEMA)


def identity(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of all that decides a row's tokens: vocabulary, rules, special tokens and chat template."""
    return _identity(tokenizer, len(tokenizer), tokenizer.chat_template)


@lru_cache(maxsize=8)
def _identity(tokenizer: PreTrainedTokenizerBase, size: int, template: str | None) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else tokenizer.get_vocab()
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    return files.sha256([type(tokenizer).__name__, size, rules, special, template])
