"""The commands behind the buttons of a run's page. What a button shows is what it starts."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.ui.children.command_line import WrongArgument, checked, operand
from trainables.storage.urls import is_url

SPEC_SUFFIXES = (".yaml", ".yml")


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


def resume(location: str, environment: dict[str, Any], data_folder: Path) -> RunCommand:
    """Runs what is left of a run: its own command again, in the folder where that finds its spec, else the spec that
    the run keeps. A spec that is not as the run was started with is refused by the command itself.
    """
    output, _, _ = location.rstrip("/").rpartition("/")
    spec, options = _typed(str(environment.get("command") or ""))
    for cwd in (data_folder, Path.cwd()):
        if spec is not None and (cwd / spec).is_file():
            break
    else:
        shipped = spec is not None and not spec.endswith(SPEC_SUFFIXES) and "/" not in spec
        spec = spec if shipped else _join(location, "spec.yaml")
        cwd = data_folder
    argv = ("run", operand(str(spec)), *options, "--output", operand(output or "."), "--resume", "--detach")
    return RunCommand("run", argv, cwd)


def _join(location: str, name: str) -> str:
    return f"{location.rstrip('/')}/{name}" if is_url(location) else str(Path(location) / name)


def _typed(command: str) -> tuple[str | None, list[str]]:
    """The spec of the ``paretune run`` that began a run, and its options but for where to write and how to go on."""
    words = list[str]()
    with suppress(ValueError):
        words = shlex.split(command)
    if words[:2] != ["paretune", "run"]:
        return None, []
    kept, spec = list[str](), None
    rest = iter(words[2:])
    for word in rest:
        name, equals, _ = word.partition("=")
        if name == "--output":
            None if equals else next(rest, None)
        elif name in ("--address", "--set", "--trust"):
            kept += [checked(each) for each in ([word] if equals else _with_value(word, rest))]
        elif word == "--force":
            kept.append(word)
        elif not word.startswith("-") and spec is None:
            spec = word
    return spec, kept


def _with_value(word: str, rest: Iterator[str]) -> list[str]:
    value = next(rest, None)
    return [] if value is None else [word, value]


def _assignment(text: str) -> str:
    path, equals, _ = checked(text).partition("=")
    if not equals or not path or path.startswith("-"):
        raise WrongArgument(f"{text!r} is no change of a setting, as method.rank=64 is one")
    return text
