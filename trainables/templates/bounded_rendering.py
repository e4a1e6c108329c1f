"""A time limit for rendering, and one for the size of texts: chat templates come with models of others, and two nested
loops of a few characters take hours.

transformers compiles templates in an environment of Jinja's sandbox, which limits neither. Here loops count.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import jinja2
from jinja2 import nodes, pass_context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

SECONDS = 20.0  # for one conversation; the longest take milliseconds
MAX_ITEMS = 2**27  # characters of a text, or items of a list, that a template puts together
CHECK_EVERY = 256  # iterations between two looks at the clock


@dataclass
class _Rendering:
    """The conversation that is being rendered: when it has to be done (monotonic seconds), and its iterations."""

    end: float
    iterations: int = 0


_current: ContextVar[_Rendering | None] = ContextVar("rendering", default=None)


@contextmanager
def limited_rendering(seconds: float = SECONDS) -> Iterator[None]:
    """Rendering in the block takes at most ``seconds``; beyond it, ``jinja2.TemplateError`` is raised."""
    from transformers.utils import chat_template_utils

    # transformers makes the environment itself, by this name.
    vars(chat_template_utils)["ImmutableSandboxedEnvironment"] = BoundedEnvironment
    token = _current.set(_Rendering(time.monotonic() + seconds))
    try:
        yield
    finally:
        _current.reset(token)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """An environment whose templates look at the clock in their loops, and put no endless texts together."""

    intercepted_binops = frozenset({"*", "**", "+"})

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.filters |= {"_timed": _timed, "_sized": _sized}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Bounds().visit(super()._parse(source, name, filename))
        return tree

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or (operator == "*" and not isinstance(left, int | float)):
            _check_product(operator, left, right)
        elif operator == "*" and not isinstance(right, int | float):
            _check_product(operator, right, left)
        result = super().call_binop(context, operator, left, right)
        return _sized(context, result) if operator == "+" else result


class _Bounds(NodeTransformer):
    """Has every loop count its iterations, and every ``~`` measure its text."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802  # the visitor's name for it
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_timed")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, "_sized")


def _filtered(node: Any, name: str) -> nodes.Filter:
    result = nodes.Filter(node, name, [], [], None, None)
    result.set_lineno(node.lineno).set_environment(node.environment)
    return result


# With the context, so that Jinja doesn't apply them to constants when it compiles a template.
@pass_context
def _timed(context: Any, items: Iterable[Any]) -> Iterator[Any]:
    rendering = _current.get()
    for item in items:
        if rendering is not None:
            rendering.iterations += 1
            if rendering.iterations % CHECK_EVERY == 0 and time.monotonic() > rendering.end:
                raise jinja2.TemplateError(
                    f"it takes too long: {rendering.iterations:,} iterations of its loops"
                )
        yield item


@pass_context
def _sized(context: Any, value: Any) -> Any:
    if isinstance(value, str | list | tuple) and len(value) > MAX_ITEMS:
        raise jinja2.TemplateError(f"it puts together a text or list of more than {MAX_ITEMS:,} parts")
    return value


def _check_product(operator: str, value: Any, count: Any) -> None:
    """Refuses a power with a large exponent, and a text or list that is repeated too often."""
    size = value.bit_length() if isinstance(value, int) else len(value) if hasattr(value, "__len__") else 1
    if isinstance(count, int) and size * count > MAX_ITEMS:
        raise jinja2.TemplateError(f"the result of {operator} would have more than {MAX_ITEMS:,} parts")
