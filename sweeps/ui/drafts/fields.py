"""The fields of the form, read from the classes of the spec: a new method, stage or setting shows up by itself."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo

from sweeps.planning.grid import SEARCHABLE_DATA
from sweeps.spec.claims.reading import KINDS as CLAIMS
from sweeps.spec.domain_parser import PARSERS
from sweeps.spec.messages.validation_messages import FILLED_BY_PLANNING
from sweeps.spec.schema import ENTRY_CLASSES, SECTION_CLASSES, SECTIONS, SWEEP_WIDE
from sweeps.ui.drafts.help_texts import class_help, field_help
from trainables.config.base import fields_by_key

COMPARE = "compare"
# Sections that are parts of trials, so that values may be searched or compared (`schema.ONE_VALUE` for the others).
SEARCHED, COMPARED = ("train", "stages", "methods"), ("model", "data")
# What a new claim of the form begins with, where its kind has it.
CLAIM_VALUES = {"margin": 0.02, "share": 0.5, "at_least": 5}
# Set by planning, or belonging to what planning sets.
NOT_WRITTEN = {*FILLED_BY_PLANNING, "quality_file", "quality_sha256", "split_by", "eval_cutoff"}


@dataclass(frozen=True)
class Field:
    """A field of the form. ``kind``: boolean, integer, number, choice, text, texts, choices, path or yaml (all else).
    ``options``: the values that are allowed, or allowed beside numbers. ``ways``: what may stand in
    place of one value: kinds of domains, compare.
    """

    name: str
    kind: str
    options: tuple[Any, ...]
    minimum: float | None
    above: float | None  # a limit that itself is not allowed
    maximum: float | None
    below: float | None
    default: Any
    required: bool
    ways: tuple[str, ...]
    help: str


@cache
def form_fields() -> dict[str, Any]:
    """The fields of each section, and of each kind of stage and method, as JSON for the page."""
    sections = {
        part: [asdict(field) for field in _fields(cls, part)] for part, cls in SECTION_CLASSES.items()
    }
    entries = {
        part: {
            kind: {"help": class_help(cls), "fields": [asdict(field) for field in _fields(cls, part)]}
            for kind, cls in classes.items()
        }
        for part, classes in ENTRY_CLASSES.items()
    }
    return {
        "sections": sections,
        "section_help": {part: class_help(cls) for part, cls in SECTION_CLASSES.items()},
        "entries": entries,
        "claims": {kind: _claim(kind, cls) for kind, cls in CLAIMS.items()},
        "overrides": list(SECTIONS),
        "sweep_wide": list(SWEEP_WIDE),
        "domains": {name: list(options) for name, (_, options) in PARSERS.items()},
    }


def _claim(kind: str, cls: type[BaseModel]) -> dict[str, Any]:
    """``cells``: the keys of the cells that it is about; ``value``: the rest of a new one."""
    known = cls.model_fields
    return {
        "help": class_help(cls),
        "cells": [key for key in ("a", "b", "of") if key in known and known[key].is_required()],
        "value": {"kind": kind, **{key: value for key, value in CLAIM_VALUES.items() if key in known}},
    }


def _fields(cls: type[BaseModel], part: str) -> Iterator[Field]:
    names = {info.alias or name: name for name, info in cls.model_fields.items()}
    for key, info in fields_by_key(cls).items():
        if key in NOT_WRITTEN or key == "kind":
            continue
        yield _field(key, info, part, field_help(cls, names[key]))
    if part == "model":
        for key in ("from", "quantization"):  # read while planning, before the class
            yield Field(key, "yaml", (), None, None, None, None, None, False, (COMPARE,), "")


def _field(key: str, info: FieldInfo, part: str, said: str) -> Field:
    kind, options = _kind(info.annotation)
    limits = _limits(info)
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    return Field(
        name=key,
        kind=kind,
        options=tuple(options),
        minimum=limits.get("ge"),
        above=limits.get("gt"),
        maximum=limits.get("le"),
        below=limits.get("lt"),
        default=_json(default),
        required=info.is_required(),
        ways=_ways(part, key, kind),
        help=said,
    )


def _ways(part: str, key: str, kind: str) -> tuple[str, ...]:
    if key == "name" and part != "model":
        return ()
    if part in COMPARED:
        return ("choice", COMPARE) if (part, key) in SEARCHABLE_DATA else (COMPARE,)
    if part not in SEARCHED:
        return ()
    ranges = ("log", "uniform", "int") if kind == "number" else ("int",) if kind == "integer" else ()
    return ("choice", *ranges, COMPARE)


def _kind(annotation: Any) -> tuple[str, list[Any]]:
    """How values of a type are typed in, and which are listed."""
    members = list(_members(annotation))
    listed = [value for member in members if get_origin(member) is Literal for value in get_args(member)]
    others = [member for member in members if get_origin(member) is not Literal]
    if bool in others:
        return ("choice", [False, True, *listed]) if listed else ("boolean", [])
    if not others:
        return "choice", listed
    if float in others or int in others:
        return ("number" if float in others else "integer"), listed
    return _text_kind(others), [*listed, *_listed_inside(others)]


def _listed_inside(members: list[Any]) -> list[Any]:
    """The values that a list may hold, if they are listed."""
    inner = [each for member in members for argument in get_args(member)[:1] for each in _members(argument)]
    return [value for each in inner if get_origin(each) is Literal for value in get_args(each)]


def _text_kind(members: list[Any]) -> str:
    lists = [member for member in members if get_origin(member) in (tuple, list)]
    if any(member not in (str, Path) for member in members if member not in lists):
        return "yaml"
    if not lists:
        return "path" if members == [Path] else "text"
    inner = [each for member in lists for each in _members(get_args(member)[0])]
    if all(get_origin(each) is Literal for each in inner):
        return "choices"
    return "texts" if all(each is str for each in inner) else "yaml"


def _members(annotation: Any) -> Iterator[Any]:
    """The types of a union, without ``None`` and without what is annotated to them."""
    if get_origin(annotation) is Annotated:
        yield from _members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    elif annotation is not type(None):
        yield annotation


def _limits(info: FieldInfo) -> dict[str, float]:
    found: dict[str, float] = {}
    for rule in (*info.metadata, *_inner_rules(info.annotation)):
        if isinstance(rule, AfterValidator):  # of `limits.at_most`
            limit = getattr(rule.func, "keywords", {}).get("limit")
            found |= {} if limit is None else {"le": limit}
        for name, cls in (
            ("ge", annotated_types.Ge),
            ("gt", annotated_types.Gt),
            ("le", annotated_types.Le),
            ("lt", annotated_types.Lt),
        ):
            if isinstance(rule, cls):
                found[name] = getattr(rule, name)
    return found


def _inner_rules(annotation: Any) -> Iterator[Any]:
    """The rules of the members of a union."""
    if get_origin(annotation) is Annotated:
        yield from get_args(annotation)[1:]
    elif get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _inner_rules(member)


def _json(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_json(item) for item in value]
    return value if isinstance(value, bool | int | float | str | dict | None) else str(value)
