"""The base of every config a person writes or that crosses a process: frozen, and strict about its keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A pydantic model that can't change and refuses keys it doesn't know.

    >>> class Point(Frozen):
    ...     x: int
    >>> Point(x=1).x
    1
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)
