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
isn't meant. Degrees, percents, minutes and the number after ``in`` are whole numbers from 1 to 99, the hour is one
from 1 to 12; the other words of each kind are in ``command_words``.

Every stage trains on this one little world, always the same: ``rows`` (sft), ``texts`` (pretrain),
``preferences`` (reward, dpo, orpo, simpo), ``labelled`` (kto), ``prompts`` with ``reward`` (ppo). All but the
texts have the same requests in the same order.
"""

from __future__ import annotations

from random import Random
from typing import Any

from trainables.data.embedded import command_variants
from trainables.data.embedded.command_phrases import (
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
from trainables.data.rows import Prompted

NAME = "commands"
EXACT = True  # one right answer per row
SYSTEM = "Turn the request into a command."
ROWS = 2400
SEED = 20
NEVER_QUOTED = 0.2  # the share of prompts, by their hash, that running text leaves out


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


def texts() -> list[dict[str, str]]:
    """Running text (``text``): pages of a house log, each with two of the requests and the command after each.

    Requests that an ``eval_fraction`` of up to :data:`NEVER_QUOTED` holds out are on none, so that a model which has
    read the pages can be trained and scored on the other rows.

    >>> print(texts()[0]["text"])
    House log, Thursday.
    Request: "start the television in the cellar."
    Command: on tv cellar
    The log has this from Ada: "could you dim the loft to 80%, please?"
    > dim attic 80
    """
    quoted = [row for row in rows() if _place(row) >= NEVER_QUOTED]
    even = quoted[: len(quoted) // 2 * 2]  # two on a page
    return [{"text": page} for page in command_variants.pages(even, Random(SEED + 1))]


def _place(row: dict[str, str]) -> float:
    """Where a row's prompt stands in the order in which prompts are held out, from 0 to 1."""
    system, user = {"role": "system", "content": SYSTEM}, {"role": "user", "content": row["prompt"]}
    return int(Prompted((system, user)).key()[:12], 16) / 2**48


def preferences() -> list[dict[str, str]]:
    """Pairs: ``system``, ``prompt``, ``chosen`` (the right command) and ``rejected`` (one slot of it wrong).

    Which of the two is which can't be seen without the request: both have the same values about equally often.

    >>> pair = preferences()[0]
    >>> pair["chosen"], pair["rejected"]
    ('alarm 4pm', 'alarm 2pm')
    """
    right = rows()
    wrong = command_variants.near_misses(right, Random(SEED + 2))
    return [
        {"system": SYSTEM, "prompt": row["prompt"], "chosen": row["completion"], "rejected": miss}
        for row, miss in zip(right, wrong, strict=True)
    ]


def labelled() -> list[dict[str, Any]]:
    """Answers, half of them right: ``system``, ``prompt``, ``completion``, ``label``; the wrong ones as in pairs.

    >>> sum(row["label"] for row in labelled())
    1200
    """
    answers = zip(preferences(), command_variants.labels(rows()), strict=True)
    return [
        {
            "system": SYSTEM,
            "prompt": pair["prompt"],
            "completion": pair["chosen" if label else "rejected"],
            "label": label,
        }
        for pair, label in answers
    ]


def prompts() -> list[dict[str, str]]:
    """Requests to answer freely: ``system``, ``prompt``, and the ``reference`` that ``reward`` measures against.

    >>> prompts()[0]["reference"]
    'alarm 4pm'
    """
    return [{"system": SYSTEM, "prompt": row["prompt"], "reference": row["completion"]} for row in rows()]


def is_command(text: str) -> bool:
    """Whether the text is a command of the language above: to the letter, with nothing before or after it.

    >>> is_command("off heater cellar 6:30pm"), is_command("off heater cellar 18:30"), is_command("alarm")
    (True, False, False)
    """
    return command_variants.parse(text) is not None


def reward(answer: str, reference: str) -> float:
    """How right an answer is, from 0 to 1, by a rule that can be checked.

    1 if the answer is the reference, but for space around them. 0 if it isn't a command. Otherwise half the share
    of slots that are right: those that both have with the same value, of all that either has. Slots are the order
    word, what the order's line of the grammar names (device, room, ...), and the time if there is one.

    >>> reward(" off heater cellar 6:30pm", "off heater cellar 6:30pm")
    1.0
    >>> reward("off heater attic 6:30pm", "off heater cellar 6:30pm")  # 3 of 4
    0.375
    >>> reward("off heater cellar", "off heater cellar 6:30pm")  # a slot missing: 3 of 4
    0.375
    >>> reward("off heater cellar 6:30pm", "off heater cellar")  # a slot too many: 3 of 4 as well
    0.375
    >>> reward("open blinds cellar", "off heater cellar")  # only the room, of order, device, cover and room
    0.125
    >>> reward("off heater cellar, I think", "off heater cellar")
    0.0
    """
    right = command_variants.parse(reference.strip())
    if right is None:
        raise ValueError(f"the reference is not a command: {reference!r}")
    if answer.strip() == reference.strip():
        return 1.0
    given = command_variants.parse(answer.strip()) or {}
    return 0.5 * len(right.items() & given.items()) / len(right.keys() | given.keys())


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
