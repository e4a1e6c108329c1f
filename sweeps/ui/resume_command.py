"""The command that resumes a run. What a run says of its own command may be somebody else's text: little is taken
from it, and what it would read or run is looked at first.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.spec import overrides
from sweeps.spec.key_path import KeyPath
from sweeps.spec.problems import SpecError
from sweeps.spec.source import Source, parse
from sweeps.ui.children.command_line import WrongArgument, checked, operand
from sweeps.ui.drafts.origins import shipped
from sweeps.ui.drafts.paths import outside_problems, texts_of
from sweeps.ui.roots import Roots, is_below
from sweeps.ui.run_commands import RunCommand
from trainables.config import limits
from trainables.storage.damaged_files import DamagedFile
from trainables.storage.regular_files import require_own
from trainables.storage.urls import is_url

SPEC_SUFFIXES = (".yaml", ".yml")
YOURSELF = "type the command in a terminal if you trust this run"


@dataclass(frozen=True)
class Resumed:
    """A run to resume. ``copy``: its folder, or that of the copy of a run at a URL. ``address``: that of the UI's
    cluster, which no run chooses.
    """

    location: str
    environment: dict[str, Any]
    copy: Path
    data_folder: Path
    roots: Roots
    address: str | None = None

    def command(self) -> RunCommand:
        """Runs what is left of the run: its spec as it was typed, where that is a spec of the UI's folders, with the
        values that were set, else the spec that the run keeps. Raises :class:`WrongArgument` where its text leads out
        of these folders, or names code that only the run's text asks for. A spec that is not as the run was started
        with is refused by the command itself.
        """
        typed, sets = _typed(str(self.environment.get("command") or ""))
        spec, cwd, text = self._spec(typed)
        self._check(spec, cwd, text, sets)
        options = [part for each in sets for part in ("--set", checked(each))]
        options += ["--address", self.address] if self.address else []
        argv = ("run", operand(spec), *options, "--output", operand(self._output), "--resume", "--detach")
        return RunCommand("run", argv, cwd)

    def foreign_code(self, text: str) -> set[str]:
        """What a spec that the run keeps would run, without what the user's spec names that began the run. A spec that
        can't be read runs nothing.
        """
        typed, _ = _typed(str(self.environment.get("command") or ""))
        spec, cwd, own = self._spec(typed)
        try:
            named = _code(parse(Path.cwd() / "spec.yaml", text))
            known = _code(parse(Path.cwd() / "spec.yaml", own)) if self._is_of_the_user(spec, cwd) else set()
        except SpecError:
            return set()
        return named - known

    @property
    def _output(self) -> str:
        return self.location.rstrip("/").rpartition("/")[0] or "."

    def _spec(self, typed: str | None) -> tuple[str, Path, str]:
        """The spec's place, the folder in which it is one, and its text."""
        for cwd in (self.data_folder, Path.cwd()) if typed and typed.endswith(SPEC_SUFFIXES) else ():
            path = cwd / str(typed)
            if self.roots.contain(path) and path.is_file():
                return str(typed), cwd, _text(path)
        if typed and (found := shipped(typed)) is not None:
            return typed, self.data_folder, found.text
        text = _text(self.copy / "spec.yaml")
        place = self.location.rstrip("/")
        spec = f"{place}/spec.yaml" if is_url(place) else str(Path(place) / "spec.yaml")
        return spec, self.data_folder, text

    def _check(self, spec: str, cwd: Path, text: str, sets: list[str]) -> None:
        try:
            # As if it stood in this folder: then what is set stays as it was typed.
            written = parse(Path.cwd() / "spec.yaml", text)
            applied = overrides.apply(written, sets)
            folder = cwd if is_url(spec) else (cwd / spec).parent
            problems = [
                each for place in {folder, cwd} for each in outside_problems(applied, place, self.roots)
            ]
        except SpecError as error:
            raise WrongArgument(f"{spec}: {error.problems[0].what}") from None
        if problems:
            raise WrongArgument(str(problems[0]["message"]))
        known = _code(written) if self._is_of_the_user(spec, cwd) else set()
        if more := _code(applied) - known:
            raise WrongArgument(f"the run's own spec would run code ({', '.join(sorted(more))}); {YOURSELF}")

    def _is_of_the_user(self, spec: str, cwd: Path) -> bool:
        """Whether a spec is a shipped one, or stands outside the folder of runs, where others may write."""
        if is_url(spec):
            return False
        return is_url(self.location) or not is_below(Path(self._output), cwd / spec)


def _code(source: Source) -> set[str]:
    """What settings name of code that a run would execute: scorers, methods of one's own, and a model's."""
    return {text for path, text in texts_of(source.tree, ()) if _is_code(path, text)}


def _is_code(path: KeyPath, text: str) -> bool:
    return "unsafe" in path or (bool({"quality", "kind"} & set(path)) and ":" in text)


def _text(path: Path) -> str:
    try:
        with require_own(path).open("rb") as file:
            return file.read(limits.SPEC_BYTES + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError, DamagedFile):
        raise WrongArgument(f"{path} can't be read, so there is no spec to go on with; {YOURSELF}") from None


def _typed(command: str) -> tuple[str | None, list[str]]:
    """The spec of the ``paretune run`` that began a run, and the values that it set; nothing else of it counts."""
    words = list[str]()
    with suppress(ValueError):
        words = shlex.split(command)
    if words[:2] != ["paretune", "run"]:
        return None, []
    sets, spec = list[str](), None
    rest = iter(words[2:])
    for word in rest:
        name, _, _ = word.partition("=")
        if name in ("--output", "--address", "--set", "--trust"):
            value = _value(word, rest)
            sets += [value] if name == "--set" and value is not None else []
        elif not word.startswith("-") and spec is None:
            spec = word
    return spec, sets


def _value(word: str, rest: Iterator[str]) -> str | None:
    _, equals, value = word.partition("=")
    return value if equals else next(rest, None)
