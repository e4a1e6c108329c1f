"""Reads a spec's YAML 1.2 into plain values, and remembers the line each of them was written on."""

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


@dataclass(frozen=True)
class Source:
    """A spec as written: its values, their lines, and the ``--set`` overrides that were applied.

    >>> read(Path("methods.yaml")).where(("methods", 1, "rank"))  # doctest: +SKIP
    'methods.yaml:9'
    """

    file: Path
    text: str
    tree: dict[str, Any]
    lines: Mapping[KeyPath, int]
    overrides: tuple[str, ...] = ()
    overridden: frozenset[KeyPath] = field(default_factory=frozenset)

    @property
    def folder(self) -> Path:
        """What relative paths in the spec are relative to."""
        return self.file.resolve().parent

    def line_of(self, keys: KeyPath) -> int:
        """The line a value was written on; of what should hold it, where it isn't there."""
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return self.lines.get(keys, 1)

    def where(self, keys: KeyPath) -> str:
        """``file:line``, or the ``--set`` that the value came from."""
        for end in range(len(keys), 0, -1):
            if keys[:end] in self.overridden:
                return f"--set {format_path(keys[:end])}"
        for override in sorted(self.overridden, key=format_path):
            # A section that only exists because a leaf in it was set.
            if keys not in self.lines and override[: len(keys)] == keys:
                return f"--set {format_path(override)}"
        return f"{self.file}:{self.line_of(keys)}"

    def problem(self, keys: KeyPath, what: str, error: bool = True) -> Problem:
        """What is wrong with the value at ``keys``."""
        return Problem(self.where(keys), format_path(keys), what, error, self.line_of(keys))


def read(file: Path) -> Source:
    """Reads a spec. Raises ``SpecError`` for a file that is missing, broken, empty or not a mapping."""
    return parse(file, _text(file))


def parse(file: Path, text: str) -> Source:
    """Reads a spec whose text is known. Raises ``SpecError`` as :func:`read` does."""
    lines: dict[KeyPath, int] = {}
    try:
        tree = _loaded(text, lines)
    except YAMLError as error:
        line, what = explain_yaml_error(error)
        raise SpecError(Problem(f"{file}:{line}", "", what)) from error
    if tree is None:
        raise SpecError(Problem(f"{file}:1", "", "the file is empty. Write a spec: name, model, data, ..."))
    if not isinstance(tree, dict):
        what = f"a spec is a mapping (name: ..., model: ...), not a {_kind(tree)}"
        raise SpecError(Problem(f"{file}:1", "", what))
    return Source(file, text, tree, lines)


def parse_value(text: str) -> Any:
    """One value in YAML 1.2, as ``--set`` takes it. Raises ``YAMLError``.

    >>> value_of("1e-4"), value_of("off")
    (0.0001, 'off')
    """
    return _loaded(text, {})


def _loaded(text: str, lines: dict[KeyPath, int]) -> Any:
    yaml_safety.check_yaml(text)
    return _plain(YAML(typ="rt").load(text), (), lines)


def explain_yaml_error(error: YAMLError) -> tuple[int, str]:
    """The line (1 = the first) where YAML can't be read, and what to do there."""
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    line = mark.line + 1 if mark else getattr(error, "line", 0) + 1
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    if isinstance(error, yaml_safety.UnsafeYAML):
        return line, problem
    if isinstance(error, DuplicateKeyError):
        return line, f"{problem.removeprefix('found ')}. Keep one of them"
    if "'\\t'" in problem:
        return line, "a tab; YAML is indented with spaces. Replace it"
    if "another document" in problem:
        return line, "a second document (---) begins here; a spec is one document"
    context = f" {error.context}" if isinstance(error, MarkedYAMLError) and error.context else ""
    return line, f"not YAML: {problem}{context}. Check the indentation, brackets and quotes around here"


def _text(file: Path) -> str:
    try:
        # One more than it may have: that tells a longer one, of which the rest needn't be read.
        with file.open(encoding="utf-8") as opened:
            return opened.read(limits.SPEC_BYTES + 1)
    except FileNotFoundError as error:
        raise SpecError(Problem(str(file), "", "there is no such file. Check the path")) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(Problem(str(file), "", f"can't be read as text: {error}")) from error


def _plain(value: Any, keys: KeyPath, lines: dict[KeyPath, int]) -> Any:
    """Plain dicts, lists and scalars for ruamel's own types; lines go to ``lines`` on the way."""
    if isinstance(value, CommentedMap):
        for key in value.lc.data or ():
            lines[(*keys, str(key))] = value.lc.key(key)[0] + 1
        return {str(key): _plain(item, (*keys, str(key)), lines) for key, item in value.items()}
    if isinstance(value, CommentedSeq):
        for index in value.lc.data or ():
            lines[(*keys, index)] = value.lc.item(index)[0] + 1
        return [_plain(item, (*keys, index), lines) for index, item in enumerate(value)]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, TaggedScalar):
        return value.value
    if isinstance(value, bool | ScalarBoolean):
        return bool(value)
    # YAML 1.2 has no dates: 2024-05-01 is a text.
    if isinstance(value, datetime.date):
        return str(value)
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _kind(tree: Any) -> str:
    return "list" if isinstance(tree, list) else "single value"
