"""The claim that a quality hardly changes over the values of a setting, or over several cells."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sweeps.spec.claims.base import BaseClaim, Tests
from trainables.system.cell_names import plain_name


class Flat(BaseClaim):
    """The qualities of all ``of`` differ by less than ``margin``: of several cells, or of one cell over the values of a
    ``setting`` that its search chooses from (``method.rank``).
    """

    kind: Literal["flat"] = "flat"
    of: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)
    setting: str | None = Field(default=None, min_length=1)
    margin: float = Field(gt=0)

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        if len(self.of) == 1 and self.setting is None:
            raise ValueError(
                "one cell needs a setting whose values are compared, such as setting: method.rank"
            )
        if len(self.of) > 1 and self.setting is not None:
            raise ValueError(
                "several cells are compared with each other, without a setting. Leave one of both out"
            )
        if len(set(map(plain_name, self.of))) < len(self.of):
            raise ValueError("a cell is named twice. Name each once")
        return self

    @property
    def cells(self) -> dict[str, str]:
        return {f"of[{position}]": name for position, name in enumerate(self.of)}

    @property
    def tests(self) -> Tests:
        return Tests(sides=2, pairs=max(1, len(self.of) * (len(self.of) - 1) // 2))

    @property
    def smallest_difference(self) -> float | None:
        return self.margin
