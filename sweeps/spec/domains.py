"""What a searched leaf may be: one of a few values, or a number between two ends."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.spec.problems import format_value
from trainables.storage import files

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


class Domain(ABC):
    """The values that a search may give a leaf."""

    @abstractmethod
    def probes(self) -> tuple[Any, ...]:
        """The values to validate before anything runs: both ends, or every choice."""

    @abstractmethod
    def size(self) -> int | None:
        """How many values there are; ``None`` for a continuum."""

    @abstractmethod
    def distribution(self) -> BaseDistribution:
        """The same domain for Optuna."""

    @abstractmethod
    def clip(self, value: Any) -> Any:
        """The value of the domain that is nearest to ``value``."""

    def encode(self, value: Any) -> Any:
        """A value of the domain as Optuna holds it."""
        return value

    def decode(self, value: Any) -> Any:
        """What Optuna proposed, as a value of the domain."""
        return value


@dataclass(frozen=True)
class Choice(Domain):
    """One of ``values``. Optuna holds lists and mappings as JSON texts.

    >>> str(Choice((4, 8, 16)))
    'choice [4, 8, 16]'
    """

    values: tuple[Any, ...]

    def probes(self) -> tuple[Any, ...]:
        return self.values

    def size(self) -> int:
        return len(self.values)

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution([self.encode(value) for value in self.values])

    def encode(self, value: Any) -> Any:
        return files.canonical(value) if isinstance(value, list | tuple | dict) else value

    def decode(self, value: Any) -> Any:
        return next(own for own in self.values if self.encode(own) == value)

    def clip(self, value: Any) -> Any:
        if value in self.values:
            return value
        numbers = [own for own in self.values if is_number(own)]
        if numbers and is_number(value):
            return min(numbers, key=lambda own: abs(own - value))
        return self.values[0]

    def __str__(self) -> str:
        return f"choice [{', '.join(format_value(value) for value in self.values)}]"


@dataclass(frozen=True)
class Log(Domain):
    """A number between ``low`` and ``high``, each factor of it as likely as any other."""

    low: float
    high: float

    def probes(self) -> tuple[float, float]:
        return self.low, self.high

    def size(self) -> None:
        return None

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=True)

    def clip(self, value: float) -> float:
        return min(max(float(value), self.low), self.high)

    def __str__(self) -> str:
        return f"log [{self.low:g}, {self.high:g}]"


@dataclass(frozen=True)
class Uniform(Domain):
    """A number between ``low`` and ``high``; with ``step``, on the grid that starts at ``low``."""

    low: float
    high: float
    step: float | None = None

    def probes(self) -> tuple[float, float]:
        return self.low, self.clip(self.high)

    def size(self) -> int | None:
        return None if self.step is None else self._steps() + 1

    def _steps(self) -> int:
        assert self.step is not None
        # 0.3 / 0.1 is a hair below 3.
        return math.floor((self.high - self.low) / self.step + 1e-9)

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.clip(self.high), step=self.step)

    def clip(self, value: float) -> float:
        if self.step is None:
            return min(max(float(value), self.low), self.high)
        steps = min(max(round((value - self.low) / self.step), 0), self._steps())
        return round(self.low + self.step * steps, 12)  # 3 x 0.1 is a hair above 0.3

    def __str__(self) -> str:
        step = "" if self.step is None else f" step {self.step:g}"
        return f"uniform [{self.low:g}, {self.high:g}]{step}"


@dataclass(frozen=True)
class Int(Domain):
    """A whole number between ``low`` and ``high``, every ``step``-th; ``log`` favours no factor."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    def probes(self) -> tuple[int, int]:
        return self.low, self.clip(self.high)

    def size(self) -> int:
        return (self.high - self.low) // self.step + 1

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.clip(self.high), log=self.log, step=self.step)

    def clip(self, value: float) -> int:
        return self.low + self.step * min(max(round((value - self.low) / self.step), 0), self.size() - 1)

    def __str__(self) -> str:
        options = (f" step {self.step}" if self.step != 1 else "") + (" log" if self.log else "")
        return f"int [{self.low}, {self.high}]{options}"


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
