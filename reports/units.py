"""How numbers and names are printed: GiB, percent, seconds, settings. What was not measured is a dash, never 0.

>>> gib(1_610_612_736), percent(0.4), duration(432)
('1.50 GiB', '40 %', '7 min 12 s')
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from reports.text import joined, text

UNKNOWN = "–"
GIB = 1024**3
MIB = 1024**2
NAMES = {"macro_f1": "macro-F1"}  # that are no words


def gib(byte_count: int | None) -> str:
    """Memory in GiB with two decimals."""
    return UNKNOWN if byte_count is None else f"{byte_count / GIB:.2f} GiB"


def size(byte_count: int | None) -> str:
    """The size of a file: in GiB from 0.1 GiB, below that in MiB."""
    if byte_count is None:
        return UNKNOWN
    return gib(byte_count) if byte_count >= GIB / 10 else f"{byte_count / MIB:.1f} MiB"


def percent(value: float | None) -> str:
    """A fraction as whole percent; a value that would round to 0 %, or up to 100 %, keeps its decimals."""
    if value is None:
        return UNKNOWN
    hundredths = value * 100
    if hundredths != 0 and (abs(hundredths) < 1 or 99 < hundredths < 100):
        return f"{hundredths:.2g} %" if abs(hundredths) < 1 else f"{min(hundredths, 99.9):.1f} %"
    return f"{hundredths:.0f} %"


def quality(value: float | None, unit: str | None) -> str:
    """A quality: a fraction as percent with one decimal, anything else with four digits and its unit."""
    if value is None:
        return UNKNOWN
    if unit == "fraction":
        return f"{value * 100:.1f} %"
    return text("{value} {unit}", value=f"{value:.4g}", unit=_named(unit)) if unit else f"{value:.4g}"


def quality_with_interval(
    value: float | None, interval: tuple[float, float] | None, unit: str | None, name: str = ""
) -> str:
    """A quality, and in parentheses its interval where that is known: ``98.4 % (94.5 to 99.6)``.

    ``name`` stands before the interval: ``95 %: ``.
    """
    shown = quality(value, unit)
    if interval is None:
        return shown
    low, high = (f"{end * 100:.1f}" if unit == "fraction" else f"{end:.4g}" for end in interval)
    return text("{quality} ({name}{low} to {high})", quality=shown, name=name, low=low, high=high)


def difference(value: float, unit: str | None, bare: bool = False) -> str:
    """A difference of two qualities: of fractions in points, else with three digits and the unit, unless ``bare``.

    >>> difference(0.015, "fraction"), difference(0.0012, "nats per token")
    ('1.5 points', '0.0012 nats per token')
    """
    digits = f"{value * 100:.1f}" if unit == "fraction" else f"{value:.3g}"
    # A difference that rounds to 0 has no sign; nor has what is left of floating point.
    digits = digits.removeprefix("-") if float(digits) == 0 else "0" if abs(value) < 1e-12 else digits
    if bare or not unit:
        return digits
    if unit == "fraction":
        return text("{value} points", value=digits)
    return text("{value} {unit}", value=digits, unit=_named(unit))


def _named(unit: str) -> str:
    """The name of a unit, in words where we have these."""
    named = {
        "nats per token": text("nats per token"),
        "nats per masked token": text("nats per masked token"),
    }
    return named.get(unit, unit)


def number(value: float | None, digits: int = 3) -> str:
    """A number with ``digits`` significant digits; of a larger number every digit before the point is kept."""
    if value is None:
        return UNKNOWN
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    shown = f"{value:.{digits}g}"
    mantissa, exponent_sign, exponent = shown.partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent_sign else shown


def duration(seconds: float | None) -> str:
    """Seconds in the largest fitting units: ``48 s``, ``7 min 12 s``, ``2 h 05 min``."""
    if seconds is None:
        return UNKNOWN
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def setting_value(value: Any) -> str:
    """A setting's value: a number with three digits, a text as it is, anything else as JSON."""
    if isinstance(value, float):
        return number(value)
    return value if isinstance(value, str) else json.dumps(value)


def setting_name(path: str) -> str:
    """The readable name of a setting: ``train.learning_rate`` gives ``learning rate``."""
    return readable(path.rpartition(".")[2])


def settings(values: dict[str, Any]) -> str:
    """Settings by their path as one phrase: ``rank 8, learning rate 0.002``."""
    return ", ".join(f"{setting_name(path)} {setting_value(value)}" for path, value in values.items())


def readable(name: str | None) -> str:
    """A column's or metric's name in words: ``exact_match`` gives ``exact match``."""
    return NAMES.get(name or "", (name or "quality").replace("_", " "))


def join(names: Sequence[str]) -> str:
    """Names as one phrase: ``a``, ``a and b``, ``a, b and c``."""
    if len(names) < 2:
        return names[0] if names else ""
    return text("{first} and {last}", first=joined(", ", names[:-1]), last=names[-1])


def count(number: int, noun: str) -> str:
    """``1 trial``, ``3 trials``."""
    return text("{number} {noun}", number=number, noun=text(noun if number == 1 else f"{noun}s"))
