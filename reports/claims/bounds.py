"""The bounds of a ratio that a claim states, in words."""

from __future__ import annotations

from collections.abc import Callable

from reports.text import text


def check_bounds(at_least: float | None, at_most: float | None) -> None:
    """Raises ``ValueError`` where a claim states no bound."""
    if at_least is None and at_most is None:
        raise ValueError("it has neither at_least nor at_most")


def bounds_text(at_least: float | None, at_most: float | None, shown: Callable[[float], str]) -> str:
    """``at least 3 and at most 30``, or what of it is stated; ``shown`` prints a bound.

    >>> bounds_text(3, 30, "{:g}".format), bounds_text(None, 30, "{:g}".format)
    ('at least 3 and at most 30', 'at most 30')
    """
    check_bounds(at_least, at_most)
    if at_least is None or at_most is None:
        if at_most is None:
            assert at_least is not None
            return text("at least {value}", value=shown(at_least))
        return text("at most {value}", value=shown(at_most))
    return text("at least {low} and at most {high}", low=shown(at_least), high=shown(at_most))
