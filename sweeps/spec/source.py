"""Reads a spec's YAML 1.2 into plain values, and remembers the line that each value was written on."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from sweeps.spec import yaml_safety
from sweeps.spec.key_path import KeyPath, format_path
from sweeps.spec.problems import Problem, SpecError
from trainables.config import limits
from trainables.system.suggestions import Proposal


@dataclass(frozen=True)
class Source:
    """A spec as written: its values, their lines, and the ``--set`` overrides that were applied.

    >>> read(Path("methods.yaml")).location(("methods", 1, "rank"))  # doctest: +SKIP
    'methods.yaml:9'
    """

    file: Path
    text: str
    tree: dict[str, Any]
    lines: Mapping[KeyPath, int]
    overrides: tuple[str, ...] = ()  # as given
    overridden: frozenset[KeyPath] = field(default_factory=frozenset)

    @property
    def folder(self) -> Path:
        """The folder that relative paths in the spec are relative to."""
        return self.file.resolve().parent

    def line_of(self, path: KeyPath) -> int:
        """The line of a value, or of the nearest part above it where the value is missing."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def location(self, path: KeyPath) -> str:
        """``file:line`` of a value, or the ``--set`` option that it came from."""
        # The longest prefix wins: a value inside an overridden mapping came from that option.
        for end in range(len(path), 0, -1):
            if path[:end] in self.overridden:
                return f"--set {format_path(path[:end])}"
        for override in sorted(self.overridden, key=format_path):
            # A section that exists only because an override set a leaf in it.
            if path not in self.lines and override[: len(path)] == path:
                return f"--set {format_path(override)}"
        return f"{self.file}:{self.line_of(path)}"

    def problem(self, path: KeyPath, what: str, error: bool = True) -> Problem:
        """A problem with the value at ``path``."""
        proposal = what if isinstance(what, Proposal) and what.instead is not None else None
        return Problem(
            self.location(path), format_path(path), str(what), error, self.line_of(path), path, proposal
        )


def read(file: Path) -> Source:
    """Reads a spec file.

    Raises ``SpecError`` for a file that is missing, not text, not YAML, empty or not a mapping.
    """
    return parse(file, _read_text(file))


def parse(file: Path, text: str) -> Source:
    """Reads a spec from its text; ``file`` is only named in messages. Raises ``SpecError`` as :func:`read` does."""
    lines: dict[KeyPath, int] = {}
    try:
        tree = _load(text, lines)
    except YAMLError as error:
        line, what = explain_yaml_error(error)
        proposal = what if isinstance(what, Proposal) else None
        raise SpecError(Problem(f"{file}:{line}", "", str(what), line=line, proposal=proposal)) from error
    if tree is None:
        raise SpecError(Problem(f"{file}:1", "", "the file is empty. Write a spec: name, model, data, ..."))
    if not isinstance(tree, dict):
        kind = "list" if isinstance(tree, list) else "single value"
        what = f"a spec is a mapping (name: ..., model: ...), not a {kind}"
        raise SpecError(Problem(f"{file}:1", "", what))
    return Source(file, text, tree, lines)


def parse_value(text: str, path: KeyPath = ()) -> Any:
    """One value in YAML 1.2, as ``--set`` takes it for a path. Raises ``YAMLError``.

    >>> parse_value("1e-4"), parse_value("off")
    (0.0001, 'off')
    """
    return _load(text, {}, path)


def _load(text: str, lines: dict[KeyPath, int], path: KeyPath = ()) -> Any:
    # Before ruamel builds anything: a small text can stand for an enormous value.
    yaml_safety.check_yaml(text)
    return _plain(YAML(typ="rt").load(text), path, lines)


def explain_yaml_error(error: YAMLError) -> tuple[int, str]:
    """The line (counted from 1) where YAML can't be read, and what to do there."""
    # Errors of ruamel's reader have no mark, and a `reason` in place of the parser's `problem`.
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    line = mark.line + 1 if mark else getattr(error, "line", 0) + 1
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    if isinstance(error, yaml_safety.UnsafeYAML):
        return line, problem
    if isinstance(error, DuplicateKeyError):
        return line, f"{problem.removeprefix('found ')}. Keep one of them"
    if "'\\t'" in problem:
        return line, Proposal("a tab; YAML is indented with spaces. Replace it", "  ")
    if "another document" in problem:
        return line, "a second document (---) begins here; a spec is one document"
    context = f" {error.context}" if isinstance(error, MarkedYAMLError) and error.context else ""
    return line, f"not YAML: {problem}{context}. Check the indentation, brackets and quotes around here"


def _read_text(file: Path) -> str:
    try:
        # One character beyond the limit shows that a file is too long without reading the rest of it.
        with file.open(encoding="utf-8") as opened:
            return opened.read(limits.SPEC_BYTES + 1)
    except FileNotFoundError as error:
        raise SpecError(Problem(str(file), "", "there is no such file. Check the path")) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(Problem(str(file), "", f"can't be read as text: {error}")) from error


def _plain(value: Any, path: KeyPath, lines: dict[KeyPath, int]) -> Any:
    """Turns ruamel's own types into plain dicts, lists and scalars, and collects the lines on the way."""
    if isinstance(value, CommentedMap):
        # `lc.data` lists only what was written here: keys merged in by `<<` keep no line.
        for key in value.lc.data or ():
            lines[(*path, str(key))] = value.lc.key(key)[0] + 1
        return {str(key): _plain(item, (*path, str(key)), lines) for key, item in value.items()}
    if isinstance(value, CommentedSeq):
        for index in value.lc.data or ():
            lines[(*path, index)] = value.lc.item(index)[0] + 1
        return [_plain(item, (*path, index), lines) for index, item in enumerate(value)]
    # Numbers among the texts that fill placeholders stay as they are written: 1.10 is not 1.1.
    if path[-2:-1] == ("variables",) and _is_number(value):
        return str(YAML(typ="rt").representer.represent_data(value).value)
    return _plain_scalar(value)


def _is_number(value: Any) -> bool:
    # ruamel's booleans are ints, too.
    return isinstance(value, int | float) and not isinstance(value, bool | ScalarBoolean)


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, TaggedScalar):
        return value.value
    # Before int: ruamel's booleans are ints.
    if isinstance(value, bool | ScalarBoolean):
        return bool(value)
    # YAML 1.2 has no dates: 2024-05-01 is a text.
    if isinstance(value, datetime.date):
        return str(value)
    # ruamel's round-trip scalars are subclasses that remember their format; only the plain value is kept.
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value
