"""From what people have on disk to rows: read, checked, hashed, and cut into training, validation and test.

The cut is by the hash of a row's prompt, so rows with the same prompt never part, and adding rows moves none.
The validation half steers a search; the test half gives the quality, once.

>>> load(DataConfig(train="commands")).train[0].answer  # doctest: +SKIP
'alarm 4pm'
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trainables.config.data import DataConfig
from trainables.data import arrow_rows, conversion
from trainables.data.conversion import Account
from trainables.data.errors import DataError
from trainables.data.rows import Conversation
from trainables.data.sources import Source, described, resolve
from trainables.data.splits import cut, halves, interleave
from trainables.storage import cache, files
from trainables.system.recent import Recent

VERSION = 3  # of what conversion gives; a change of it makes kept rows anew


@dataclass(frozen=True)
class Data:
    """A data set, cut. ``exact``: each prompt has one right answer. ``sha256`` is the hash of every row.

    ``notes`` say how the rows were read, ``warnings`` what was left out or looks unfinished. ``overlap`` is how
    many training rows were left out because their prompt is held out.
    """

    name: str
    train: Sequence[Any]
    validation: Sequence[Any]
    test: Sequence[Any]
    exact: bool
    sha256: str
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    duplicates: int = 0
    overlap: int = 0


@dataclass(frozen=True)
class Whole:
    """A data set that isn't cut: all of its rows, in the order of its files. The rest is as in :class:`Data`."""

    name: str
    rows: arrow_rows.Rows[Any]
    exact: bool
    sha256: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kept:
    """Converted rows: of the training sources first, then of the held-out ones."""

    table: pa.Table
    sha256: str
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def load(config: DataConfig, need: type = Conversation) -> Data:
    """Reads and cuts the data that ``config`` names, as the rows a stage needs (``trainables.data.rows``).

    Raises :class:`DataError` for a file that is missing, empty, unreadable or too small to hold rows out, and for
    data that is no longer what was planned with (``config.sha256``).
    """
    train = tuple(resolve(name, config) for name in config.names)
    held = tuple(resolve(name, config) for name in config.eval_names)
    identity = _identity(config, need, (*train, *held))
    found = recent_data.get(
        (identity, config.model_dump_json()), lambda: _load(config, need, train, held, identity)
    )
    if config.sha256 not in (None, found.sha256):
        raise DataError(
            f"{found.name} is not what it was when this was planned (SHA-256 {found.sha256[:12]}, then "
            f"{str(config.sha256)[:12]}); give the old rows back, or plan anew"
        )
    return found


def whole(config: DataConfig, need: type = Conversation) -> Whole:
    """Reads the data that ``config.train`` names, and holds none of it out. Raises :class:`DataError`."""
    sources = tuple(resolve(name, config) for name in config.names)
    kept = _kept(config, need, sources, _identity(config, need, sources))
    name, exact = described(sources), all(source.exact for source in sources)
    count = kept.table.num_rows
    if not count:
        raise DataError(f"{name} holds no rows that can be used{_because(kept.warnings)}")
    rows = arrow_rows.Rows[Any](kept.table, np.arange(count), need, kept.sha256)
    return Whole(name, rows, exact, _digest(kept, exact), kept.warnings)


recent_data: Recent[tuple[str, str], Data] = Recent(size=8)  # by the rows' identity and the config as JSON


def _load(
    config: DataConfig, need: type, train: tuple[Source, ...], held: tuple[Source, ...], identity: str
) -> Data:
    kept = _kept(config, need, (*train, *held), identity)
    name, exact = described(train), all(source.exact for source in (*train, *held))
    keys, sources = arrow_rows.keys(kept.table), kept.table["source"].to_numpy()
    if not len(keys):
        raise DataError(f"{name} holds no rows; give a file with at least three{_because(kept.warnings)}")
    parts = _parts(config, keys, sources, len(train), lambda row: kept.table["row"][row].as_py())
    for part, rows in zip(("training", "validation", "test"), parts, strict=True):
        if not len(rows):
            raise DataError(
                f"{name} has {len(keys)} rows and {_holding(config)} leaves none for the "
                f"{part} part; give more rows or another eval_fraction{_because(kept.warnings)}"
            )
    overlap = int((sources < len(train)).sum()) - len(parts[0]) if held else 0
    order = _mixed(config, parts[0], sources, len(train))
    trained, validation, test = (
        arrow_rows.Rows[Any](kept.table, rows, need, kept.sha256) for rows in (order, *parts[1:])
    )
    duplicates = len(keys) - len(np.unique(keys))
    told = kept.notes, kept.warnings
    return Data(name, trained, validation, test, exact, _digest(kept, exact), *told, duplicates, overlap)


def _digest(kept: Kept, exact: bool) -> str:
    return files.sha256({"rows": kept.sha256, "exact": exact})


def _parts(config: DataConfig, keys: np.ndarray, sources: np.ndarray, train: int, tie: Any) -> Any:
    if not config.eval_names:
        return cut(keys, tie, config.eval_fraction, config.eval_count, config.eval_rows)
    held = np.flatnonzero(sources >= train)
    # Quality is scored on rows never trained on: what is in both is left out of the training rows.
    seen = np.isin(keys, keys[held])
    return np.flatnonzero((sources < train) & ~seen), *halves(keys, held, tie, config.eval_rows)


def _mixed(config: DataConfig, rows: np.ndarray, sources: np.ndarray, train: int) -> np.ndarray:
    if config.mix == "concat" or train == 1:
        return rows
    parts = [rows[sources[rows] == source] for source in range(train)]
    until = "first" if config.mix == "interleave_under" else "all"
    return interleave(parts, config.weights or (1.0,) * train, until)


def _holding(config: DataConfig) -> str:
    if config.eval_names:
        return f"eval {', '.join(config.eval_names)}"
    return f"eval_count {config.eval_count}" if config.eval_count else f"eval_fraction {config.eval_fraction}"


def _because(warnings: Sequence[str]) -> str:
    return f" ({'; '.join(warnings)})" if warnings else ""


def _identity(config: DataConfig, need: type, sources: Sequence[Source]) -> str:
    """A hash of all that decides what the rows are: a file that is written to gives another one."""
    described = [
        {
            "files": [_stamp(path) for path in source.files],
            "name": source.name,
            "reading": [source.format, dict(source.columns), dict(source.tags), source.most],
        }
        for source in sources
    ]
    settings = [config.strict, dict(config.variables), config.thinking]
    return files.sha256([VERSION, need.__name__, described, settings])


def _stamp(path: Path) -> list[Any]:
    found = path.stat()
    return [str(path.resolve()), found.st_size, found.st_mtime_ns, found.st_ino]


def _kept(config: DataConfig, need: type, sources: Sequence[Source], identity: str) -> Kept:
    folder = cache.entry("data", identity, lambda folder: _convert(config, need, sources, folder))
    info = json.loads((folder / "info.json").read_text(encoding="utf-8"))
    told = (tuple(info[part]) for part in ("notes", "warnings"))
    return Kept(arrow_rows.read(folder / "rows.arrow"), info["sha256"], *told)


def _convert(config: DataConfig, need: type, sources: Sequence[Source], folder: Path) -> None:
    accounts = [Account(source.name) for source in sources]
    digest = arrow_rows.write(folder / "rows.arrow", conversion.batches(sources, need, config, accounts))
    told = {
        "notes": [note for account in accounts for note in conversion.summary(account)],
        "warnings": [warning for account in accounts for warning in conversion.warnings(account)],
    }
    files.write_json(folder / "info.json", {"sha256": digest, **told})
