"""The converted rows of data files: converted once, and kept in the cache by what they were made from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
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
from trainables.data.rows import Conversation
from trainables.data.sources import Source, joined_names, resolve, source_labels
from trainables.storage import cache, files
from trainables.system.suggestions import did_you_mean

VERSION = 11  # of the conversion's result; increase it when that changes, and cached rows are converted anew


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


def load_uncut(config: DataConfig, row_type: type = Conversation, further: bool = False) -> UncutData:
    """Loads the data that ``config.train`` names, and holds none of it out.

    ``further``: it stands beside the data that the settings are about, and may lack the columns and variables that
    they name. Raises :class:`DataError`.
    """
    sources = tuple(resolve(name, config, "eval" if further else "train") for name in config.names)
    identity = rows_identity(config, row_type, sources, further)
    converted = converted_rows(config, row_type, sources, identity, further)
    name, exact = joined_names(sources), all(source.exact for source in sources)
    count = converted.table.num_rows
    if not count:
        raise DataError(f"{name} holds no usable rows{in_parentheses(converted.warnings)}")
    rows = arrow_rows.Rows[Any](converted.table, np.arange(count), row_type, converted.sha256)
    return UncutData(name, rows, exact, rows_sha256(converted, exact), converted.warnings, converted.notes)


def rows_sha256(converted: ConvertedRows, exact: bool) -> str:
    return files.sha256({"rows": converted.sha256, "exact": exact})


def in_parentheses(warnings: Sequence[str]) -> str:
    return f" ({'; '.join(warnings)})" if warnings else ""


def rows_identity(
    config: DataConfig, row_type: type, sources: Sequence[Source], further: bool = False
) -> str:
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
        *(["further"] if further else []),
        *([list(config.reward_columns)] if config.reward_columns else []),
    ]
    return files.sha256([VERSION, row_type.__name__, inputs, settings])


def converted_rows(
    config: DataConfig, row_type: type, sources: Sequence[Source], identity: str, further: bool = False
) -> ConvertedRows:
    """The rows from the cache folder, converted now if they are not there yet."""

    def write(folder: Path) -> None:
        _convert(config, row_type, sources, folder, further)

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


def _check_names(config: DataConfig, reports: Sequence[ConversionReport]) -> None:
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
    named += [(name, "reward_columns") for name in config.reward_columns]
    if config.group is not None:
        named.append((config.group, "group"))
    for name, setting in named:
        if name not in columns:
            have = f"there are {_listed(columns)}" if columns else "embedded data has no columns"
            raise DataError(f"no file has a column {name}; {have}{did_you_mean(name, columns)}", (setting,))


def _listed(names: Iterable[str], pattern: str = "%s") -> str:
    return ", ".join(pattern % name for name in sorted(set(names)))


def _convert(
    config: DataConfig, row_type: type, sources: Sequence[Source], folder: Path, further: bool
) -> None:
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
    if not further:
        _check_names(config, reports)
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
