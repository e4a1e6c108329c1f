"""The interface of every kind of claim."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, TypeAdapter, ValidationError

from reports.claims.cells import NamedCells
from reports.claims.judgement import Judgement
from trainables.results import CLAIM_MARKS

Name = Annotated[str, Field(min_length=1, max_length=500)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
MARKS = ("kind", *CLAIM_MARKS)  # of a claim as a run keeps it, beside the claim's settings


@dataclass(frozen=True)
class Claim(ABC):
    """A statement about cells. Subclasses add the settings that a spec gives, by the same names."""

    kind: ClassVar[str]

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """The claim as a run keeps it. Raises ``ValueError`` where a setting is missing, unknown, or can't be."""
        given = {name: value for name, value in values.items() if name not in MARKS}
        if unknown := sorted(set(given) - {field.name for field in fields(cls)}):
            raise ValueError(
                f"this version of Paretune knows no {', '.join(map(str, unknown))} of {cls.kind}"
            )
        try:
            # JSON has no tuples, so that strict types are those of JSON.
            return TypeAdapter(cls).validate_json(json.dumps(given), strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise ValueError(f"{place}: {first['msg']}" if place else str(first["msg"])) from error
        except (TypeError, RecursionError) as error:
            raise ValueError("its values are none of JSON") from error

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """The cells that it names."""

    @abstractmethod
    def statement(self, cells: NamedCells) -> str:
        """The claim as a sentence without a full stop."""

    @abstractmethod
    def judge(self, cells: NamedCells) -> Judgement:
        """What is known of it by itself; ``cells`` are those of :attr:`names`."""


@dataclass(frozen=True)
class PairClaim(Claim):
    """A statement about cell ``a`` against cell ``b``."""

    a: Name
    b: Name

    @property
    def names(self) -> tuple[str, ...]:
        return self.a, self.b
