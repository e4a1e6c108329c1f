"""Loads a data set: reads and converts its rows once, and splits them into training, validation and test rows.

Rows are split by the hash of their first user turn (or of their group, or whole prompt: ``data.group``,
``data.split_by``), so rows that open alike stay together, and adding rows moves no other.
The validation rows steer a search; the test rows give the quality, once.

>>> load(DataConfig(train="commands")).train[0].answer  # doctest: +SKIP
'alarm 4pm'
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trainables.config.data import DataConfig
from trainables.data import arrow_rows, conversion
from trainables.data.content.contradictions import contradiction_warnings
from trainables.data.conversion_report import ConversionReport
from trainables.data.errors import DataError
from trainables.data.files.row_reader import FileRemarks
from trainables.data.kept_together import kept_together, large_group_warnings, other_split, split_keys
from trainables.data.rows import Conversation, Labelled, Preference
from trainables.data.sources import Source, joined_names, resolve, source_labels
from trainables.data.splits import (
    few_held_out,
    held_out_setting,
    interleave,
    sampled_rows,
    split_advice,
    split_halves,
    split_rows,
)
from trainables.storage import cache, files
from trainables.system.recent import Recent
from trainables.system.suggestions import did_you_mean
from trainables.system.wording import counted

VERSION = 11  # of the conversion's result; increase it when that changes, and cached rows are converted anew


@dataclass(frozen=True)
class Quality:
    """By what the config says that answers are judged: ``name``, and the ``file`` of a function with its hash."""

    name: str
    file: Path | None = None
    sha256: str | None = None

    @classmethod
    def of(cls, config: DataConfig) -> Quality | None:
        """What a config says; ``None`` where it says nothing."""
        return cls(config.quality, config.quality_file, config.quality_sha256) if config.quality else None


@dataclass(frozen=True)
class Data:
    """A data set, split into training, validation and test rows.

    ``exact``: each prompt has one right answer. ``sha256``: the hash of every row. ``quality``: by what answers are
    judged, where the config says it. ``notes`` say how the rows were read, ``warnings`` which were left out or look
    unfinished; ``held_out_warnings`` are those of them on the files of ``data.eval``. ``duplicates``: rows whose prompt
    occurs before. ``overlap``: training rows that were left out because they belong to a held-out row. Validation and
    test part are empty where nothing is held out. ``pairs``: of embedded labelled answers, the pairs of the test rows'
    prompts.
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
    held_out_warnings: tuple[str, ...] = ()
    quality: Quality | None = None
    pairs: Sequence[Any] = ()


@dataclass(frozen=True)
class UncutData:
    """A data set that is not split: all of its rows, in the order of its files. The rest is as in :class:`Data`."""

    name: str
    rows: arrow_rows.Rows[Any]
    exact: bool
    sha256: str
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConvertedRows:
    """The converted rows of the training sources, followed by those of the held-out sources."""

    table: pa.Table
    sha256: str
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    held_out_warnings: tuple[str, ...]  # those of the warnings that are on held-out sources


def load(config: DataConfig, row_type: type = Conversation) -> Data:
    """Loads and splits the data that ``config`` names, as rows of the type that a stage needs (``data.rows``).

    Raises :class:`DataError` for a file that is missing, empty, unreadable or too small to be split, and for
    data that has changed since the planning (``config.sha256``).
    """
    train = tuple(resolve(name, config) for name in config.names)
    held_out = tuple(resolve(name, config, "eval") for name in config.eval_names)
    identity = _identity(config, row_type, (*train, *held_out))
    # The identity covers the rows alone; the split and the mix depend on other settings of the config.
    data = recent_data.get(
        (identity, config.model_dump_json()), lambda: _load(config, row_type, train, held_out, identity)
    )
    if config.sha256 not in (None, data.sha256):
        raise DataError(
            f"{data.name} has changed since this was planned (its SHA-256 is {data.sha256[:12]}, it was "
            f"{str(config.sha256)[:12]}); restore the old rows, or plan again"
        )
    return data


def load_uncut(config: DataConfig, row_type: type = Conversation) -> UncutData:
    """Loads the data that ``config.train`` names, and holds none of it out. Raises :class:`DataError`."""
    sources = tuple(resolve(name, config) for name in config.names)
    converted = _converted(config, row_type, sources, _identity(config, row_type, sources))
    name, exact = joined_names(sources), all(source.exact for source in sources)
    count = converted.table.num_rows
    if not count:
        raise DataError(f"{name} holds no usable rows{_in_parentheses(converted.warnings)}")
    rows = arrow_rows.Rows[Any](converted.table, np.arange(count), row_type, converted.sha256)
    return UncutData(name, rows, exact, _sha256(converted, exact), converted.warnings, converted.notes)


recent_data: Recent[tuple[str, str], Data] = Recent(size=8)  # by the rows' identity and the config as JSON


def _load(
    config: DataConfig,
    row_type: type,
    train: tuple[Source, ...],
    held_out: tuple[Source, ...],
    identity: str,
) -> Data:
    converted = _converted(config, row_type, (*train, *held_out), identity)
    name, exact = joined_names(train), all(source.exact for source in (*train, *held_out))
    # (rows,) each: the first bytes of the hashes of the prompt and of what keeps rows together, and the number of the
    # row's source.
    prompts, sources = arrow_rows.key_prefixes(converted.table), converted.table["source"].to_numpy()
    keys = split_keys(config, converted.table)
    drawn = sampled_rows(sources, config.num_samples, config.sample_seed)
    prompts, sources, keys = prompts[drawn], sources[drawn], keys[drawn]
    if not len(keys):
        raise DataError(f"{name} holds no rows that can be used{_in_parentheses(converted.warnings)}")
    parts = _split(
        config, keys, sources, len(train), lambda row: converted.table["row"][int(drawn[row])].as_py()
    )
    for part, indices in zip(("training", "validation", "test"), parts, strict=True):
        if not len(indices) and (config.holds_out or part == "training"):
            setting, value = held_out_setting(config)
            what = kept_together(config, row_type)
            is_held_out = sources >= len(train)
            advice = split_advice(config, part, what, keys, is_held_out) + other_split(config, keys, prompts)
            if held_out:
                raise _too_few_error(part, name, joined_names(held_out), is_held_out, advice, converted)
            raise DataError(
                f"{name} has {counted(len(keys), 'row')} and {setting} {value} leaves none for the {part} part; "
                f"{advice}{_in_parentheses(converted.warnings)}",
                (setting,) if setting in config.model_fields_set else (),
            )
    few = few_held_out(config, keys, len(parts[1]), len(parts[2]))
    if few and config.strict:
        raise DataError(
            f"{name}: {few}; set eval_count, or accept this with strict: false", ("eval_fraction",)
        )
    changed = (
        *large_group_warnings(config, row_type, keys, prompts),
        *_sample_warnings(config, (*train, *held_out), sources),
    )
    if changed and config.strict:
        raise DataError(f"{changed[0]}, or accept this with strict: false")
    # Training rows that `_split` left out; without held-out sources the missing rows are the held-out part.
    overlap = int((sources < len(train)).sum()) - len(parts[0]) if held_out else 0
    order = _mixed(config, parts[0], sources, len(train))
    training, validation, test = (
        arrow_rows.Rows[Any](converted.table, drawn[indices], row_type, converted.sha256)
        for indices in (order, *parts[1:])
    )
    return Data(
        name=name,
        train=training,
        validation=validation,
        test=test,
        exact=exact,
        sha256=_sha256(converted, exact),
        notes=converted.notes,
        warnings=(
            *converted.warnings,
            *changed,
            *([f"{name}: {few}"] if few else []),
        ),
        # By 64 bits of the hash: among ten million prompts the chance that two share them is about 3e-6.
        duplicates=len(prompts) - len(np.unique(prompts)),
        overlap=overlap,
        held_out_warnings=converted.held_out_warnings,
        quality=Quality.of(config),
        pairs=_embedded_pairs(config, row_type, train),
    )


def _embedded_pairs(config: DataConfig, row_type: type, train: tuple[Source, ...]) -> Sequence[Any]:
    """The test pairs of embedded data whose labelled answers are loaded: of the same prompts, as these are split."""
    if row_type is not Labelled or not config.holds_out or not all(source.embedded for source in train):
        return ()
    return load(config.model_copy(update={"sha256": None}), Preference).test


def _too_few_error(
    part: str, name: str, held_out_name: str, is_held_out: np.ndarray, advice: str, converted: ConvertedRows
) -> DataError:
    """The error for a part without rows where ``data.eval`` says which are held out (``is_held_out``: (rows,))."""
    on_training = tuple(text for text in converted.warnings if text not in converted.held_out_warnings)
    if part != "training":
        count = counted(int(is_held_out.sum()), "usable row")
        left_out = _in_parentheses(converted.held_out_warnings)
        return DataError(
            f"{held_out_name} has {count}, which leaves none for the {part} part; {advice}{left_out}",
            ("eval",),
        )
    if is_held_out.all():
        return DataError(f"{name} has no row that can be used{_in_parentheses(on_training)}")
    return DataError(
        f"no row of {name} is left to train on: {advice}{_in_parentheses(on_training)}", ("eval",)
    )


def _sample_warnings(config: DataConfig, sources: Sequence[Source], numbers: np.ndarray) -> Iterator[str]:
    """Data sets that have fewer rows than are to be drawn; ``numbers`` (rows,): the source of each row."""
    for source, count in zip(
        source_labels(sources), np.bincount(numbers, minlength=len(sources)), strict=True
    ):
        if config.num_samples is not None and count < config.num_samples:
            rows = counted(int(count), "usable row")
            yield f"{source} has {rows}, fewer than num_samples: {config.num_samples}; none is repeated"


def _sha256(converted: ConvertedRows, exact: bool) -> str:
    return files.sha256({"rows": converted.sha256, "exact": exact})


def _split(
    config: DataConfig, keys: np.ndarray, sources: np.ndarray, train: int, row_text: Callable[[int], str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers of the training, validation and test part; the first ``train`` sources are trained on."""
    if not config.eval_names:
        return split_rows(keys, row_text, config.eval_fraction, config.eval_count, config.eval_rows)
    held_out = np.flatnonzero(sources >= train)
    # Quality must come from rows that were not trained on: what belongs to both is left out of the training rows.
    in_both = np.isin(keys, keys[held_out])
    return (
        np.flatnonzero((sources < train) & ~in_both),
        *split_halves(keys, held_out, row_text, config.eval_rows),
    )


def _mixed(config: DataConfig, rows: np.ndarray, sources: np.ndarray, train: int) -> np.ndarray:
    """The training rows in the order in which the sources are mixed."""
    if config.mix == "concat" or train == 1:
        return rows
    parts = [rows[sources[rows] == source] for source in range(train)]
    until = "first" if config.mix == "interleave_under" else "all"
    return interleave(parts, config.weights or (1.0,) * train, until)


def _in_parentheses(warnings: Sequence[str]) -> str:
    return f" ({'; '.join(warnings)})" if warnings else ""


def _identity(config: DataConfig, row_type: type, sources: Sequence[Source]) -> str:
    """A hash of everything that decides the rows; a file that is written to changes it."""
    inputs = [
        {
            "files": [files.file_state(path) for path in source.files],
            "name": source.name,
            "reading": [source.format, dict(source.columns), dict(source.tags), source.max_rows],
        }
        for source in sources
    ]
    settings = [
        *(config.strict, dict(config.variables), config.thinking, list(config.ignore_columns)),
        *(config.group, config.split_by),
    ]
    return files.sha256([VERSION, row_type.__name__, inputs, settings])


def _converted(config: DataConfig, row_type: type, sources: Sequence[Source], identity: str) -> ConvertedRows:
    """The rows from the cache folder, converted now if they are not there yet."""

    def write(folder: Path) -> None:
        _convert(config, row_type, sources, folder)

    return cache.opened("data", identity, write, _read_converted)


def _read_converted(folder: Path) -> ConvertedRows:
    info = json.loads((folder / "info.json").read_text(encoding="utf-8"))
    return ConvertedRows(
        table=arrow_rows.open_table(folder / "rows.arrow"),
        sha256=info["sha256"],
        notes=tuple(info["notes"]),
        warnings=tuple(info["warnings"]),
        held_out_warnings=tuple(info["held_out_warnings"]),
    )


def _check_names(config: DataConfig, sources: Sequence[Source], reports: Sequence[ConversionReport]) -> None:
    """Raises :class:`DataError` for a variable that no row has, and for a column that is named and no file has."""
    placeholders = set().union(*(report.placeholders for report in reports))
    for name in config.variables:
        if not any(name in report.variables for report in reports):
            have = f"; the rows have {_listed(placeholders, '{{%s}}')}" if placeholders else ""
            raise DataError(
                f"no row has {{{{{name}}}}}{have}{did_you_mean(name, placeholders) or '; remove it'}",
                ("variables", name),
            )
    columns = [column for report in reports for column in report.columns()]
    named = [(name, "ignore_columns") for name in config.ignore_columns if columns]
    if config.group is not None:
        named.append((config.group, "group"))
    for name, setting in named:
        if name not in columns:
            have = f"there are {_listed(columns)}" if columns else "embedded data has no columns"
            raise DataError(f"no file has a column {name}; {have}{did_you_mean(name, columns)}", (setting,))


def _listed(names: Iterable[str], pattern: str = "%s") -> str:
    return ", ".join(pattern % name for name in sorted(set(names)))


def _convert(config: DataConfig, row_type: type, sources: Sequence[Source], folder: Path) -> None:
    names = source_labels(sources)
    reports = [
        ConversionReport(
            name,
            bool(source.format),
            source.columns if source.registered else None,
            source.columns,
            files=FileRemarks(warnings=list(source.warnings)),
        )
        for name, source in zip(names, sources, strict=True)
    ]
    batches = conversion.convert_sources(sources, row_type, config, reports)
    sha256 = arrow_rows.write_batches(folder / "rows.arrow", batches)
    # After the batches were written, since the reports are filled while they are consumed.
    _check_names(config, sources, reports)
    contradictions = contradiction_warnings(arrow_rows.open_table(folder / "rows.arrow"), row_type)
    doubts = [*(warning for report in reports for warning in report.files.warnings), *contradictions]
    if config.strict and doubts:
        raise DataError(f"{doubts[0]}, or accept this with strict: false")
    held_out = [report for report, source in zip(reports, sources, strict=True) if source.setting]
    info = {
        "sha256": sha256,
        "notes": [note for report in reports for note in report.notes()],
        "warnings": [*(warning for report in reports for warning in report.warnings()), *contradictions],
        "held_out_warnings": [warning for report in held_out for warning in report.warnings()],
    }
    files.write_json(folder / "info.json", info)
