"""What the fields of config classes allow, in words."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sweeps.spec.problems import format_value

TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", dict: "a mapping"}


def config_classes(annotation: Any) -> dict[str, type[BaseModel]]:
    """The config classes in a type by their ``kind``: the members of a union, or the one class.

    >>> from trainables.methods import Method
    >>> list(config_classes(Method))
    ['full', 'freeze', 'lora', 'qlora']
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        kind = annotation.model_fields.get("kind")
        return {str(kind.default) if kind else annotation.__name__: annotation}
    return {kind: cls for member in get_args(annotation) for kind, cls in config_classes(member).items()}


def describe_allowed(info: FieldInfo) -> str:
    """What a field allows: ``a whole number, at least 1``."""
    return ", ".join([_describe_type(info.annotation), *_describe_bounds(info.metadata)])


def _describe_type(annotation: Any) -> str:
    members = get_args(annotation)
    if get_origin(annotation) is Literal:
        values = ", ".join(map(format_value, members))
        return f"one of {values}" if len(members) > 1 else values
    if get_origin(annotation) in (Union, types.UnionType):
        described = (_describe_type(member) for member in members if member is not type(None))
        return " or ".join(dict.fromkeys(described))
    if get_origin(annotation) is Annotated:
        return ", ".join([_describe_type(members[0]), *_describe_bounds(members[1:])])
    if get_origin(annotation) in (tuple, list):
        return "a list of texts" if members[0] is str else f"a list, each {_describe_type(members[0])}"
    if get_origin(annotation) is dict or config_classes(annotation):
        return "a mapping"
    return TYPE_NAMES.get(annotation, "a text")


def _describe_bounds(metadata: Any) -> Iterator[str]:
    names = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    # pydantic keeps bounds as annotated_types objects: Ge has an attribute `ge`, Le one of the name `le`, ...
    for constraint in metadata:
        for bound, words in names.items():
            if (limit := getattr(constraint, bound, None)) is not None:
                yield f"{words} {limit}"
