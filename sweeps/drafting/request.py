"""What a new spec is wanted for: as options say it, as a person answers, and by default."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from sweeps.drafting.column_guess import UnreadColumns, columns_override
from sweeps.drafting.data_target import data_target
from sweeps.drafting.foreign.foreign_file import read_foreign
from sweeps.spec.problems import Problem, SpecError
from trainables.data.embedded import commands
from trainables.data.errors import DataError
from trainables.data.files.data_files import first_names, is_data
from trainables.models.folder import ModelError
from trainables.system.suggestions import did_you_mean

DEFAULT_MODEL = "smollm2-135m"
DEFAULT_MINUTES = 10.0
NO_COLUMN = "-"  # the answer that no column has what is asked for


@dataclass(frozen=True)
class Request:
    """``command``: as it was typed. ``defaults``: sentences on what was not said and what counts instead."""

    source: str | None
    model: str | None
    stage: str | None
    minutes: float | None
    output: Path | None
    force: bool
    sets: tuple[str, ...]
    command: str
    defaults: tuple[str, ...] = ()
    said: frozenset[str] = field(default_factory=frozenset)

    @property
    def measuring_command(self) -> str:
        """The command that writes the spec again, after measuring the speed of what is unknown."""
        given = {"model": self.model, "stage": self.stage, "minutes": self.minutes, "output": self.output}
        options = {
            key: f"{value:g}" if isinstance(value, float) else str(value)
            for key, value in given.items()
            if value is not None and (key != "model" or value != DEFAULT_MODEL)
        }
        words = ["paretune", "init", str(self.source)]
        words += [word for key, value in options.items() for word in (f"--{key}", value)]
        words += [word for each in self.sets for word in ("--set", each)]
        return shlex.join([*words, "--measure", "--force"])

    def with_defaults(self) -> Request:
        """The request with a source. Raises ``SpecError`` where several data files could be meant."""
        said = frozenset(key for key in ("source", "model", "minutes") if getattr(self, key) is not None)
        defaults = list(self.defaults)
        source = self.source
        if source is None:
            source = default_source()
            defaults.append(f"no data given: {source} is taken{_why(source)}")
        if self.minutes is None:
            defaults.append(f"no --minutes given: the budget aims at about {DEFAULT_MINUTES:g} minutes")
        return replace(
            self, source=source, minutes=self.minutes or DEFAULT_MINUTES, defaults=tuple(defaults), said=said
        )


def _why(source: str) -> str:
    if source == commands.NAME:
        return ", which comes with Paretune, as there is no data in this folder"
    return ", the only data in this folder"


def default_source() -> str:
    """The only data file of the working folder, or the embedded data where there is none.

    Raises ``SpecError`` that lists them where there are several.
    """
    files = _data_files()
    if len(files) > 1:
        command = f"paretune init {shlex.quote(str(files[0]))}"
        what = f"which data? Here are {first_names(files, 6)}. Give one of them: {command}"
        raise SpecError(Problem("init", "", what))
    return files[0] if files else commands.NAME


def _data_files() -> list[str]:
    """The data files of the working folder, without texts that are a command line of another tool."""
    paths = (path for path in sorted(Path.cwd().iterdir()) if path.is_file() and is_data(path))
    return [path.name for path in paths if read_foreign(path) is None]


def _with_columns_asked(request: Request, ask: Callable[[str, str], str]) -> Request:
    """The request with a person's answers to which column is what, where the rows can't be read without them."""
    try:
        data_target(str(request.source), sets=request.sets)
    except UnreadColumns as error:
        listed = ", ".join(error.columns)
        prompt = _column(
            ask(f"Columns are {listed}. The one with the question or request", error.likely["prompt"]), error
        )
        rest = [column for column in error.columns if column != prompt]
        likely = error.likely["response"] if error.likely["response"] in rest else next(iter(rest), NO_COLUMN)
        asked = f"The one with the answer; {NO_COLUMN} if there is none, and texts are learned as they are"
        response = ask(asked, likely)
        columns = (
            {"text": prompt}
            if response == NO_COLUMN
            else {"prompt": prompt, "response": _column(response, error)}
        )
        return replace(request, sets=(*request.sets, columns_override(columns)))
    except (SpecError, DataError, ModelError):
        pass  # said when the spec is written, with what to do
    return request


def _column(answer: str, error: UnreadColumns) -> str:
    if answer not in error.columns:
        what = f"there is no column {answer!r}, but {', '.join(error.columns)}{did_you_mean(answer, error.columns)}"
        raise SpecError(Problem("columns", "", what))
    return answer


def as_asked(request: Request, ask: Callable[[str, str], str]) -> Request:
    """The request with a person's answers to what it leaves open; ``ask`` takes a question and a default."""
    if request.source is None:
        try:
            proposed = default_source()
        except SpecError:
            proposed = next(
                path.name for path in sorted(Path.cwd().iterdir()) if path.is_file() and is_data(path)
            )
        request = replace(request, source=ask("Data: a file, a folder or a data set's name", proposed))
    request = _with_columns_asked(request, ask)
    # Another tool's configuration names a model of its own.
    if request.model is None and read_foreign(Path(str(request.source)).expanduser()) is None:
        request = replace(
            request, model=ask("Model: a name, an id on the Hugging Face hub, or a folder", DEFAULT_MODEL)
        )
    if request.minutes is None:
        answer = ask("Minutes that the sweep may take", f"{DEFAULT_MINUTES:g}")
        try:
            request = replace(request, minutes=max(1.0, float(answer.replace(",", "."))))
        except ValueError as error:
            raise SpecError(Problem("minutes", "", f"{answer!r} is no number of minutes")) from error
    return request
