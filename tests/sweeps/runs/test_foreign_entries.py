"""Links, pipes and devices in a run folder of somebody else: nothing is written through them, nobody waits for them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeps.cli import app
from sweeps.runs import lock
from sweeps.runs.foreign_entries import require_readable, require_writable
from sweeps.runs.location import existing_run, new_run
from tests.helpers.run_folders import record, write_run
from trainables.storage.damaged_files import DamagedFile
from trainables.system.signals import handling

TRIAL = "a" * 12


@pytest.fixture(autouse=True)
def ends() -> Iterator[None]:
    """Ends a test that waits for a pipe."""

    def fail(*_: object) -> None:
        raise TimeoutError

    with handling([signal.SIGALRM], fail):
        signal.alarm(60)
        yield
        signal.alarm(0)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    made = write_run(tmp_path / "run", [record(TRIAL, "full")], plan={"trials": {"sft-full": 1}})
    (made / "study-sft-full.journal.lock").symlink_to("study-sft-full.journal")  # a killed driver's
    (made / "wandb" / "own").mkdir(parents=True)
    (made / "tensorboard" / "sft-full" / TRIAL).mkdir(parents=True)
    (made / "wandb" / "latest-run").symlink_to("offline-run-1")  # W&B's own
    return made


@pytest.mark.parametrize(
    "place",
    [
        "trials",
        f"trials/{TRIAL}",
        f"trials/{TRIAL}/checkpoint-2",
        "curves.parquet",
        "wandb",
        "wandb/own",
        "tensorboard",
        "tensorboard/sft-full",
        f"tensorboard/sft-full/{TRIAL}",
        "mlflow",
        ".lock",
    ],
)
def test_a_run_with_a_link_in_it_is_held_by_nobody(tmp_path: Path, run: Path, place: str) -> None:
    path, elsewhere = run / place, tmp_path / "elsewhere"
    if path.exists():
        path.rename(elsewhere)
    else:
        elsewhere.mkdir()
    path.symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    with pytest.raises(DamagedFile, match=f"{path} is a link"), lock.held(run):
        pass
    assert sorted(elsewhere.rglob("*")) == before
    existing_run(str(run))  # to read, links are followed


def test_a_run_folder_may_be_a_link_itself(tmp_path: Path, run: Path) -> None:
    (tmp_path / "named").symlink_to(run)
    with lock.held(tmp_path / "named"):
        require_writable(tmp_path / "named")
    require_writable(tmp_path / "missing")


@pytest.mark.parametrize("place", [".lock", "environment.json", f"trials/{TRIAL}/record.json"])
@pytest.mark.parametrize("command", ["status", "logs", "report", "stop", "settle"])
def test_a_pipe_in_a_run_is_named_and_not_waited_for(run: Path, place: str, command: str) -> None:
    (run / place).unlink(missing_ok=True)
    os.mkfifo(run / place)
    result = CliRunner().invoke(
        app, [command, str(run), *(["--minutes", "1"] if command == "settle" else [])]
    )
    assert result.exit_code == 2, result.output
    assert f"{run / place} is neither a file nor a folder" in result.output.replace("\n", "")


def test_a_device_in_a_run_is_not_read(tmp_path: Path, run: Path) -> None:
    (run / "trials" / TRIAL / "curve.jsonl").unlink(missing_ok=True)
    (run / "trials" / TRIAL / "curve.jsonl").symlink_to("/dev/zero")
    for read in (
        lambda: new_run(str(tmp_path), "run"),
        lambda: existing_run(str(run)),
        lambda: require_readable(run),
    ):
        with pytest.raises(DamagedFile, match=r"curve\.jsonl is neither"):
            read()
