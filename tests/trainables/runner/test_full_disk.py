"""A disk that is full just when a trial writes something: the trial says so, and goes on once there is room."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.trials import curve, make_config, write_rows
from trainables.runner.run import TrialContext, run_trial
from trainables.storage.outage import storage_failure

pytestmark = pytest.mark.slow

MOMENTS = {
    "its curve is opened": r"/curve\.jsonl$",
    "a checkpoint is written": r"/checkpoint-2/|/\.checkpoint-2\.",
    "its answers are written": r"/\.predictions\.parquet\.",
    "its record is written": r"/\.record\.json\.",
}


class FullAt:
    """Fills the disk as soon as a file is opened whose path matches a pattern. A hook of Python's can't be removed."""

    def __init__(self) -> None:
        self.disk, self.pattern = Path(), ""
        sys.addaudithook(self._before)

    def _before(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.pattern and event == "open" and re.search(self.pattern, str(arguments[0])):
            self.pattern = ""
            self._fill()

    def _fill(self) -> None:
        file = os.open(self.disk / "fill", os.O_CREAT | os.O_WRONLY)
        for size in (2**20, 2**12, 1):
            try:
                while os.write(file, bytes(size)) == size:
                    pass
            except OSError:
                continue
        os.close(file)


HOOK = FullAt()


@contextmanager
def full_at(disk: Path, pattern: str) -> Iterator[None]:
    """Within the block the disk has no byte left from that moment on, which has to come."""
    HOOK.disk, HOOK.pattern = disk, pattern
    try:
        yield
        assert not HOOK.pattern, f"nothing was opened that matches {pattern}"
    finally:
        HOOK.pattern = ""
        (disk / "fill").unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a disk of its own can't be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_trial_goes_on_where_the_disk_was_full(tmp_path: Path, disk: Path, tiny_model: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl")
    config = make_config(tiny_model, rows, steps=3, save_steps=1, learning_rate=1e-3)
    names = ("train_loss", "grad_norm", "objective")
    peace = run_trial(config, TrialContext(tmp_path / "peace"))
    expected = [curve(config, tmp_path / "peace", name) for name in names]
    assert peace.status == "done"
    for number, pattern in enumerate(MOMENTS.values()):
        run = disk / f"run-{number}"
        with full_at(disk, pattern), pytest.raises(Exception) as error:  # noqa: PT011 - of any library
            run_trial(config, TrialContext(run))
        assert storage_failure(error.value, run) is not None
        assert not list(run.rglob("record.json"))
        record = run_trial(config, TrialContext(run))
        assert (record.status, record.quality, record.metrics) == ("done", peace.quality, peace.metrics)
        assert [sorted(set(curve(config, run, name))) for name in names] == expected
