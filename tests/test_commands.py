"""The embedded data set: one right answer per request, no request twice, always the same rows."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from trainables import commands, files

ROWS = commands.rows()

# Written out here on purpose: the data set's language as its docstring states it, and what its words mean.
ROOM = {
    "attic": "attic|loft",
    "bathroom": "bathroom|bath",
    "bedroom": "bedroom",
    "cellar": "cellar|basement",
    "den": "den|living room",
    "garage": "garage",
    "hall": "hall|hallway",
    "kitchen": "kitchen",
    "library": "library",
    "nursery": "nursery",
    "office": "office",
    "study": "study",
}
THING = {
    "fan": "fan",
    "heater": "heater|radiator",
    "lamp": "lamp",
    "radio": "radio",
    "tv": "TV|television",
    "blinds": "blinds",
    "curtains": "curtains|drapes",
    "shutters": "shutters",
    "window": "window",
    "door": "door",
    "safe": "safe|strongbox",
    "jazz": "jazz",
    "news": "news",
    "rock": "rock",
    "waltz": "waltz",
    "bread": "bread",
    "eggs": "eggs",
    "pasta": "pasta",
    "rice": "rice",
    "tea": "tea",
}
VERB = {
    "on": "switch on|turn .* on|start|going",
    "off": "switch off|turn .* off|stop|shut down",
    "heat": "set|warm|make",
    "dim": "dim|lower the light",
    "open": "open|let some light through",
    "close": "close|shut (?!down)",
    "lock": "(?<!un)lock|(?<!un)bolt",
    "unlock": "unlock|unbolt",
    "play": "play|put .* on|let me hear",
    "timer": "timer|give|time",
    "alarm": "wake|get me up|alarm",
}
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]

WHEN = r"(?: (?P<when>(?:tomorrow )?(?:1[0-2]|[1-9])(?::30)?(?:am|pm)|in [1-9]\d*[mh]))?"
COMMAND = re.compile(
    r"(?:(?P<verb>on|off) (?P<device>fan|heater|lamp|radio|tv)"
    r"|(?P<heat>heat)|(?P<dim>dim)"
    r"|(?P<cover_verb>open|close) (?P<cover>blinds|curtains|shutters|window)"
    r"|(?P<gate_verb>lock|unlock) (?P<gate>door|safe|window)"
    r"|(?P<play>play) (?P<music>jazz|news|rock|waltz)) "
    rf"(?P<room>{'|'.join(ROOM)})(?(heat) (?P<degrees>\d\d))(?(dim) (?P<percent>\d\d)){WHEN}"
    r"|(?P<timer>timer) (?P<dish>bread|eggs|pasta|rice|tea) (?P<minutes>\d+)m"
    rf"|(?P<alarm>alarm){WHEN.replace('when', 'alarm_when')}"
)


def parse(command: str) -> dict[str, str]:
    found = COMMAND.fullmatch(command)
    assert found is not None, command
    return {name: text for name, text in found.groupdict().items() if text is not None}


def time_asked_for(prompt: str) -> str | None:
    """Reads the time out of a request by other means than the generator writes it."""
    prompt = prompt.lower()
    day = "tomorrow " if "tomorrow" in prompt else ""
    for pattern, value in (
        ("half an hour", "30m"),
        ("an hour", "1h"),
        ("(?:two|2) hours", "2h"),
        ("three hours", "3h"),
    ):
        if re.search(pattern, prompt):
            return f"in {value}"
    if delay := re.search(r"in (\d+) minutes", prompt):
        return f"in {delay[1]}m"
    if "at noon" in prompt:
        return f"{day}12pm"
    if digits := re.search(r"at (\d+(?::30)?) (am|pm)", prompt):
        return f"{day}{digits[1]}{digits[2]}"
    if spoken := re.search(r"at (half past )?(\w+) (?:in the (morning|afternoon|evening)|at night)", prompt):
        hour = NUMBERS.index(spoken[2]) + 1
        return f"{day}{hour}{':30' if spoken[1] else ''}{'am' if spoken[3] == 'morning' else 'pm'}"
    return None


def test_there_are_at_least_two_thousand_rows_and_no_request_occurs_twice() -> None:
    assert len(ROWS) >= 2000
    assert len({row["prompt"] for row in ROWS}) == len(ROWS)
    assert len({row["prompt"].lower().strip("?. ") for row in ROWS}) > 0.97 * len(ROWS)


def test_every_command_is_a_sentence_of_the_language_in_the_docstring() -> None:
    for row in ROWS:
        parse(row["completion"])


@pytest.mark.parametrize(
    "command", ["off heater", "on lamp attic 21:00", "timer rice 12m 9pm", "dim hall", "alarm in"]
)
def test_what_the_docstring_does_not_allow_does_not_parse(command: str) -> None:
    assert COMMAND.fullmatch(command) is None


def test_every_part_of_a_command_is_asked_for_in_its_request() -> None:
    for row in ROWS:
        prompt, command = row["prompt"], row["completion"]
        meant = prompt.partition(", not in the ")[0]
        assert re.search(VERB[command.split()[0]], meant, re.IGNORECASE), row
        for name, value in parse(command).items():
            if name == "room":
                assert re.search(rf"\b({ROOM[value]})\b", meant), row
            elif name in ("device", "cover", "gate", "music", "dish"):
                assert re.search(rf"\b({THING[value]})\b", meant), row
            elif name in ("degrees", "minutes"):
                assert re.search(rf"\b{value} {name}", meant), row
            elif name == "percent":
                said = re.search(r"to (?:(\d+)(?: percent|%)|half)", meant)
                assert said is not None, row
                assert value == (said[1] or "50"), row


def test_a_command_has_a_time_exactly_if_its_request_has_one_and_the_same() -> None:
    for row in ROWS:
        parts = parse(row["completion"])
        # A timer's minutes are its length.
        asked = None if "timer" in parts else time_asked_for(row["prompt"])
        assert parts.get("when", parts.get("alarm_when")) == asked, row


def test_a_request_that_rules_a_room_out_never_gets_that_room() -> None:
    ruled_out = [row for row in ROWS if ", not in the " in row["prompt"]]
    assert len(ruled_out) > 50
    for row in ruled_out:
        other = row["prompt"].partition(", not in the ")[2]
        assert not re.match(rf"({ROOM[parse(row['completion'])['room']]})\b", other), row


def test_every_kind_of_command_and_every_room_is_common() -> None:
    for verb in VERB:
        assert sum(row["completion"].split()[0] == verb for row in ROWS) > 100, verb
    for room in ROOM:
        assert sum(parse(row["completion"]).get("room") == room for row in ROWS) > 100, room


def test_requests_and_answers_are_short() -> None:
    words = sorted(len(row["prompt"].split()) for row in ROWS)
    assert words[len(words) // 2] <= 10
    assert max(words) <= 28
    assert max(len(row["completion"].split()) for row in ROWS) <= 5


def test_the_rows_are_the_same_in_every_process_and_in_every_release() -> None:
    code = "from trainables import commands, files; print(files.sha256(commands.rows()))"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == files.sha256(ROWS)
    assert files.sha256(ROWS) == "9f64511fd2a59e8e3a32ea36975509a1f6d2a8a24299b897dd6ff93396eb68f7"
