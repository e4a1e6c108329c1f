"""The programs that a command and all Python processes below it start, also those that end within milliseconds."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.paths import ROOT

# Python imports it before all else.
START = """\
import os
import sys

POSITIONS = {"subprocess.Popen": 1, "os.posix_spawn": 1, "os.exec": 1}


def watch(event, given):
    if event in POSITIONS:
        words = given[POSITIONS[event]]
        words = [words] if isinstance(words, (str, bytes, os.PathLike)) else words
        line = " ".join(os.fsdecode(word) for word in words).replace("\\n", " ") + "\\n"
        file = os.open(os.environ["TESTS_STARTED_PROGRAMS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, line.encode())
        os.close(file)


sys.addaudithook(watch)
"""


def watching_starts(folder: Path) -> dict[str, str]:
    """Environment variables with which Python writes each program that it starts; ``folder`` is made for it."""
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(START, encoding="utf-8")
    return {"PYTHONPATH": f"{folder}:{ROOT}", "TESTS_STARTED_PROGRAMS": str(folder / "started")}


def started_programs(folder: Path) -> list[str]:
    """Their command lines, in the order of their starts."""
    path = folder / "started"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
