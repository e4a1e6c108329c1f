"""What a refused value of a spec was probably meant as: a number in quotes, a search in another tool's words, ..."""

from __future__ import annotations

import re
from typing import Any

from sweeps.spec.domain_parser import DOMAIN_SYNTAX, DomainError, parse
from sweeps.spec.domains import is_number
from sweeps.spec.problems import format_value, reads_as_number
from trainables.system.suggestions import Proposal

# W&B's, Ray Tune's and Optuna's names for domains that are written as a list.
LISTED = {
    "values": "choice",
    "choices": "choice",
    "categorical": "choice",
    "grid_search": "choice",
    "loguniform": "log",
    "log_uniform": "log",
    "randint": "int",
}
# W&B's distributions with `min` and `max`.
DISTRIBUTIONS = {
    "uniform": "uniform",
    "q_uniform": "uniform",
    "log_uniform_values": "log",
    "q_log_uniform_values": "log",
    "int_uniform": "int",
}
# Also YAML 1.1's, which YAML 1.2 reads as texts.
BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "y"), "true"),
    **dict.fromkeys(("false", "no", "off", "n"), "false"),
}


def value_advice(value: Any, allowed: str) -> Proposal:
    """What to write instead, to append to the sentence that refuses a value; empty without an idea.

    >>> value_advice("1e-5", "a number, above 0")
    '. Leave out the quotes: 1e-5'

    ``allowed``: what the setting allows, in words.
    """
    whole = "whole number" in allowed
    if isinstance(value, str):
        return _text_advice(value.strip(), allowed, whole)
    if not is_number(value):
        return Proposal()
    if whole and float(value).is_integer() and isinstance(value, float):
        return _write(str(int(value)))
    if ("below 1" in allowed or "at most 1" in allowed) and 1 < value <= 100:
        return Proposal(f". As a share of 1, {value:g} % is {value / 100:g}", f"{value / 100:g}")
    return Proposal()


def _write(text: str, more: str = "") -> Proposal:
    return Proposal(f". Write {text}{more}", text)


def _text_advice(text: str, allowed: str, whole: bool) -> Proposal:
    if reads_as_number(text) and ("number" in allowed or re.search(rf"\b{re.escape(text)}(,|$)", allowed)):
        return Proposal(f". Leave out the quotes: {text}", text)
    if "true or false" in allowed and (truth := BOOLEANS.get(text.lower())):
        return Proposal(f". Leave out the quotes: {truth}", truth) if truth == text else _write(truth)
    if "number" not in allowed:
        return Proposal()
    if re.fullmatch(r"[-+]?\d+,\d+", text) and not whole:
        return _write(text.replace(",", "."), ", with a point")
    if re.fullmatch(r"\d{1,3}([_,' ]\d{3})+", text):
        return _write(re.sub("[^0-9]", "", text))
    if re.fullmatch(r"\d+([.,]\d+)? ?%", text) and not whole:
        return _write(f"{float(text.rstrip(' %').replace(',', '.')) / 100:g}")
    return Proposal()


def list_advice(values: list[Any], allowed: str, rate: bool = False) -> Proposal:
    """How to write what a list in the place of one value was meant as: a search, or a comparison.

    >>> list_advice([4, 8, 16], "a whole number, at least 1")
    '. To search it, write {choice: [4, 8, 16]}; for a cell of each, {compare: [4, 8, 16]}'

    ``allowed``: what the setting allows, in words. ``rate``: whether two numbers are probably the ends of a range of
    orders of magnitude.
    """
    listed = format_value(values)
    if rate and len(values) == 2 and all(map(is_number, values)) and 0 < values[0] < values[1]:
        search = f"{{log: {listed}}}"
        return Proposal(
            f". To search between them, write {search}; for a cell of each, {{compare: {listed}}}", search
        )
    search = f"{{choice: {listed}}}"
    return Proposal(f". To search it, write {search}; for a cell of each, {{compare: {listed}}}", search)


def domain_advice(tree: dict[str, Any]) -> Proposal:
    """How to write the search that a mapping was meant as; of unknown mappings all that there is.

    >>> domain_advice({"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-3})
    '. To search it, write {log: [1e-05, 0.001]}'
    """
    meant = _domain_meant(tree)
    try:
        known = meant is not None and parse(meant) is not None
    except DomainError:
        known = False
    search = format_value(meant) if known else None
    return Proposal(f". To search it, write {search or DOMAIN_SYNTAX}", search)


def _domain_meant(tree: dict[str, Any]) -> dict[str, Any] | None:
    for name, kind in LISTED.items():
        if isinstance(tree.get(name), list):
            return {kind: tree[name]}
    ends = next(
        ([tree[a], tree[b]] for a, b in (("min", "max"), ("low", "high")) if a in tree and b in tree), None
    )
    if ends is None or not all(map(is_number, ends)):
        return None
    both_whole = all(isinstance(end, int) for end in ends)
    # Without a distribution, W&B draws whole numbers between whole numbers.
    distribution = tree.get("distribution", "int_uniform" if both_whole else "uniform")
    return {DISTRIBUTIONS[distribution]: ends} if distribution in DISTRIBUTIONS else None
