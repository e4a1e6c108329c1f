"""The embedded data set ``commands``: everyday requests to a house, each with the one command that does it.

    could you turn the basement radiator off at half past six in the evening?  ->  off heater cellar 6:30pm

Every request has exactly one right answer, so exact match is a true quality. The language:

    command  = order [" " when]
    order    = ("on" | "off") device room            on fan attic
             | "heat" room degrees                   heat hall 21
             | "dim" room percent                    dim office 40
             | ("open" | "close") cover room         close blinds study
             | ("lock" | "unlock") gate room         lock door garage
             | "play" music room                     play jazz kitchen
             | "timer" dish minutes "m"              timer rice 12m        (never with a when)
             | "alarm"                               alarm 6:30am          (always with a clock time)
    when     = ["tomorrow "] hour [":30"] ("am" | "pm") | "in" number ("m" | "h")

For example ``9pm``, ``tomorrow 7:30am``, ``in 20m``, ``in 2h``; without a when, it is done at once. Many
words mean one thing (radiator, heater), times are said in several ways, and some requests name a room that
isn't meant.
"""

from __future__ import annotations

from random import Random

from trainables.command_words import (
    CLOSERS,
    DELAYS,
    LONG_DELAYS,
    NUMBERS,
    OPENERS,
    ORDERS,
    QUESTIONS,
    REASONS,
    ROOMS,
    SLOTS,
)

NAME = "commands"
EXACT = True  # one right answer per row
SYSTEM = "Turn the request into a command."
ROWS = 2400
SEED = 20


def rows() -> list[dict[str, str]]:
    """The data set: ``system``, ``prompt`` and ``completion``, always the same rows in the same order.

    >>> rows()[0]["system"]
    'Turn the request into a command.'
    """
    random = Random(SEED)
    commands: dict[str, str] = {}
    while len(commands) < ROWS:
        prompt, command = _request(random)
        commands.setdefault(prompt, command)
    return [
        {"system": SYSTEM, "prompt": prompt, "completion": command} for prompt, command in commands.items()
    ]


def _request(random: Random) -> tuple[str, str]:
    """One request and its command."""
    order = random.choice(ORDERS)
    words, values = _filled(random)
    said = random.choice(order.wordings).format(**words)
    command = order.command.format(**values)
    first = ""
    if order.command == "alarm" or (order.timed and random.random() < 0.3):
        when, value = _clock_time(random) if order.command == "alarm" else _when(random)
        first, said = (f"{when}, ", said) if random.random() < 0.2 else ("", f"{said} {when}")
        command = f"{command} {value}"
    if "{room}" in order.command and random.random() < 0.1:
        said += f", not in the {_other_room(random, values['room'])}"
    return _dressed(random, first, said), command


def _filled(random: Random) -> tuple[dict[str, str], dict[str, str]]:
    """A wording and a value for each slot."""
    values = {slot: random.choice(list(words)) for slot, words in SLOTS.items()}
    return {slot: random.choice(SLOTS[slot][value]) for slot, value in values.items()}, values


def _other_room(random: Random, room: str) -> str:
    other = random.choice([name for name in ROOMS if name != room])
    return random.choice(ROOMS[other])


def _when(random: Random) -> tuple[str, str]:
    """How a time is said, and how the command has it."""
    kind = random.random()
    if kind < 0.4:
        minutes = random.choice(list(DELAYS))
        return DELAYS[minutes][0], f"in {minutes}m"
    if kind < 0.5:
        value = random.choice(list(LONG_DELAYS))
        return random.choice(LONG_DELAYS[value]), value
    return _clock_time(random)


def _clock_time(random: Random) -> tuple[str, str]:
    hour, minute = random.randrange(6, 23), random.choice(("", "", ":30"))
    half_day = "am" if hour < 12 else "pm"
    digits = f"{(hour - 1) % 12 + 1}{minute}"
    said = f"at {digits} {half_day}" if random.random() < 0.8 else _spoken(hour, minute)
    if random.random() < 0.2:
        return random.choice((f"tomorrow {said}", f"{said} tomorrow")), f"tomorrow {digits}{half_day}"
    return said, f"{digits}{half_day}"


def _spoken(hour: int, minute: str) -> str:
    """``at half past six in the evening`` for 6:30pm."""
    if (hour, minute) == (12, ""):
        return "at noon"
    return f"at {'half past ' if minute else ''}{NUMBERS[hour % 12]} {_part_of_day(hour)}"


def _part_of_day(hour: int) -> str:
    if hour < 12:
        return "in the morning"
    if hour < 18:
        return "in the afternoon"
    return "in the evening" if hour < 22 else "at night"


def _dressed(random: Random, first: str, said: str) -> str:
    """The request with a reason, courtesies, punctuation and a capital letter, or without them."""
    reason = random.choice(REASONS) if random.random() < 0.12 else ""
    opener, closer = random.choice(OPENERS), random.choice(CLOSERS)
    question = opener in QUESTIONS
    if opener == "please " or (question and "thanks" in closer):
        closer = ""
    asked = f"{reason}{first}{opener}{said}{closer}" + ("?" if question else random.choice(("", ".")))
    return asked[0].upper() + asked[1:] if random.random() < 0.5 else asked
