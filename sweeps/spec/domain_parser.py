"""Parses search domains as a spec writes them: ``{choice: [4, 8]}``, ``{log: [1e-4, 5e-3]}``, ..."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sweeps.spec.domains import Choice, Domain, Int, Log, Uniform, is_number
from sweeps.spec.problems import format_value, reads_as_number
from trainables.config import limits

__all__ = ["Choice", "Domain", "DomainError", "Int", "Log", "Uniform", "is_domain", "parse"]

START = "start"  # an option of every kind: the value of the first trial
DOMAIN_SYNTAX = "{choice: [a, b]}, {log: [low, high]}, {uniform: [low, high]} or {int: [low, high]}"


class DomainError(ValueError):
    """A malformed domain; says what it needs and what it got."""


def is_domain(tree: Any) -> bool:
    """Whether ``tree`` is meant as a domain, well formed or not."""
    return isinstance(tree, dict) and any(kind in tree for kind in PARSERS)


def parse(tree: Any) -> Domain | None:
    """The domain that a value of a spec stands for; ``None`` for a plain value.

    Raises ``DomainError`` for a malformed domain.

    >>> parse({"log": [1e-4, 5e-3]})
    Log(low=0.0001, high=0.005)
    """
    if not is_domain(tree):
        return None
    kind = next(kind for kind in PARSERS if kind in tree)
    parser, options = PARSERS[kind]
    extra = [key for key in tree if key not in (kind, START, *options)]
    if extra:
        takes = " and ".join((*options, START))
        raise DomainError(f"{kind} takes {takes}, got {', '.join(extra)}. A domain is {DOMAIN_SYNTAX}")
    domain = parser({key: value for key, value in tree.items() if key != START})
    return _with_start(domain, tree[START]) if START in tree else domain


def swapped(tree: Any) -> dict[str, Any] | None:
    """A malformed domain with its two ends the other way round, if it is well formed then.

    >>> swapped({"log": [5e-3, 1e-4]})
    {'log': [0.0001, 0.005]}
    """
    if not is_domain(tree):
        return None
    for kind in PARSERS:
        if isinstance(ends := tree.get(kind), list) and kind != "choice" and len(ends) == 2:
            turned = {**tree, kind: ends[::-1]}
            try:
                parse(turned)
            except DomainError:
                return None
            return turned
    return None


def _with_start(domain: Domain, start: Any) -> Domain:
    """The domain with the value of the first trial, which has to be one of its values."""
    if not isinstance(domain, Choice) and not is_number(start):
        raise DomainError(f"start needs a number, got {format_value(start)}")
    if domain.clip(start) != start:
        raise DomainError(f"start needs a value of {domain}, got {format_value(start)}")
    # In the domain's own type: 1 of a list of floats is 1.0.
    return replace(domain, start=domain.clip(start))


def _choice(tree: dict[str, Any]) -> Domain:
    values = tree["choice"]
    if not isinstance(values, list) or not values:
        raise DomainError(
            f"choice needs a list of values, got {format_value(values)}. Write {{choice: [a, b]}}"
        )
    if len(values) > limits.CHOICES:
        raise DomainError(
            f"choice lists {len(values):,} values; at most {limits.CHOICES:,}. Write a range, as int"
        )
    for index, value in enumerate(values):
        if is_domain(value):
            raise DomainError(f"choice contains another domain, {format_value(value)}. Write one domain")
        if value in values[:index]:
            raise DomainError(f"choice lists {format_value(value)} twice. Remove one")
    return Choice(tuple(values))


def _log(tree: dict[str, Any]) -> Domain:
    low, high = _ends("log", tree["log"])
    if not 0 < low < high:
        uniform = ". From 0 on, write uniform" if low == 0 < high else ""
        raise DomainError(f"log needs 0 < low < high, got {_got(low, high)}{_swap(0 < high < low)}{uniform}")
    return Log(float(low), float(high))


def _uniform(tree: dict[str, Any]) -> Domain:
    low, high = _ends("uniform", tree["uniform"])
    _check_order("uniform", low, high)
    if "step" not in tree:
        return Uniform(float(low), float(high))
    step: Any = tree["step"]
    if not is_number(step) or not 0 < step <= high - low:
        raise DomainError(f"step needs a number above 0 and at most high - low, got {format_value(step)}")
    return Uniform(float(low), float(high), float(step))


def _int(tree: dict[str, Any]) -> Domain:
    low, high = _ends("int", tree["int"])
    if not (isinstance(low, int) and isinstance(high, int)):
        raise DomainError(f"int needs whole numbers, got {_got(low, high)}. Or write uniform")
    _check_order("int", low, high)
    step, log = tree.get("step", 1), tree.get("log", False)
    if not isinstance(log, bool):
        raise DomainError(f"log beside int must be true or false, got {format_value(log)}")
    # A bool is an int in Python: without its own test, `step: true` would pass as 1.
    if not isinstance(step, int) or isinstance(step, bool) or not 0 < step <= high - low:
        raise DomainError(
            f"step needs a whole number above 0 and at most high - low, got {format_value(step)}"
        )
    if log and (low < 1 or "step" in tree):
        raise DomainError(f"int with log needs low above 0 and no step, got {_got(low, high)}, step={step}")
    return Int(low, high, step, log)


def _ends(kind: str, ends: Any) -> tuple[Any, Any]:
    if not isinstance(ends, list) or len(ends) != 2 or not all(is_number(end) for end in ends):
        low, high = _numbers_in_quotes(ends) or ("low", "high")
        raise DomainError(
            f"{kind} needs two numbers, got {format_value(ends)}. Write {{{kind}: [{low}, {high}]}}"
        )
    return ends[0], ends[1]


def _numbers_in_quotes(ends: Any) -> tuple[str, str] | None:
    """Both ends as they would be without quotes, if they are two numbers then."""
    if not isinstance(ends, list) or len(ends) != 2:
        return None
    low, high = (end.strip() if isinstance(end, str) else format_value(end) for end in ends)
    return (low, high) if reads_as_number(low) and reads_as_number(high) else None


def _check_order(kind: str, low: float, high: float) -> None:
    if not low < high:
        raise DomainError(f"{kind} needs low < high, got {_got(low, high)}{_swap(high < low)}")


def _got(low: float, high: float) -> str:
    return f"low={low}, high={high}"


def _swap(would_help: bool) -> str:
    return ". Swap them?" if would_help else ""


# For each kind the parser of its mapping, and the options that may stand beside it. `int` comes before `log`:
# {int: ..., log: true} is an int domain.
PARSERS: dict[str, tuple[Callable[[dict[str, Any]], Domain], tuple[str, ...]]] = {
    "choice": (_choice, ()),
    "int": (_int, ("step", "log")),
    "uniform": (_uniform, ("step",)),
    "log": (_log, ()),
}
