"""The embedded data set ``commands``: everyday requests to a house, each with the one command that fulfils it.

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

For example ``9pm``, ``tomorrow 7:30am``, ``in 20m``, ``in 2h``; a command without ``when`` is done at once. Several
words mean one thing (radiator, heater), times are expressed in several ways, and some requests mention a room that is
not meant. Degrees, percents, minutes and the number after ``in`` are whole numbers from 1 to 99, the hour is one from
1 to 12; the other words of each kind are in ``command_phrases``.

Every stage can train on it: ``rows`` (sft), ``texts`` (pretrain), ``preferences`` (reward, dpo, orpo, simpo),
``labelled`` (kto), ``prompts`` with ``reward`` (ppo), ``command_kinds.rows`` (classification). All but the texts have
the same requests in the same order.
"""

from __future__ import annotations

from random import Random
from typing import Any

from trainables.data.content.turns import opening_key
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
from trainables.data.rows import Prompt

NAME = "commands"
EXACT = True  # one right answer per row
SYSTEM = "Turn the request into a command."
ROWS = 2400
SEED = 20
NEVER_QUOTED = 0.2  # the share of prompts, by their hash, that never occur in the running text


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


def texts(split_by: str | None = None) -> list[dict[str, str]]:
    """Running text (``text``): pages of a house log, each with two of the requests, followed by their commands.

    Requests that an ``eval_fraction`` of up to :data:`NEVER_QUOTED` holds out are on no page, so a model pre-trained on
    the pages can be fine-tuned and scored on the rows. ``split_by``: as in the data's config, which of them that are.

    >>> print(texts()[0]["text"])
    House log, Thursday.
    Request: "start the television in the cellar."
    Command: on tv cellar
    The log has this from Ada: "could you dim the loft to 80%, please?"
    > dim attic 80
    """
    quoted = [row for row in rows() if _hash_position(row, split_by) >= NEVER_QUOTED]
    even = quoted[: len(quoted) // 2 * 2]  # two on a page
    return [{"text": page} for page in command_variants.pages(even, Random(SEED + 1))]


def _hash_position(row: dict[str, str], split_by: str | None) -> float:
    """The position of a row in the order in which rows are held out, from 0 to 1."""
    system, user = {"role": "system", "content": SYSTEM}, {"role": "user", "content": row["prompt"]}
    prompt = Prompt((system, user))
    key = opening_key(prompt).hex() if split_by == "first_turn" else prompt.key()
    return int(key[:12], 16) / 2**48


def preferences() -> list[dict[str, str]]:
    """Pairs: ``system``, ``prompt``, ``chosen`` (the right command) and ``rejected`` (with one slot wrong).

    Without the request the two can't be told apart: each value is right and wrong about equally often.

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
    """Answers, half of them right: ``system``, ``prompt``, ``completion``, ``label``; wrong ones as in the pairs.

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
    """Requests without answers: ``system``, ``prompt``, and the ``reference`` that ``reward`` compares with.

    >>> prompts()[0]["reference"]
    'alarm 4pm'
    """
    return [{"system": SYSTEM, "prompt": row["prompt"], "reference": row["completion"]} for row in rows()]


def is_command(text: str) -> bool:
    """Whether the text is exactly a command of the language above, with nothing before or after it.

    >>> is_command("off heater cellar 6:30pm"), is_command("off heater cellar 18:30"), is_command("alarm")
    (True, False, False)
    """
    return command_variants.parse(text) is not None


def reward(answer: str, reference: str) -> float:
    """The reward of an answer, from 0 to 1, by a verifiable rule.

    1 if the answer equals the reference, apart from surrounding space; 0 if it is not a command. Otherwise half the
    share of right slots: those that both have with the same value, among all that either has. Slots are the first
    word, those that the order's line of the grammar names (device, room, ...), and the time if there is one.

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
    """A random request and its command."""
    order = random.choice(ORDERS)
    words, values = _slot_values(random)
    wording = random.choice(order.wordings).format(**words)
    command = order.command.format(**values)
    first = ""
    if order.command == "alarm" or (order.timed and random.random() < 0.3):
        when, value = _clock_time(random) if order.command == "alarm" else _when(random)
        first, wording = (f"{when}, ", wording) if random.random() < 0.2 else ("", f"{wording} {when}")
        command = f"{command} {value}"
    if "{room}" in order.command and random.random() < 0.1:
        wording += f", not in the {_other_room(random, values['room'])}"
    return _with_courtesies(random, first, wording), command


def _slot_values(random: Random) -> tuple[dict[str, str], dict[str, str]]:
    """A wording and a value for each slot."""
    values = {slot: random.choice(list(words)) for slot, words in SLOTS.items()}
    return {slot: random.choice(SLOTS[slot][value]) for slot, value in values.items()}, values


def _other_room(random: Random, room: str) -> str:
    other = random.choice([name for name in ROOMS if name != room])
    return random.choice(ROOMS[other])


def _when(random: Random) -> tuple[str, str]:
    """A random time: its wording, and its form in the command."""
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
    wording = f"at {digits} {half_day}" if random.random() < 0.8 else _time_in_words(hour, minute)
    if random.random() < 0.2:
        return random.choice((f"tomorrow {wording}", f"{wording} tomorrow")), f"tomorrow {digits}{half_day}"
    return wording, f"{digits}{half_day}"


def _time_in_words(hour: int, minute: str) -> str:
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


def _with_courtesies(random: Random, first: str, wording: str) -> str:
    """The request, at random with a reason, courtesies, punctuation and a capital letter."""
    reason = random.choice(REASONS) if random.random() < 0.12 else ""
    opener, closer = random.choice(OPENERS), random.choice(CLOSERS)
    question = opener in QUESTIONS
    if opener == "please " or (question and "thanks" in closer):
        closer = ""
    request = f"{reason}{first}{opener}{wording}{closer}" + ("?" if question else random.choice(("", ".")))
    return request[0].upper() + request[1:] if random.random() < 0.5 else request
