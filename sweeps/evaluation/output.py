"""An evaluation as files and on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.evaluation.significance import format_value
from trainables.scoring.measures import FRACTION
from trainables.storage import files
from trainables.system import redaction

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 140  # characters of a line when the output is no terminal
TEXT_COLUMNS = ("prompt", "reference", "prediction", "rejected", "task", "scores")


def write_evaluation(
    folder: Path, tree: Mapping[str, Any], tables: Mapping[str, Mapping[str, list[Any]]]
) -> None:
    """Writes ``evaluation.json`` and a Parquet file for each table. The folder appears only once it is complete."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with files.atomic_folder(folder) as unfinished:
        files.write_json(unfinished / "evaluation.json", redaction.redacted_values(dict(tree)))
        for name, columns in tables.items():
            arrays = {key: _array(key, values) for key, values in columns.items()}
            pq.write_table(pa.table(arrays), unfinished / f"{name}.parquet")


def _array(name: str, values: list[Any]) -> Any:
    import pyarrow as pa

    # Plain strings have offsets of 32 bits, for 2 GiB; and a column of `None` alone would have no type.
    return pa.array(values, pa.large_string() if name in TEXT_COLUMNS else None)


def evaluation_output(tree: Mapping[str, Any]) -> Iterator[Any]:
    """What to print, in order: rich tables and sentences."""
    results, data = tree["results"], tree["data"]
    if data:
        part = f"the {data['part']} part of " if data["part"] else ""
        total = "" if data["rows"] == data["of"] else f" of {data['of']}"
        yield f"{part}{data['name']}, {data['rows']}{total} rows, as {data['kind']}"
    comparison = tree["comparison"] or {"differences": {}, "sentence": None}
    for part in ("metrics", "benchmarks"):
        if any(result[part] for result in results):
            yield _table([result["result"] for result in results], [r[part] for r in results], comparison)
    for result in results:
        if forgetting := result["forgetting"]:
            names = [f"{result['result']} after", "before"]
            yield _table(names, [forgetting["after"], forgetting["before"]], forgetting)
            yield forgetting["sentence"]
    if comparison["sentence"]:
        yield comparison["sentence"]


def _table(names: list[str], metrics: list[Mapping[str, Any]], comparison: Mapping[str, Any]) -> Table:
    from rich.table import Table

    differences = comparison["differences"]
    table = Table(box=None, header_style="bold")
    table.add_column("measure (95 % intervals)", no_wrap=True)
    is_comparison = len(names) > 1
    for name in (*names, *(("difference", "p") if is_comparison else ())):
        table.add_column(name, justify="right", overflow="fold")
    for name in dict.fromkeys(name for each in metrics for name in each):
        cells = [_cell(each.get(name)) for each in metrics]
        unit = next(each[name]["unit"] for each in metrics if name in each)
        if is_comparison:
            cells += _difference_cells(differences.get(name), unit)
        table.add_row(_label(name, unit), *cells)
    return table


def _label(name: str, unit: str) -> str:
    # TASK/METRIC is a benchmark's, and stays as the harness spells it.
    plain = name if "/" in name else name.replace("_", " ")
    return f"{plain}, {unit}" if unit not in ("", FRACTION, plain) else plain


def _cell(metric: Mapping[str, Any] | None) -> str:
    if metric is None:
        return "–"
    return _with_interval(metric["value"], metric["low"], metric["high"], metric["unit"])


def _with_interval(value: float, low: float | None, high: float | None, unit: str) -> str:
    interval = "" if low is None else f" ({format_value(low, unit)} to {format_value(high, unit)})"
    return f"{format_value(value, unit)}{interval}"


def _difference_cells(difference: Mapping[str, Any] | None, unit: str) -> list[str]:
    if difference is None:
        return ["", ""]
    p = difference["mcnemar_p"]
    interval = _with_interval(difference["difference"], difference["low"], difference["high"], unit)
    return [interval, "" if p is None else f"{p:.2g}"]
