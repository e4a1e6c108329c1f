"""Calling `paretune evaluate` and reading what it leaves, for the tests of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click.testing
import pyarrow.parquet as pq
from typer.testing import CliRunner

from sweeps import cli
from tests.helpers.small_runs import trial_of
from trainables.results import Record, read_record


def paretune(*arguments: object) -> click.testing.Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def evaluated(*arguments: object) -> dict[str, Any]:
    output = f"evaluation-{len(list(Path().glob('evaluation-*')))}"
    found = paretune("evaluate", *arguments, "--json", "--output", output)
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def metrics(found: dict[str, Any], place: int = 0) -> dict[str, float]:
    return {name: each["value"] for name, each in found["results"][place]["metrics"].items()}


def rows_of(found: dict[str, Any], name: str = "predictions") -> list[dict[str, Any]]:
    return pq.read_table(Path(found["folder"]) / f"{name}.parquet").to_pylist()


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def record_of(folder: Path, cell: str) -> Record:
    record = read_record(folder / "trials" / trial_of(folder, cell))
    assert record is not None
    return record
