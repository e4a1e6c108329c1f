"""A small GraphQL executor without a schema: the fields of a query are looked up in plain values.

An object is a dict or a dataclass; a field that takes arguments is a function of keyword arguments. A field that an
object lacks is null, so that clients of several versions are answered by the same objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    OperationDefinitionNode,
    SelectionSetNode,
    Undefined,
    parse,
    value_from_ast_untyped,
)

INTERFACES = {"ArtifactSequence": ("ArtifactCollection",)}  # of types, by name


def execute(query: str, variables: Mapping[str, Any], roots: Mapping[str, Any]) -> dict[str, Any]:
    """The ``data`` of a query or mutation. ``roots``: an object for ``query`` and one for ``mutation``."""
    document = parse(query)
    operation = _operation(document)
    values = {**_defaults(operation), **variables}
    fragments = {
        each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
    }
    execution = _Execution(values, fragments)
    return execution.select(roots[operation.operation.value], operation.selection_set)


def operation_name(query: str) -> str:
    """The name of the first operation; its first field where it has none."""
    operation = _operation(parse(query))
    if operation.name is not None:
        return operation.name.value
    first = operation.selection_set.selections[0]
    return first.name.value if isinstance(first, FieldNode) else ""


def _operation(document: DocumentNode) -> OperationDefinitionNode:
    return next(each for each in document.definitions if isinstance(each, OperationDefinitionNode))


def _defaults(operation: OperationDefinitionNode) -> dict[str, Any]:
    return {
        each.variable.name.value: value_from_ast_untyped(each.default_value)
        for each in operation.variable_definitions or ()
        if each.default_value is not None
    }


class _Execution:
    def __init__(self, variables: dict[str, Any], fragments: dict[str, FragmentDefinitionNode]) -> None:
        self.variables, self.fragments = variables, fragments

    def select(self, value: Any, selections: SelectionSetNode) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for field in self._fields(value, selections):
            name = (field.alias or field.name).value
            result = self._complete(_field(value, field.name.value), field)
            # A field that several fragments select has the parts of all of them.
            known = found.get(name)
            found[name] = (
                {**known, **result} if isinstance(known, dict) and isinstance(result, dict) else result
            )
        return found

    def _fields(self, value: Any, selections: SelectionSetNode) -> Iterable[FieldNode]:
        for each in selections.selections:
            if isinstance(each, FieldNode):
                if self._included(each):
                    yield each
                continue
            part = self.fragments[each.name.value] if isinstance(each, FragmentSpreadNode) else each
            condition = part.type_condition.name.value if part.type_condition is not None else None
            kind = _field(value, "__typename")
            if condition is None or kind is None or condition in (kind, *INTERFACES.get(kind, ())):
                yield from self._fields(value, part.selection_set)

    def _included(self, field: FieldNode) -> bool:
        for directive in field.directives or ():
            given = {each.name.value: self._argument(each.value) for each in directive.arguments}
            if given.get("if") is (directive.name.value == "skip"):
                return False
        return True

    def _argument(self, node: Any) -> Any:
        return _without_undefined(value_from_ast_untyped(node, self.variables))

    def _complete(self, value: Any, field: FieldNode) -> Any:
        if callable(value):
            given = {each.name.value: self._argument(each.value) for each in field.arguments}
            value = value(**_without_undefined(given))
        if isinstance(value, list | tuple):
            return [self._selected(each, field) for each in value]
        return self._selected(value, field)

    def _selected(self, value: Any, field: FieldNode) -> Any:
        if value is None or field.selection_set is None:
            return value
        return self.select(value, field.selection_set)


def _without_undefined(value: Any) -> Any:
    """A variable that was not given is no field of an input."""
    if isinstance(value, dict):
        return {name: _without_undefined(each) for name, each in value.items() if each is not Undefined}
    return [_without_undefined(each) for each in value] if isinstance(value, list) else value


def _field(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(name)
    if name == "__typename":
        return getattr(value, "typename", None)
    return getattr(value, name, None) if is_dataclass(value) or hasattr(value, name) else None
