"""The command that resumes a run."""

from __future__ import annotations

import shlex
from pathlib import Path

from sweeps.execution.run_options import RunOptions


def test_the_resume_command_repeats_all_options_of_the_run() -> None:
    options = RunOptions("/home/ada/some runs", "auto", force=True)
    command = options.resume_command(Path("/specs/my spec.yaml"), ["search.trials=2", "name=my"])
    assert shlex.split(command) == [
        "paretune",
        "run",
        "/specs/my spec.yaml",
        "--output",
        "/home/ada/some runs",
        "--address",
        "auto",
        "--set",
        "search.trials=2",
        "--set",
        "name=my",
        "--force",
        "--resume",
    ]


def test_a_resumed_run_is_resumed_by_the_same_command() -> None:
    first, second = RunOptions("runs"), RunOptions("runs", resume=True)
    assert first.resume_command(Path("my.yaml")) == second.resume_command(Path("my.yaml"))
