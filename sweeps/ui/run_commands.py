"""The commands behind the buttons of a run's page. What a button shows is what it starts."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.ui.children.command_line import WrongArgument, checked, operand


@dataclass(frozen=True)
class RunCommand:
    """``argv`` without ``paretune``, and the folder in which it is started."""

    kind: str
    argv: tuple[str, ...]
    cwd: Path

    @property
    def text(self) -> str:
        """What a person would type."""
        return shlex.join(["paretune", *self.argv])


def stop(location: str, cwd: Path) -> RunCommand:
    return RunCommand("stop", ("stop", operand(location)), cwd)


def stop_trial(location: str, trial: str, cwd: Path) -> RunCommand:
    return RunCommand("stop", ("stop", f"{operand(location)}:{operand(trial)}", "--json"), cwd)


def add_trial(location: str, trial: str, sets: Sequence[str], cwd: Path) -> RunCommand:
    """A trial with the settings of another, and ``sets``, each ``PATH=VALUE``, changed."""
    changes = [part for each in sets for part in ("--set", _assignment(each))]
    argv = ("add", operand(location), "--like", operand(trial), *changes, "--json")
    return RunCommand("add", argv, cwd)


def report(location: str, cwd: Path) -> RunCommand:
    return RunCommand("report", ("report", operand(location)), cwd)


def _assignment(text: str) -> str:
    path, equals, _ = checked(text).partition("=")
    if not equals or not path or path.startswith("-"):
        raise WrongArgument(f"{text!r} is no change of a setting, as method.rank=64 is one")
    return text
