"""Further evaluation sets of ``data.eval``: rows that trials are scored on, and that steer nothing.

A set holds rows of the stage's kind, or running text, which any model of text can be scored on by its likelihood.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainables.config.data import DataConfig
from trainables.data.arrow_rows import Rows, key_prefixes
from trainables.data.converted_rows import load_uncut, rows_identity
from trainables.data.errors import DataError
from trainables.data.kept_together import split_keys
from trainables.data.row_kind import detect_row_type
from trainables.data.rows import Classified, Text
from trainables.data.sources import resolve
from trainables.data.splits import by_hash

# Settings of the data that say which rows are trained on or held out, and how many; a further set has none of them, so
# that trials which differ in these are scored on the same rows.
_OF_THE_SPLIT: dict[str, Any] = {
    "eval": None, "eval_count": None, "mix": "concat", "weights": None, "sha256": None, "planned_sets": {},
    "num_samples": None, "max_samples": None,
}  # fmt: skip
# Those that describe files with other columns; running text beside rows of another kind is read without them.
_OF_COLUMNS: dict[str, Any] = {"format": None, "columns": {}, "tags": {}}


@dataclass(frozen=True)
class EvaluationSet:
    """One further set. ``rows``: at most ``data.eval_rows``, those of the smallest hashes, of ``total``.

    ``source``: its files by name. ``row_type``: that of the stage, or ``Text``. ``exact``: each prompt has one right
    answer. ``keys`` (total,): the hashes of what keeps rows together. ``quality``: by what answers are judged, as
    ``data.quality`` names it; ``None``: as those of the test rows.
    """

    name: str
    source: str
    rows: Rows[Any]
    row_type: type
    total: int
    exact: bool
    sha256: str
    keys: np.ndarray
    quality: str | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def load_set(config: DataConfig, name: str, row_type: type) -> EvaluationSet:
    """The further set called ``name``, as rows of ``row_type`` or running text.

    Raises :class:`DataError` for a file that is missing, empty or unreadable, and for rows that have changed since the
    planning (``config.planned_sets``).
    """
    with _errors_at(name):
        own = _own_config(config, name)
        kind = _row_type(own, row_type)
        if kind is Text and row_type is not Text:
            own = own.model_copy(update=_OF_COLUMNS)
        data = load_uncut(own, kind, further=True)
        keys = split_keys(config, data.rows.table)
        texts = data.rows.table["row"]
        chosen = by_hash(keys, np.arange(len(keys)), lambda row: str(texts[row].as_py()))[: config.eval_rows]
        rows = Rows[Any](data.rows.table, chosen, kind, data.rows.sha256)
        planned = config.planned_sets.get(name)
        if planned is not None and planned.sha256 != data.sha256:
            raise DataError(
                f"{data.name} has changed since this was planned (its SHA-256 is {data.sha256[:12]}, it was "
                f"{planned.sha256[:12]}); restore the old rows, or plan again"
            )
    return EvaluationSet(
        name=name,
        source=data.name,
        rows=rows,
        row_type=kind,
        total=len(keys),
        exact=data.exact,
        sha256=data.sha256,
        keys=keys,
        quality=planned.quality if planned is not None else None,
        notes=data.notes,
        warnings=data.warnings,
    )


def set_identity(config: DataConfig, name: str, row_type: type) -> str:
    """A hash of what decides the rows of a set; a file that is written to changes it. Raises :class:`DataError`."""
    with _errors_at(name):
        own = _own_config(config, name)
        return rows_identity(own, row_type, tuple(resolve(each, own, "eval") for each in own.names))


def trained_on(rows: np.ndarray, sets: tuple[EvaluationSet, ...], row_type: type) -> np.ndarray:
    """Which rows belong to a further set, by the hashes (rows,) of what keeps rows together: (rows,) of bool.

    Running text beside rows of another kind has no hash in common with these.
    """
    keys = [each.keys for each in sets if each.row_type is row_type]
    return np.isin(rows, np.concatenate(keys)) if keys else np.zeros(len(rows), bool)


def same_prompts(each: EvaluationSet, other: Rows[Any]) -> int:
    """How many of a set's rows have the prompt of one of the ``other`` rows."""
    own = key_prefixes(each.rows.table)[each.rows.indices]
    return int(np.isin(own, key_prefixes(other.table)[other.indices]).sum())


def _own_config(config: DataConfig, name: str) -> DataConfig:
    return config.model_copy(update={**_OF_THE_SPLIT, "train": config.further_sets[name]})


def _row_type(config: DataConfig, row_type: type) -> type:
    if row_type is Text or _detected(config) in (row_type, None):
        return row_type
    # A text with a label is running text to stages that learn no classes.
    return Text if _detected(config.model_copy(update=_OF_COLUMNS)) in (Text, Classified) else row_type


def _detected(config: DataConfig) -> type | None:
    """The kind of rows; ``None`` for embedded data, which has every kind, and ``object`` where there is none."""
    try:
        return detect_row_type(config)
    except DataError:
        for name in config.names:
            resolve(name, config, "eval")  # data that is missing is an error of its own
        return object


@contextmanager
def _errors_at(name: str) -> Iterator[None]:
    """Gives data errors the setting of the set, unless they are of one that all data shares."""
    try:
        yield
    except DataError as error:
        if error.setting[:1] in ((), ("train",), ("eval",)):
            error.setting = ("eval", name)
        raise
