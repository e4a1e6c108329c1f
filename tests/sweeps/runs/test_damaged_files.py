"""A damaged file of a run is named, and does not hide the other trials."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from typer.testing import CliRunner

from sweeps.cli import app
from sweeps.execution import staging
from sweeps.execution.settling import looks
from sweeps.planning.plan import Plan
from sweeps.runs.resume_points import resume_points
from sweeps.search.asha import CellAsha
from sweeps.search.predecessors import Pipeline
from tests.helpers.run_folders import record, write_run, write_scores
from trainables.results import read_run
from trainables.storage.damaged_files import DamagedFile
from trainables.trial.config import read_config

DAMAGES = {
    "empty": b"",
    "no text": b"\xff\xfe\x00",
    "a list": b"[1]",
    "null": b"null",
    "other keys": b'{"a": 1}',
}
BAD, GOOD = "a" * 12, "b" * 12


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two done trials, and what belongs to it."""
    made = write_run(
        tmp_path / "run",
        [record(BAD, "full"), record(GOOD, "lora")],
        plan={"trials": {"sft-full": 1, "sft-lora": 1}},
    )
    for trial, cell in ((BAD, "sft-full"), (GOOD, "sft-lora")):
        config = made / "trials" / trial / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"cell": cell}))
        write_scores(made, trial, [1.0, 0.0] * 64)
        point = {"step": 1, "name": "train_loss", "value": 2.0}
        (made / "trials" / trial / "curve.jsonl").write_text(json.dumps(point) + "\n")
    (made / "sweep.log").write_text("started\n")
    return made


def paretune(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result.exit_code, result.output.replace("\n", "")


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_record_is_named_and_the_other_trials_are_shown(run: Path, damage: bytes) -> None:
    path = run / "trials" / BAD / "record.json"
    path.write_bytes(damage)
    code, output = paretune("status", run)
    assert code == 0
    assert f"{path} is damaged" in output
    assert GOOD in output
    code, output = paretune("status", run, "--json")
    assert [str(path) in each for each in json.loads(output)["damaged"]] == [True]
    code, output = paretune("report", run)
    assert code == 0
    assert f"warning: {path} is damaged" in output
    assert [each.trial_id for each in read_run(run).records] == [GOOD]


@pytest.mark.parametrize(
    "damage", [b"\xff\xfe\x00\n", b"[1]\n", b"null\n", b'{"a": 1}\n', b'{"step": "x"}\n']
)
def test_a_damaged_curve_is_named_and_the_other_trials_are_shown(run: Path, damage: bytes) -> None:
    path = run / "trials" / BAD / "curve.jsonl"
    path.write_bytes(damage)
    assert paretune("status", run)[0] == 0
    code, output = paretune("report", run)
    assert code == 0
    assert f"warning: {path} is damaged" in output
    assert paretune("logs", run, BAD)[0] == 2


def test_a_line_that_a_killed_process_left_incomplete_is_no_damage(run: Path) -> None:
    path = run / "trials" / BAD / "curve.jsonl"
    path.write_text('{"step": 1, "na\n{"step": 2, "name": "train_loss", "value": 1.5}\n{"step": 3, "n')
    assert "damaged" not in paretune("report", run)[1]
    assert read_run(run).curve(BAD, "train_loss") == [(2, 1.5)]


@pytest.mark.parametrize(
    "name", ["environment.json", "data.json", "spec.yaml", f"trials/{BAD}/predictions.parquet"]
)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_any_other_damaged_file_is_named(run: Path, name: str, damage: bytes) -> None:
    (run / name).write_bytes(damage)
    for command in ("status", "report"):
        code, output = paretune(command, run)
        assert code == 0 or str(run / name) in output


@pytest.mark.parametrize(
    "name", ["environment.json", "trials.parquet", "spec.yaml", f"trials/{BAD}/record.json"]
)
def test_a_folder_in_a_files_place_is_named(run: Path, name: str) -> None:
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir()
    for command in ("status", "report", "logs"):
        code, output = paretune(command, run)
        assert code == 0 or name in output


@pytest.mark.parametrize(
    "plan", [[1], "x", {"trials": {"sft-full": "x"}}, {"trials": [1]}, {"finalists": {"top": None}}]
)
def test_a_plan_that_is_none_is_named(run: Path, plan: object) -> None:
    path = run / "environment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "plan": plan}))
    for command in (["status", run], ["status", run, "--json"]):
        code, output = paretune(*command)
        assert (code, f"{path} is damaged" in output) == (2, True), output


def test_a_record_of_terabytes_is_not_read(run: Path) -> None:
    path = run / "trials" / BAD / "record.json"
    os.truncate(path, 2**42)
    code, output = paretune("status", run)
    assert (code, f"{path} is damaged: it has {2**42} bytes" in output) == (0, True), output


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_whoever_needs_a_damaged_config_names_it(run: Path, damage: bytes) -> None:
    folder = run / "trials" / BAD
    (folder / "record.json").unlink()
    (folder / "config.json").write_bytes(damage)
    readers: list[Callable[[], object]] = [
        lambda: read_config(folder),
        lambda: list(resume_points(run)),
        lambda: CellAsha(cast(Plan, SimpleNamespace(cells=[])), run, "board"),
    ]
    for read in readers:
        with pytest.raises(DamagedFile, match=f"{folder / 'config.json'} is damaged"):
            read()


@pytest.mark.parametrize(
    "damage", [*DAMAGES.values(), b'{"looks": [1]}', b'{"looks": 5, "paths": 5}', b"[" * 10**5]
)
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("settle.json", looks.mark_reported),
        ("given.json", lambda run: staging._staged(run / "given.json")),
    ],
)
def test_a_damaged_file_of_the_driver_is_named(
    run: Path, name: str, read: Callable[[Path], object], damage: bytes
) -> None:
    (run / name).write_bytes(damage)
    with pytest.raises(DamagedFile, match=f"{name} is damaged"):
        read(run)


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"[1]", b"null", b"[" * 10**5])
def test_damaged_choices_of_predecessors_are_named(run: Path, damage: bytes) -> None:
    (run / "starts.json").write_bytes(damage)
    with pytest.raises(DamagedFile, match=r"starts\.json is damaged"):
        Pipeline(run)


def test_a_damaged_file_says_which_key_is_wrong(run: Path) -> None:
    path = run / "trials" / BAD / "record.json"
    whole = json.loads(path.read_text())
    for key, value, why in (
        ("steps", "many", "Input should be a valid integer"),
        ("ended_at", "noon", "Value error"),
    ):
        path.write_text(json.dumps(whole | {key: value}))
        assert f"record.json is damaged: {key}: {why}" in paretune("status", run)[1]


def test_a_damaged_file_in_a_copy_of_a_run_is_named_by_the_runs_url(run: Path) -> None:
    path = run / "trials" / BAD / "record.json"
    path.write_text("{")
    copied = f"local://{run}"
    for command in (("status", copied), ("report", copied), ("logs", copied, BAD)):
        output = paretune(*command)[1]
        assert f"{copied}/trials/{BAD}/record.json is damaged" in output
        assert "paretune-ray-" not in output


@pytest.mark.parametrize(
    ("key", "value"), [("plan", [1]), ("report", "x"), ("test_rows", 5), ("packages", []), ("seconds", "x")]
)
def test_a_wrong_value_in_the_environment_of_a_run_is_named(run: Path, key: str, value: object) -> None:
    path = run / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(DamagedFile, match=rf"environment\.json is damaged: its {key} is"):
        read_run(run)
