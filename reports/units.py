"""How numbers are printed: GiB, percent, seconds, settings. What was not measured is a dash, never 0.

>>> gib(1_610_612_736), share(0.4), duration(432)
('1.50 GiB', '40 %', '7 min 12 s')
"""

from __future__ import annotations

import json
from typing import Any

UNKNOWN = "–"
GIB = 1024**3
MIB = 1024**2


def gib(count: int | None) -> str:
    """Memory in GiB with two decimals."""
    return UNKNOWN if count is None else f"{count / GIB:.2f} GiB"


def size(count: int | None) -> str:
    """A file's size: GiB from a tenth of one up, else MiB."""
    if count is None:
        return UNKNOWN
    return gib(count) if count >= GIB / 10 else f"{count / MIB:.1f} MiB"


def share(value: float | None) -> str:
    """A fraction as whole percent; what would round to 0 % or, from below, to 100 % keeps its decimals."""
    if value is None:
        return UNKNOWN
    percent = value * 100
    if percent != 0 and (abs(percent) < 1 or 99 < percent < 100):
        return f"{percent:.2g} %" if abs(percent) < 1 else f"{min(percent, 99.9):.1f} %"
    return f"{percent:.0f} %"


def quality(value: float | None, unit: str | None) -> str:
    """A quality: a fraction as percent with one decimal, anything else with four digits and its unit."""
    if value is None:
        return UNKNOWN
    if unit == "fraction":
        return f"{value * 100:.1f} %"
    return f"{value:.4g} {unit}" if unit else f"{value:.4g}"


def number(value: float | None, digits: int = 3) -> str:
    """A plain number with ``digits`` digits; large ones are not rounded away."""
    if value is None:
        return UNKNOWN
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    text = f"{value:.{digits}g}"
    mantissa, exponent_sign, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent_sign else text


def duration(seconds: float | None) -> str:
    """Seconds as a person says them: ``48 s``, ``7 min 12 s``, ``2 h 05 min``."""
    if seconds is None:
        return UNKNOWN
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def setting(value: Any) -> str:
    """A setting's value: numbers short, texts bare, the rest as JSON."""
    if isinstance(value, float):
        return number(value)
    return value if isinstance(value, str) else json.dumps(value)


def leaf(path: str) -> str:
    """A leaf's name for people: ``train.learning_rate`` is ``learning rate``."""
    return words(path.rpartition(".")[2])


def settings(values: dict[str, Any]) -> str:
    """Settings by leaf path as one phrase: ``rank 8, learning rate 0.002``."""
    return ", ".join(f"{leaf(path)} {setting(value)}" for path, value in values.items())


def words(name: str | None) -> str:
    """A column's or metric's name for people: ``exact_match`` is ``exact match``."""
    return (name or "quality").replace("_", " ")


def listing(names: list[str]) -> str:
    """Names as a phrase: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def counted(count: int, thing: str) -> str:
    """``1 trial``, ``3 trials``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
