"""The base of all configs that people write or processes exchange: immutable, and strict about keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic.fields import FieldInfo

from trainables.storage.names import checked_part

# The id of a trial, the name of a cell: files and folders are called by it, and it may come from somebody else's run.
FileName = Annotated[str, AfterValidator(checked_part)]


class Frozen(BaseModel):
    """An immutable pydantic model that refuses unknown keys, NaN and infinity.

    >>> class Point(Frozen):
    ...     x: int
    >>> Point(x=1).x
    1
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


def fields_by_key(cls: type[BaseModel]) -> dict[str, FieldInfo]:
    """A config's fields by the keys that people write: a word that Python keeps for itself is an alias of the field."""
    return {info.alias or name: info for name, info in cls.model_fields.items()}
