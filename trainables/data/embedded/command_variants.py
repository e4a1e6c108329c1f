"""What else the data set ``commands`` gives: its language read back, answers just missed, labels, running text."""

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

# Not \d, which is any script's digits.
NUMBER = "[1-9][0-9]?"
CLOCK = "(?:tomorrow )?(?:1[0-2]|[1-9])(?::30)?(?:am|pm)"
DELAY = f"in {NUMBER}[mh]"
NUMBER_SLOTS = ("degrees", "percent", "minutes")
NOT_MEANT = re.compile(r", not in the ([\w ]+)")
MEANING = {wording: room for room, wordings in ROOMS.items() for wording in wordings}


def _group(slot: str) -> str:
    return f"(?P<{slot}>{NUMBER if slot in NUMBER_SLOTS else '|'.join(SLOTS[slot])})"


def _pattern(order: Order) -> re.Pattern[str]:
    """What a command of this order looks like, its time included."""
    when = f"(?: (?P<when>{CLOCK}|{DELAY}))?" if order.timed else ""
    if order.command == "alarm":
        when = f" (?P<when>{CLOCK})"
    return re.compile(re.sub(r"\{(\w+)\}", lambda slot: _group(slot[1]), order.command) + when)


TEMPLATES = {order.command.split()[0]: order.command for order in ORDERS}
PATTERNS = {order.command.split()[0]: _pattern(order) for order in ORDERS}


def parse(text: str) -> Parts | None:
    """The parts of a command; None if the text isn't one, to the letter.

    >>> parse("off heater cellar 6:30pm")
    {'order': 'off', 'device': 'heater', 'room': 'cellar', 'when': '6:30pm'}
    >>> parse("off cellar heater")
    """
    word = text.partition(" ")[0]
    found = PATTERNS[word].fullmatch(text) if word in PATTERNS else None
    if found is None:
        return None
    return {"order": word} | {slot: value for slot, value in found.groupdict().items() if value is not None}


def written(parts: Parts) -> str:
    """The command with these parts.

    >>> written({"order": "timer", "dish": "rice", "minutes": "12"})
    'timer rice 12m'
    """
    command = TEMPLATES[parts["order"]].format(**parts)
    return f"{command} {parts['when']}" if "when" in parts else command


class Ledger:
    """What has been put in and taken out so far, so that right and wrong commands come out alike.

    Of the kinds of change that a command allows, it gets the one made least. What takes the place of a value is
    drawn as often as it is right somewhere, and isn't drawn while it has been put in too much oftener than that one.
    """

    # With 0 the balance would be exact, and exact balance tells too: a value that is right oftener in the rows
    # trained on is wrong oftener in those held out. With 12, linear classifiers that see no request (words, pairs
    # of words, up to 4 letters) are right about 46 to 50 % of held-out pairs.
    SLACK = 12

    def __init__(self, right: Sequence[Parts], random: Random) -> None:
        self.random = random
        self.common = Counter(value for parts in right for value in _values(parts).items())
        self.excess: Counter[Value] = Counter()  # how much oftener put in than taken out
        self.made: Counter[str] = Counter()  # changes, by kind

    def pick(self, parts: Parts, choices: Sequence[tuple[str, Parts]]) -> Parts:
        """One of the choices, which is booked."""
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
    """For each row a command with one slot wrong; where a room is said to be not meant, it is that room."""
    right = [_parsed(row["completion"]) for row in rows]
    whens = sorted({parts["when"] for parts in right if "when" in parts})
    ledger = Ledger(right, random)
    return [
        written(ledger.pick(parts, _choices(row["prompt"], parts, whens)))
        for row, parts in zip(rows, right, strict=True)
    ]


def _parsed(command: str) -> Parts:
    parts = parse(command)
    if parts is None:
        raise ValueError(f"not a command: {command!r}")
    return parts


def _swaps(parts: Parts, miss: Parts) -> list[tuple[Value, Value]]:
    """What is taken out, and what is put in its place."""
    pairs = zip(_values(parts).items(), _values(miss).items(), strict=True)
    return [(old, new) for old, new in pairs if old != new]


def _values(parts: Parts) -> Parts:
    """What a rule that never sees the request could go by: the slots, and the kind of time."""
    timing = "at once" if "when" not in parts else "in" if parts["when"].startswith("in ") else "at"
    return {"timing": timing, "when": ""} | parts


def _choices(prompt: str, parts: Parts, whens: Sequence[str]) -> list[tuple[str, Parts]]:
    """All near misses of a command, each with what is changed in it."""
    named = NOT_MEANT.search(prompt)
    if named is not None:
        return [("room", parts | {"room": MEANING[named[1]]})]
    changed = [*_other_values(parts), *_other_whens(parts, whens)]
    return [(kind, miss) for kind, miss in changed if parse(written(miss)) is not None]


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
    """The one thing in which two times differ; None if they are equal or differ in more.

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
    found = re.fullmatch("(tomorrow )?(in )?([0-9]+)(:30)?([a-z]+)", when)
    assert found is not None, when
    return dict(zip(names, found.groups(""), strict=True))


def labels(rows: Sequence[Row]) -> list[bool]:
    """True for one half of the rows: every other one of each order, as the hashes of their requests sort them."""
    places = sorted(range(len(rows)), key=lambda place: _shuffled(rows[place]))
    label = {place: rank % 2 == 0 for rank, place in enumerate(places)}
    return [label[place] for place in range(len(rows))]


def _shuffled(row: Row) -> tuple[str, str]:
    # Not the hash of the prompt alone: that decides what is held out, and labels must not hang on it.
    return row["completion"].split()[0], files.sha256(["label", row["prompt"]])


def pages(rows: Sequence[Row], random: Random) -> list[str]:
    """A house log: each page quotes two requests, with the command after each; every row is on one page."""
    shuffled = random.sample(rows, len(rows))
    return [_page(pair, random) for pair in zip(shuffled[::2], shuffled[1::2], strict=True)]


def _page(pair: Sequence[Row], random: Random) -> str:
    lines = [random.choice(HEADINGS).format(day=random.choice(DAYS))]
    lines += [random.choice(ENTRIES).format(name=random.choice(NAMES), **row) for row in pair]
    if random.random() < 0.5:
        lines.append(random.choice(REMARKS))
    return "\n".join(lines)
