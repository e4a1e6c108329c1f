"""Records, curves and tables of trials are written and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from trainables import results
from trainables.results import (
    CURVES,
    SCHEMA,
    Record,
    read_curve,
    read_record,
    read_run,
    write_record,
    write_tables,
)

CONTRACT = """
    trial_id, cell, stage, method, model, data, seed, config, status, error, objective, quality, quality_name,
    quality_higher_is_better, metrics, baseline_bytes, weight_bytes, gradient_bytes, optimizer_bytes,
    peak_load_bytes, peak_train_bytes, peak_eval_bytes, predicted_peak_bytes, memory_source, trainable_params,
    total_params, artifact_bytes, tokens, steps, tokens_per_second, padding_share, setup_seconds, train_seconds,
    eval_seconds, device, host, role, slot, slot_trial, started_at, ended_at, packages
""".replace(",", " ").split()


def make_record(trial_id: str = "0123456789ab", **fields: Any) -> Record:
    required = {
        "cell": "sft-lora",
        "stage": "sft",
        "method": "lora",
        "model": "tiny",
        "data": "commands",
        "seed": 0,
        "config": {"train": {"learning_rate": 1e-3}},
        "status": "done",
    }
    return Record(trial_id=trial_id, **{**required, **fields})


def test_a_record_that_says_foretold_is_read_as_predicted() -> None:
    assert make_record(out_of_memory_in="foretold").out_of_memory_in == "predicted"


def leave(run: Path, record: Record, *lines: str) -> Path:
    """A trial's folder, with its record and the lines of its curve."""
    folder = run / "trials" / record.trial_id
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    write_record(folder, record)
    (folder / "curve.jsonl").write_text("".join(lines))
    return folder


def point(step: int, value: float, name: str = "train_loss") -> str:
    return json.dumps({"step": step, "name": name, "value": value}) + "\n"


# Records


def test_a_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    record = make_record(quality=0.1 + 0.2, metrics={"loss": 1 / 3}, packages={"torch": "2"}, slot_trial=0)
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record


def test_a_trial_without_a_record_has_none(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"trial_id": "x"}'])
def test_a_damaged_record_names_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(ValueError, match=f"{tmp_path}/record.json is damaged"):
        read_record(tmp_path)


def test_a_record_refuses_nan_and_infinity() -> None:
    for wrong in (
        {"quality": float("nan")},
        {"objective": float("inf")},
        {"metrics": {"loss": float("nan")}},
    ):
        with pytest.raises(ValidationError):
            make_record(**wrong)


# Curves


def test_a_resumed_trial_repeats_steps_and_the_later_value_counts(tmp_path: Path) -> None:
    lines = [point(1, 3.0), point(2, 2.0), point(3, 9.0), point(2, 2.5), point(3, 1.0)]
    folder = leave(tmp_path, make_record(), *lines)
    assert [(p["step"], p["value"]) for p in read_curve(folder)] == [(1, 3.0), (2, 2.5), (3, 1.0)]


@pytest.mark.parametrize("cut", [1, 10, 30])
def test_an_incomplete_last_line_is_skipped(tmp_path: Path, cut: int) -> None:
    folder = leave(tmp_path, make_record(), point(1, 3.0), point(2, 2.0)[:cut])
    assert [p["step"] for p in read_curve(folder)] == [1]


def test_points_are_sorted_by_name_and_step(tmp_path: Path) -> None:
    lines = [point(10, 1.0), point(2, 2.0), point(2, -2.0, "objective")]
    result = [(p["name"], p["step"]) for p in read_curve(leave(tmp_path, make_record(), *lines))]
    assert result == [("objective", 2), ("train_loss", 2), ("train_loss", 10)]


def test_a_trial_without_a_curve_has_no_points(tmp_path: Path) -> None:
    assert list(read_curve(tmp_path)) == []


# Tables


def test_the_table_has_every_column_of_the_contract_with_its_type() -> None:
    assert set(CONTRACT) <= set(SCHEMA.names)
    kinds = {
        "seed": pa.int64(),
        "quality": pa.float64(),
        "quality_higher_is_better": pa.bool_(),
        "peak_train_bytes": pa.int64(),
        "config": pa.string(),
        "metrics": pa.string(),
        "packages": pa.string(),
        "error": pa.string(),
    }
    assert {name: SCHEMA.field(name).type for name in kinds} == kinds
    assert CURVES.names == ["trial_id", "step", "name", "value"]


def test_tables_gather_every_trial_and_read_back_as_the_records(tmp_path: Path) -> None:
    late = make_record("b" * 12, started_at="2026-01-02", metrics={"exact_match": 0.5}, quality=0.5)
    early = make_record("c" * 12, started_at="2026-01-01", status="failed", error="NotFinite: loss is nan")
    leave(tmp_path, late, point(1, 2.0), point(2, 1.5))
    leave(tmp_path, early, point(1, 3.0))
    write_tables(tmp_path)
    run = read_run(tmp_path)
    assert run.records == [early, late]
    assert run.curve(late.trial_id, "train_loss") == [(1, 2.0), (2, 1.5)]
    assert run.spec is None
    assert run.environment == {}


def test_dicts_are_json_and_what_was_not_measured_is_null(tmp_path: Path) -> None:
    leave(tmp_path, make_record(metrics={"exact_match": 0.5}))
    write_tables(tmp_path)
    (row,) = pq.read_table(tmp_path / "trials.parquet").to_pylist()
    assert json.loads(row["metrics"]) == {"exact_match": 0.5}
    assert json.loads(row["config"]) == {"train": {"learning_rate": 1e-3}}
    assert row["peak_train_bytes"] is None
    assert row["quality"] is None


def test_a_folder_without_a_record_is_no_row_yet(tmp_path: Path) -> None:
    leave(tmp_path, make_record())
    (tmp_path / "trials" / "under-way").mkdir()
    (tmp_path / "trials" / "under-way" / "config.json").write_text("{}")
    write_tables(tmp_path)
    assert len(read_run(tmp_path).records) == 1


def test_a_run_without_trials_has_empty_tables(tmp_path: Path) -> None:
    write_tables(tmp_path)
    assert read_run(tmp_path).records == []
    assert pq.read_table(tmp_path / "trials.parquet").schema == SCHEMA


def test_a_column_of_a_later_version_is_ignored(tmp_path: Path) -> None:
    leave(tmp_path, make_record())
    write_tables(tmp_path)
    table = pq.read_table(tmp_path / "trials.parquet")
    pq.write_table(table.append_column("karma", pa.array([7])), tmp_path / "trials.parquet")
    assert results.read_run(tmp_path).records == [make_record()]


def test_the_error_for_a_folder_that_is_no_run_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no trials\.parquet here; is it a run folder"):
        read_run(tmp_path)
