"""The interface of every kind of claim."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from reports.claims.cells import NamedCells
from reports.claims.judgement import Judgement


@dataclass(frozen=True)
class Claim(ABC):
    """A statement about cells. Subclasses add the settings that a spec gives, by the same names."""

    kind: ClassVar[str]

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """The claim as a run keeps it. Raises ``ValueError`` where a setting is missing."""
        known = {field.name for field in fields(cls)}
        try:
            return cls(**{name: value for name, value in values.items() if name in known})
        except TypeError as error:
            raise ValueError(f"a claim of kind {cls.kind} is damaged: {error}") from error

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

    a: str
    b: str

    @property
    def names(self) -> tuple[str, ...]:
        return self.a, self.b
