"""Search domains of a leaf: one of a few values, or a number between two ends."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sweeps.spec.problems import format_value
from trainables.storage import files

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True, kw_only=True)
class Domain(ABC):
    """The values that a search may give a leaf. ``start``: the one of the first trial, where the spec says it."""

    start: Any = field(default=None, repr=False)

    @abstractmethod
    def probes(self) -> tuple[Any, ...]:
        """The values to check before anything runs: both ends, or every choice."""

    @abstractmethod
    def size(self) -> int | None:
        """The number of values; ``None`` for a continuum."""

    @abstractmethod
    def distribution(self) -> BaseDistribution:
        """The same domain as an Optuna distribution."""

    @abstractmethod
    def clip(self, value: Any) -> Any:
        """The value of the domain nearest to ``value``."""

    def holds(self, value: Any) -> bool:
        """Whether a search may give the leaf this value."""
        return is_number(value) and math.isclose(self.clip(value), value)

    def encode(self, value: Any) -> Any:
        """A value of the domain in the form that Optuna stores."""
        return value

    def decode(self, value: Any) -> Any:
        """The value of the domain that Optuna's stored form stands for."""
        return value


@dataclass(frozen=True)
class Choice(Domain):
    """One of ``values``. Optuna stores lists and mappings as JSON texts.

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
        return next(choice for choice in self.values if self.encode(choice) == value)

    def holds(self, value: Any) -> bool:
        return any(self.encode(choice) == self.encode(value) for choice in self.values)

    def clip(self, value: Any) -> Any:
        if value in self.values:
            return value
        numbers = [choice for choice in self.values if is_number(choice)]
        if numbers and is_number(value):
            return min(numbers, key=lambda number: abs(number - value))
        return self.values[0]

    def __str__(self) -> str:
        return f"choice [{', '.join(format_value(value) for value in self.values)}]"


@dataclass(frozen=True)
class Log(Domain):
    """A number between ``low`` and ``high`` that is uniform on a log scale."""

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
    """A number between ``low`` and ``high``; with ``step``, one of ``low``, ``low + step``, ..."""

    low: float
    high: float
    step: float | None = None

    def probes(self) -> tuple[float, float]:
        # With a step that doesn't divide the width, the largest value that can be drawn is below `high`.
        return self.low, self.clip(self.high)

    def size(self) -> int | None:
        return None if self.step is None else self._step_count() + 1

    def _step_count(self) -> int:
        assert self.step is not None
        # In floating point 0.3 / 0.1 is slightly below 3.
        return math.floor((self.high - self.low) / self.step + 1e-9)

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution

        # Optuna warns about a `high` that is no whole number of steps above `low`, and changes it.
        return FloatDistribution(self.low, self.clip(self.high), step=self.step)

    def encode(self, value: float) -> float:
        # Samplers add steps up in floating point: 3 x 0.1 is 0.30000000000000004.
        return value if self.step is None else self.clip(value)

    def clip(self, value: float) -> float:
        if self.step is None:
            return min(max(float(value), self.low), self.high)
        steps = min(max(round((value - self.low) / self.step), 0), self._step_count())
        return round(self.low + self.step * steps, 12)

    def __str__(self) -> str:
        step = "" if self.step is None else f" step {self.step:g}"
        return f"uniform [{self.low:g}, {self.high:g}]{step}"


@dataclass(frozen=True)
class Int(Domain):
    """A whole number between ``low`` and ``high`` in steps of ``step``; with ``log`` uniform on a log scale."""

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
    """Whether ``value`` is a finite number. Booleans are ints in Python, and no numbers here."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
