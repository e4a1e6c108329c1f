"""The problems of a spec as JSON, with corrections that an editor can apply to the text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from sweeps.spec.key_path import KeyPath
from sweeps.spec.positions import Place, Span, error_column, places
from sweeps.spec.problems import Problem
from sweeps.spec.source import Source


def problems_json(source: Source, problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Each problem with its place in the text of the spec, and its correction where there is an obvious one."""
    where = places(source.text)
    return [_problem_json(problem, source, where) for problem in problems]


def unreadable_json(problems: Iterable[Problem], cause: BaseException | None = None) -> list[dict[str, Any]]:
    """The problems of a spec that could not be read; ``cause``: the error of YAML, if that was why."""
    column = error_column(cause) if isinstance(cause, YAMLError) else None
    return [
        _plain_json(problem) | {"column": column, "fix": _text_fix(problem, column)} for problem in problems
    ]


def _text_fix(problem: Problem, column: int | None) -> dict[str, Any] | None:
    """The correction of the character at which YAML can't be read: a tab."""
    if problem.proposal is None or problem.proposal.instead is None or column is None:
        return None
    end, new = column + 1, problem.proposal.instead
    return _fix_json(Span(problem.line, column, problem.line, end), "\t", new, "text")


def _fix_json(span: Span, old: str, new: str, part: str) -> dict[str, Any]:
    columns = {"column": span.column, "end_column": span.end_column}
    return {"line": span.line, **columns, "old": old, "new": new, "part": part}


def _plain_json(problem: Problem) -> dict[str, Any]:
    return {
        "where": problem.where,
        "line": problem.line or None,
        "column": None,
        "path": problem.path,
        "severity": "error" if problem.error else "warning",
        "message": problem.what,
        "fix": None,
    }


def _problem_json(problem: Problem, source: Source, where: Mapping[KeyPath, Place]) -> dict[str, Any]:
    # What came from an option has no place in the text.
    if problem.where != f"{source.file}:{problem.line}":
        return _plain_json(problem) | {"line": None}
    at = _nearest_place(problem.keys, where)
    if at is None:
        return _plain_json(problem)
    start = at.key or at.value
    return _plain_json(problem) | {
        "line": start.line,
        "column": start.column,
        "fix": _fix(problem, source, where),
    }


def _nearest_place(path: KeyPath, where: Mapping[KeyPath, Place]) -> Place | None:
    """The place of a value, or of the nearest part above it where the value is missing."""
    while path and path not in where:
        path = path[:-1]
    return where.get(path)


def _fix(problem: Problem, source: Source, where: Mapping[KeyPath, Place]) -> dict[str, Any] | None:
    proposal = problem.proposal
    if proposal is None or proposal.instead is None:
        return None
    span = _key_span(problem.keys, where) if proposal.of_key else _value_span(problem.keys, where)
    # A value over several lines may hold comments, which would be lost.
    if span is None or span.line != span.end_line:
        return None
    old, new = span.cut(source.text), _as_written(proposal.instead, source.folder)
    if old == new:
        return None
    return _fix_json(span, old, new, "key" if proposal.of_key else "value")


def _key_span(path: KeyPath, where: Mapping[KeyPath, Place]) -> Span | None:
    place = where.get(path)
    return place.key if place is not None else None


def _value_span(path: KeyPath, where: Mapping[KeyPath, Place]) -> Span | None:
    """The span of a value, or of the text that is short for the mapping it is in: ``model: NAME``."""
    place = where.get(path)
    if place is None and (above := where.get(path[:-1])) is not None and above.scalar:
        place = above
    return place.value if place is not None else None


def _as_written(new: str, folder: Path) -> str:
    """A proposed text as a spec writes it: a file of the spec's folder is relative to it."""
    if Path(new).is_absolute() and Path(new).is_relative_to(folder):
        new = str(Path(new).relative_to(folder))
    return new
