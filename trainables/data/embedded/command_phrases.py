"""The vocabulary of the data set ``commands``: what can be requested, and in which words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Words = Mapping[str, tuple[str, ...]]  # word in the command -> its wordings in requests

ROOMS: Words = {
    "attic": ("attic", "loft"),
    "bathroom": ("bathroom", "bath"),
    "bedroom": ("bedroom",),
    "cellar": ("cellar", "basement"),
    "den": ("den", "living room"),
    "garage": ("garage",),
    "hall": ("hall", "hallway"),
    "kitchen": ("kitchen",),
    "library": ("library",),
    "nursery": ("nursery",),
    "office": ("office",),
    "study": ("study",),
}
DEVICES: Words = {
    "fan": ("fan",),
    "heater": ("heater", "radiator"),
    "lamp": ("lamp",),
    "radio": ("radio",),
    "tv": ("TV", "television"),
}
COVERS: Words = {
    "blinds": ("blinds",),
    "curtains": ("curtains", "drapes"),
    "shutters": ("shutters",),
    "window": ("window",),
}
GATES: Words = {"door": ("door",), "safe": ("safe", "strongbox"), "window": ("window",)}
MUSIC: Words = {
    "jazz": ("some jazz", "jazz music"),
    "news": ("the news",),
    "rock": ("some rock", "rock music"),
    "waltz": ("a waltz",),
}
DISHES: Words = {
    "bread": ("bread",),
    "eggs": ("eggs",),
    "pasta": ("pasta",),
    "rice": ("rice",),
    "tea": ("tea",),
}
DEGREES: Words = {str(n): (f"{n} degrees",) for n in range(15, 27)}
PERCENT: Words = {str(n): (f"{n} percent", f"{n}%") for n in range(10, 100, 10)} | {
    "50": ("half", "50 percent"),
}
MINUTES: Words = {str(n): (f"{n} minutes",) for n in (2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 14, 20, 25, 35, 40)}
SLOTS: Mapping[str, Words] = {
    "room": ROOMS,
    "device": DEVICES,
    "cover": COVERS,
    "gate": GATES,
    "music": MUSIC,
    "dish": DISHES,
    "degrees": DEGREES,
    "percent": PERCENT,
    "minutes": MINUTES,
}
DELAYS: Words = {str(n): (f"in {n} minutes",) for n in (5, 10, 15, 20, 25, 40, 45)}
LONG_DELAYS: Words = {
    "in 30m": ("in half an hour",),
    "in 1h": ("in an hour", "an hour from now"),
    "in 2h": ("in two hours", "in 2 hours"),
    "in 3h": ("in three hours",),
}
NUMBERS = ("twelve", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")

QUESTIONS = ("could you ", "can you ", "would you ")
OPENERS = ("", "", "", "", "please ", "I want you to ", "hey, ", *QUESTIONS)
REASONS = ("I'm freezing, so ", "we're off to bed, ", "it's on my mind: ", "guests are coming, so ", "oh, ")
CLOSERS = ("", "", "", "", ", please", ", thanks")


@dataclass(frozen=True)
class Order:
    """One kind of command and the ways to ask for it; the slots in braces are filled alike in both."""

    command: str
    wordings: tuple[str, ...]
    timed: bool = True


ORDERS = (
    Order(
        "on {device} {room}",
        (
            "switch on the {device} in the {room}",
            "turn the {room} {device} on",
            "start the {device} in the {room}",
            "get the {room} {device} going",
        ),
    ),
    Order(
        "off {device} {room}",
        (
            "switch off the {device} in the {room}",
            "turn the {room} {device} off",
            "stop the {device} in the {room}",
            "shut down the {room} {device}",
        ),
    ),
    Order(
        "heat {room} {degrees}",
        ("set the {room} to {degrees}", "warm the {room} to {degrees}", "make it {degrees} in the {room}"),
    ),
    Order(
        "dim {room} {percent}",
        ("dim the {room} to {percent}", "lower the light in the {room} to {percent}"),
    ),
    Order(
        "open {cover} {room}",
        (
            "open the {cover} in the {room}",
            "open the {room} {cover}",
            "let some light through the {room} {cover}",
        ),
    ),
    Order(
        "close {cover} {room}",
        ("close the {cover} in the {room}", "shut the {room} {cover}"),
    ),
    Order("lock {gate} {room}", ("lock the {room} {gate}", "bolt the {gate} in the {room}")),
    Order("unlock {gate} {room}", ("unlock the {room} {gate}", "unbolt the {gate} in the {room}")),
    Order(
        "play {music} {room}",
        ("play {music} in the {room}", "put {music} on in the {room}", "let me hear {music} in the {room}"),
    ),
    Order(
        "timer {dish} {minutes}m",
        ("set the {dish} timer to {minutes}", "give the {dish} {minutes}", "time {minutes} for the {dish}"),
        timed=False,
    ),
    Order("alarm", ("wake me", "wake me up", "get me up", "sound the alarm")),
)

# Orders that differ only in their first word, so that one is a near miss of the other.
OPPOSITES: Mapping[str, str] = {
    "on": "off",
    "off": "on",
    "open": "close",
    "close": "open",
    "lock": "unlock",
    "unlock": "lock",
}

# A page of the house log: a heading, then entries of one or two lines, then perhaps a remark.
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NAMES = ("Ada", "Bruno", "Carla", "Dov", "Emma", "Farid", "Grandma", "the guest", "one of the children")
HEADINGS = (
    "House log, {day}.",
    "{day} in the house.",
    "What was asked for on {day}:",
    "From the log of the house, a {day}.",
    "It was {day}, and the house was listening.",
)
ENTRIES = (
    '"{prompt}" -> {completion}',
    'Heard from {name}: "{prompt}" Command: {completion}',
    'To "{prompt}" the house answered {completion}',
    'Request: "{prompt}"\nCommand: {completion}',
    'The next to speak was {name}: "{prompt}"\nThe house wrote: {completion}',
    '"{prompt}" said {name}.\nSo the command was {completion}',
    'The log has this from {name}: "{prompt}"\n> {completion}',
    'A voice, probably {name}: "{prompt}"\nThe house understood and did this: {completion}',
)
REMARKS = (
    "Nothing else was asked.",
    "Both were done.",
    "The house went back to listening.",
    "Nobody complained.",
    "Then it was quiet.",
    "End of the page.",
)
