"""A command's options as the fields of a form: their help and limits are those of the command itself."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from typer import Typer
from typer.models import ArgumentInfo, OptionInfo

Kind = Literal["text", "integer", "number", "switch", "list", "path"]
MAX_CHARACTERS = 4096
JSON = "as_json"  # the pages read JSON themselves


class WrongValue(ValueError):  # noqa: N818
    """A value that a field does not take; ``name`` is the field's."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class Field:
    """An option. ``off`` is the flag that turns a switch off; ``low`` and ``high`` are a number's limits."""

    name: str
    flag: str
    kind: Kind
    help: str
    default: Any = None
    off: str | None = None
    low: float | None = None
    high: float | None = None
    metavar: str | None = None

    def arguments(self, value: Any) -> list[str]:
        """The option and its value as one argument: no value is taken for an option. Raises :class:`WrongValue`."""
        if value is None or value == "" or value == []:
            return []
        if self.kind == "switch":
            return self._switch(value)
        values = value if self.kind == "list" and isinstance(value, list) else [value]
        return [f"{self.flag}={self._text(each)}" for each in values if each != ""]

    def _switch(self, value: Any) -> list[str]:
        if not isinstance(value, bool):
            raise WrongValue(self.name, f"{self.flag}: on or off is expected")
        if value == self.default:
            return []
        if value:
            return [self.flag]
        return [self.off] if self.off else []

    def _text(self, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise WrongValue(self.name, f"{self.flag}: a text or a number is expected")
        text = str(value).strip()
        if len(text) > MAX_CHARACTERS or any(character in text for character in "\0\n\r"):
            raise WrongValue(
                self.name, f"{self.flag}: one line of at most {MAX_CHARACTERS} characters is expected"
            )
        if self.kind in ("integer", "number"):
            self._check_number(text)
        return text

    def _check_number(self, text: str) -> None:
        try:
            number = int(text) if self.kind == "integer" else float(text)
        except ValueError:
            what = "a whole number" if self.kind == "integer" else "a number"
            raise WrongValue(self.name, f"{self.flag}: {text!r} is not {what}") from None
        if self.low is not None and not number >= self.low:
            raise WrongValue(self.name, f"{self.flag}: at least {self.low:g} is expected")
        if self.high is not None and not number <= self.high:
            raise WrongValue(self.name, f"{self.flag}: at most {self.high:g} is expected")


@dataclass(frozen=True)
class CommandForm:
    """The options of one command, by name."""

    command: str
    fields: Mapping[str, Field] = field(default_factory=dict)

    def arguments(self, values: Mapping[str, Any]) -> list[str]:
        """The options of a form that was filled in. Raises :class:`WrongValue`, also for an unknown option."""
        for name in values:
            if name not in self.fields:
                raise WrongValue(name, f"{self.command} has no option {name!r}")
        return [part for name, each in self.fields.items() for part in each.arguments(values.get(name))]


def command_form(commands: Typer, name: str) -> CommandForm:
    """The form of a command, read from its function's signature as Typer reads it.

    >>> from sweeps.cli import app
    >>> command_form(app, "evaluate").fields["rows"].low
    1
    """
    for command in commands.registered_commands:
        if command.callback is not None and (command.name or command.callback.__name__) == name:
            parameters = inspect.signature(command.callback, eval_str=True).parameters.values()
            fields = (_field(each) for each in parameters)
            return CommandForm(
                name, {each.name: each for each in fields if each is not None and each.name != JSON}
            )
    raise KeyError(name)


def _field(parameter: inspect.Parameter) -> Field | None:
    """The field of an option; ``None`` for an argument."""
    annotation, info = parameter.annotation, None
    if get_origin(annotation) is Annotated:
        annotation, *metadata = get_args(annotation)
        info = next((each for each in metadata if isinstance(each, OptionInfo | ArgumentInfo)), None)
    if not isinstance(info, OptionInfo):
        return None
    # In ``Annotated``, Typer keeps the first declaration as the default.
    declared = (info.default, *(info.param_decls or ()))
    flags = [each for each in declared if isinstance(each, str) and each.startswith("--")]
    on, _, off = (flags[0] if flags else f"--{parameter.name.replace('_', '-')}").partition("/")
    kind = _kind(annotation)
    return Field(
        name=parameter.name,
        flag=on,
        kind=kind,
        help=info.help or "",
        default=None if parameter.default is inspect.Parameter.empty else parameter.default,
        off=off or None,
        low=info.min,
        high=info.max,
        metavar=info.metavar if isinstance(info.metavar, str) else None,
    )


def _kind(annotation: Any) -> Kind:
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    if get_origin(annotation) is list:
        return "list"
    kinds: dict[Any, Kind] = {bool: "switch", int: "integer", float: "number", Path: "path"}
    return kinds.get(annotation, "text")
