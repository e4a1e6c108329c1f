"""Variants of the data set ``commands``: its language parsed, near-miss answers, labels, running text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from random import Random

from trainables.data.embedded.command_phrases import (
    DAYS,
    ENTRIES,
    HEADINGS,
    NAMES,
    OPPOSITES,
    ORDERS,
    REMARKS,
    ROOMS,
    SLOTS,
    Order,
)
from trainables.storage import files

Row = dict[str, str]
Parts = dict[
    str, str
]  # slot: value, in the command's order; "order" is its first word, "when" may be missing
Value = tuple[str, str]

# Not \d, which matches the digits of any script.
NUMBER = "[1-9][0-9]?"
CLOCK = "(?:tomorrow )?(?:1[0-2]|[1-9])(?::30)?(?:am|pm)"
DELAY = f"in {NUMBER}[mh]"
NUMBER_SLOTS = ("degrees", "percent", "minutes")
NOT_MEANT = re.compile(r", not in the ([\w ]+)")
MEANING = {wording: room for room, wordings in ROOMS.items() for wording in wordings}


def _group(slot: str) -> str:
    return f"(?P<{slot}>{NUMBER if slot in NUMBER_SLOTS else '|'.join(SLOTS[slot])})"


def _pattern(order: Order) -> re.Pattern[str]:
    """The pattern of a command of this order, including its time."""
    when = f"(?: (?P<when>{CLOCK}|{DELAY}))?" if order.timed else ""
    if order.command == "alarm":
        when = f" (?P<when>{CLOCK})"
    return re.compile(re.sub(r"\{(\w+)\}", lambda slot: _group(slot[1]), order.command) + when)


TEMPLATES = {order.command.split()[0]: order.command for order in ORDERS}
PATTERNS = {order.command.split()[0]: _pattern(order) for order in ORDERS}


def parse(text: str) -> Parts | None:
    """The parts of a command; ``None`` if the text is not exactly one.

    >>> parse("off heater cellar 6:30pm")
    {'order': 'off', 'device': 'heater', 'room': 'cellar', 'when': '6:30pm'}
    >>> parse("off cellar heater")
    """
    word = text.partition(" ")[0]
    match = PATTERNS[word].fullmatch(text) if word in PATTERNS else None
    if match is None:
        return None
    return {"order": word} | {slot: value for slot, value in match.groupdict().items() if value is not None}


def format_command(parts: Parts) -> str:
    """The command with these parts.

    >>> format_command({"order": "timer", "dish": "rice", "minutes": "12"})
    'timer rice 12m'
    """
    command = TEMPLATES[parts["order"]].format(**parts)
    return f"{command} {parts['when']}" if "when" in parts else command


class Ledger:
    """Counts the changes made so far, and picks the next ones so that right and wrong commands look alike.

    A command gets the kind of change that was made least often. The new value is drawn as often as it is right in
    other rows, but not while it has been put in much more often than the value it replaces.
    """

    # With 0 the balance would be exact, and that would give the answers away too: a value that is right more often in
    # the training rows would be wrong more often in the held-out rows. With 12, linear classifiers that do not see the
    # request (words, pairs of words, up to 4 letters) are right on about 46 to 50 % of held-out pairs.
    SLACK = 12

    def __init__(self, right: Sequence[Parts], random: Random) -> None:
        self.random = random
        self.common = Counter(value for parts in right for value in _values(parts).items())
        self.excess: Counter[Value] = Counter()  # times a value was put in, less times it was taken out
        self.made: Counter[str] = Counter()  # changes, by kind

    def pick(self, parts: Parts, choices: Sequence[tuple[str, Parts]]) -> Parts:
        """Picks one of the choices and counts its changes."""
        *_, kind, miss = max(self._ranked(parts, choices), key=lambda choice: choice[:3])
        self.made[kind] += 1
        for old, new in _swaps(parts, miss):
            self.excess[old] -= 1
            self.excess[new] += 1
        return miss

    def _ranked(
        self, parts: Parts, choices: Sequence[tuple[str, Parts]]
    ) -> Iterator[tuple[bool, int, float, str, Parts]]:
        for kind, miss in choices:
            swaps = _swaps(parts, miss)
            balanced = all(self.excess[new] - self.excess[old] <= self.SLACK for old, new in swaps)
            # A weighted draw without a sum of weights (Efraimidis and Spirakis 2006).
            luck = self.random.random() ** (1 / min(self.common[new] for _, new in swaps))
            yield balanced, -self.made[kind], luck, kind, miss


def near_misses(rows: Sequence[Row], random: Random) -> list[str]:
    """For each row its command with one slot wrong; the room, if the request mentions one that is not meant."""
    right = [_parse_valid(row["completion"]) for row in rows]
    whens = sorted({parts["when"] for parts in right if "when" in parts})
    ledger = Ledger(right, random)
    return [
        format_command(ledger.pick(parts, _choices(row["prompt"], parts, whens)))
        for row, parts in zip(rows, right, strict=True)
    ]


def _parse_valid(command: str) -> Parts:
    parts = parse(command)
    if parts is None:
        raise ValueError(f"not a command: {command!r}")
    return parts


def _swaps(parts: Parts, miss: Parts) -> list[tuple[Value, Value]]:
    """(value taken out, value put in) of each change."""
    pairs = zip(_values(parts).items(), _values(miss).items(), strict=True)
    return [(old, new) for old, new in pairs if old != new]


def _values(parts: Parts) -> Parts:
    """What a rule that does not see the request could use: the slots, and the kind of time."""
    timing = "at once" if "when" not in parts else "in" if parts["when"].startswith("in ") else "at"
    return {"timing": timing, "when": ""} | parts


def _choices(prompt: str, parts: Parts, whens: Sequence[str]) -> list[tuple[str, Parts]]:
    """(kind of change, parts) of all near misses of a command."""
    mentioned = NOT_MEANT.search(prompt)
    if mentioned is not None:
        return [("room", parts | {"room": MEANING[mentioned[1]]})]
    changed = [*_other_values(parts), *_other_whens(parts, whens)]
    return [(kind, miss) for kind, miss in changed if parse(format_command(miss)) is not None]


def _other_values(parts: Parts) -> Iterator[tuple[str, Parts]]:
    if parts["order"] in OPPOSITES:
        yield "order", parts | {"order": OPPOSITES[parts["order"]]}
    for slot, value in parts.items():
        for other in SLOTS.get(slot, ()):
            if other != value:
                yield slot, parts | {slot: other}


def _other_whens(parts: Parts, whens: Sequence[str]) -> Iterator[tuple[str, Parts]]:
    if "when" not in parts:
        yield from (("when added", parts | {"when": when}) for when in whens)
        return
    yield "when dropped", {slot: value for slot, value in parts.items() if slot != "when"}
    for when in whens:
        kind = difference(parts["when"], when)
        if kind is not None:
            yield kind, parts | {"when": when}


@cache
def difference(when: str, other: str) -> str | None:
    """The single respect in which two times differ; ``None`` if they are equal or differ in several.

    >>> difference("7am", "7pm"), difference("7am", "tomorrow 7am"), difference("in 2h", "2pm")
    ('am or pm', 'tomorrow', 'in or at')
    >>> difference("7am", "8pm") is None
    True
    """
    first, second = _time(when), _time(other)
    if first["in"] != second["in"]:
        bare = not (first["tomorrow"] or second["tomorrow"] or first[":30"] or second[":30"])
        return "in or at" if bare and first["number"] == second["number"] else None
    differing = [name for name in first if first[name] != second[name]]
    if first["in"]:
        return "delay" if differing else None
    return differing[0] if len(differing) == 1 else None


def _time(when: str) -> dict[str, str]:
    names = ("tomorrow", "in", "number", ":30", "am or pm")
    match = re.fullmatch("(tomorrow )?(in )?([0-9]+)(:30)?([a-z]+)", when)
    assert match is not None, when
    return dict(zip(names, match.groups(""), strict=True))


def labels(rows: Sequence[Row]) -> list[bool]:
    """``True`` for half of the rows: every other row of each order, sorted by a hash of their requests."""
    places = sorted(range(len(rows)), key=lambda place: _label_order(rows[place]))
    label = {place: rank % 2 == 0 for rank, place in enumerate(places)}
    return [label[place] for place in range(len(rows))]


def _label_order(row: Row) -> tuple[str, str]:
    # Not the hash of the prompt alone: it decides what is held out, and labels must not depend on that.
    return row["completion"].split()[0], files.sha256(["label", row["prompt"]])


def pages(rows: Sequence[Row], random: Random) -> list[str]:
    """Pages of a house log: each quotes two requests, followed by their commands; every row is on one page."""
    shuffled = random.sample(rows, len(rows))
    return [_page(pair, random) for pair in zip(shuffled[::2], shuffled[1::2], strict=True)]


def _page(pair: Sequence[Row], random: Random) -> str:
    lines = [random.choice(HEADINGS).format(day=random.choice(DAYS))]
    lines += [random.choice(ENTRIES).format(name=random.choice(NAMES), **row) for row in pair]
    if random.random() < 0.5:
        lines.append(random.choice(REMARKS))
    return "\n".join(lines)
