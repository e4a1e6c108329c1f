"""Problems with what the user wrote: where each one is, what is wrong, and what to do about it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeps.spec.foreign_keys import FOREIGN_KEYS, NEEDLESS_KEYS
from sweeps.spec.key_path import KeyPath
from trainables.system.suggestions import Proposal, nearest, proposal_of

# What YAML 1.2 (core schema) reads as a finite number, and as null, a boolean or another number.
NUMBER = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|0o[0-7]+|0x[0-9a-fA-F]+")
OTHER = re.compile(r"~|null|Null|NULL|true|True|TRUE|false|False|FALSE|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

SHOWN_KEYS = 6  # of many, where one of them was probably meant


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; ``error=False`` makes it a warning.

    >>> print(Problem("methods.yaml:9", "methods[1].rank", "int needs low < high, got low=64, high=8"))
    methods.yaml:9 methods[1].rank: int needs low < high, got low=64, high=8
    """

    where: str  # file:line, or the command-line option that the value came from
    path: str
    what: str
    error: bool = True
    line: int = field(default=0, compare=False)  # to list problems in the order of the file
    keys: KeyPath = field(default=(), compare=False)  # of the value that is at fault, as ``path`` writes them
    proposal: Proposal | None = field(default=None, compare=False)  # what to write in its place

    def __str__(self) -> str:
        # `--set methods[1].rank` already names the path.
        named = not self.path or self.where.endswith(f" {self.path}")
        return f"{self.where}: {self.what}" if named else f"{self.where} {self.path}: {self.what}"


class SpecError(Exception):
    """What the user wrote can't be used; ``problems`` holds every reason."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.args

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


def refusal(got: str, allowed: str, advice: str = "") -> Proposal:
    """The message for a value that is not allowed: the advice, if there is any, before all that is allowed.

    >>> refusal("got lroa", "one of full, lora", ". Did you mean lora?")
    'got lroa. Did you mean lora? Allowed: one of full, lora'
    """
    if not advice:
        return Proposal(f"{got}; allowed: {allowed}")
    whole = f"{got}{advice}{'' if advice.endswith('?') else '.'} Allowed: {allowed}"
    return proposal_of(advice).within(whole)


def unknown_key_message(
    key: str, allowed: Iterable[str], elsewhere: Mapping[str, str] | None = None
) -> Proposal:
    """The message for an unknown key. ``elsewhere`` maps keys to the parts of a spec where they belong."""
    allowed = list(allowed)
    if key in NEEDLESS_KEYS:
        return Proposal(f"unknown key; {NEEDLESS_KEYS[key]}")
    if key.isdigit():
        return Proposal("a key that is a number; a number with a comma is written with a point, as 0.001")
    # A key that is known elsewhere in full says more than one that is merely similar to an allowed key.
    place = (elsewhere or {}).get(key) or FOREIGN_KEYS.get(key) or nearest(key, allowed)
    if not place:
        return Proposal(f"unknown key; allowed: {', '.join(allowed)}")
    meant = _within(place, allowed)
    # Another place is no correction of this key: its value would have to be moved there.
    renamed = re.sub(r" \(.*\)$", "", meant)
    what = f"unknown key. Did you mean {meant}? Allowed: {_shortened(key, allowed)}"
    return Proposal(what, renamed if renamed in allowed else None, of_key=True)


def _within(place: str, allowed: Sequence[str]) -> str:
    """A place without the part of the spec in which the key is looked for already: ``rank`` for ``methods[].rank``."""
    part, _, name = place.rpartition("].") if "]." in place else place.rpartition(".")
    # Where the part itself is allowed, the key stands beside it: `train` of `data.train` is another part.
    inside = part and name in allowed and part.partition("[")[0] not in allowed
    return name if inside else place


def _shortened(key: str, allowed: Sequence[str]) -> str:
    """The most similar keys where there are many, in the order of ``allowed`` whatever the key is."""
    if len(allowed) <= SHOWN_KEYS:
        return ", ".join(allowed)
    similar = difflib.get_close_matches(key, allowed, n=SHOWN_KEYS, cutoff=0.4)
    chosen = [*similar, *(each for each in allowed if each not in similar)][:SHOWN_KEYS]
    return f"{', '.join(each for each in allowed if each in chosen)}, ... ({len(allowed)} keys)"


def unique(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each problem once, in the order of the file: one mistake in a spec shows up in many cells."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.line))


def format_value(value: Any) -> str:
    """A value in YAML's flow style; a text is in quotes where it would be read as something else without them.

    >>> format_value({"choice": [True, None, "all-linear", 8, "8"]})
    '{choice: [true, null, all-linear, 8, "8"]}'
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_format_item, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_format_item(item)}" for key, item in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str) and (reads_as_other(value) or value != value.strip()):
        return f'"{value}"'
    return str(value) or "''"


def _format_item(value: Any) -> str:
    # Inside a list "a, b" would look like two texts.
    return f'"{value}"' if isinstance(value, str) and set(value) & set(",[]{}") else format_value(value)


def reads_as_other(text: str) -> bool:
    """Whether YAML reads a text as a number, a boolean or null if it isn't in quotes."""
    return reads_as_number(text) or OTHER.fullmatch(text) is not None


def reads_as_number(text: str) -> bool:
    """Whether YAML reads a text as a finite number if it isn't in quotes."""
    return NUMBER.fullmatch(text) is not None
