"""Runs `paretune evaluate` and reads the files that it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click.testing
import pyarrow.parquet as pq
from typer.testing import CliRunner

from sweeps import cli
from tests.helpers.small_runs import trial_id_of
from trainables.results import Record, read_record


def paretune(*arguments: object) -> click.testing.Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def evaluation(*arguments: object) -> dict[str, Any]:
    """The output of an evaluation with ``--json``, which is expected to succeed."""
    output = f"evaluation-{len(list(Path().glob('evaluation-*')))}"
    command = paretune("evaluate", *arguments, "--json", "--output", output)
    assert command.exit_code == 0, command.output
    return json.loads(command.stdout)


def metrics(evaluated: dict[str, Any], index: int = 0) -> dict[str, float]:
    """The values of the measures of the first or another result."""
    return {name: each["value"] for name, each in evaluated["results"][index]["metrics"].items()}


def rows_of(evaluated: dict[str, Any], name: str = "predictions") -> list[dict[str, Any]]:
    """The rows of a Parquet file of the evaluation."""
    return pq.read_table(Path(evaluated["folder"]) / f"{name}.parquet").to_pylist()


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def record_of(folder: Path, cell: str) -> Record:
    record = read_record(folder / "trials" / trial_id_of(folder, cell))
    assert record is not None
    return record
