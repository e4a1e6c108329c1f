"""The interface of every claim: which cells it is about, and what it needs of a sweep to be answered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from trainables.config.base import Frozen
from trainables.results import CLAIM_SOURCE
from trainables.system.cell_names import plain_name

Subject = Literal["quality", "learning rates", "second evaluation set", "memory"]


@dataclass(frozen=True)
class Tests:
    """``sides``: the bounds of each difference that have to lie within the margin. ``pairs``: of the cells."""

    sides: int = 1
    pairs: int = 1


class BaseClaim(Frozen, ABC):
    """A statement about cells. Subclasses add ``kind`` and their own settings; margins have the unit of the quality
    (0.02 is 2 points of a share of rows). ``source``: who published it, which the report says beside the answer.
    """

    subject: ClassVar[Subject] = "quality"  # what the cells are compared by

    source: str | None = Field(default=None, min_length=1, max_length=300)

    @property
    @abstractmethod
    def cells(self) -> dict[str, str]:
        """The cells as the spec names them, by where in the claim: ``{"a": "lora", "b": "full"}``."""

    @property
    def tests(self) -> Tests:
        """What has to be shown of how many differences, for the claim to be supported."""
        return Tests()

    @property
    def smallest_difference(self) -> float | None:
        """The difference in quality that has to be told from 0; ``None`` where the claim names none."""
        return None

    def to_record(self) -> dict[str, Any]:
        """The claim as a run keeps it."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def statement(self) -> dict[str, Any]:
        """What is claimed, whoever published it."""
        return {name: value for name, value in self.to_record().items() if name != CLAIM_SOURCE}


class PairClaim(BaseClaim):
    """A statement about cell ``a`` against cell ``b``, by their names or those of their methods."""

    a: str = Field(min_length=1)
    b: str = Field(min_length=1)

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if plain_name(self.a) == plain_name(self.b):
            raise ValueError(f"a and b are both {self.a}. Name the cell that it is compared with")
        return self

    @property
    def cells(self) -> dict[str, str]:
        return {"a": self.a, "b": self.b}


def check_bounds(at_least: float | None, at_most: float | None, example: str) -> None:
    """Raises ``ValueError`` where a ratio has no bound, or bounds that leave nothing between them."""
    if at_least is None and at_most is None:
        raise ValueError(f"give at_least, at_most, or both: {example}")
    if at_least is not None and at_most is not None and at_least >= at_most:
        raise ValueError(f"got at_least {at_least:g} and at_most {at_most:g}; at_least is the smaller one")
