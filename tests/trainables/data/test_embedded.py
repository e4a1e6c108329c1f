"""The embedded data set: one right answer per request, no request twice, always the same rows in every form."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from math import log
from statistics import fmean

import pytest

from trainables.config.data import DataConfig
from trainables.data.embedded import command_variants, commands
from trainables.data.loading import load
from trainables.data.rows import Conversation

ROWS = commands.rows()
TEXTS = [row["text"] for row in commands.texts()]
PAIRS = commands.preferences()
LABELLED = commands.labelled()
PROMPTS = commands.prompts()
HASHES = {
    "rows": "9f64511fd2a59e8e3a32ea36975509a1f6d2a8a24299b897dd6ff93396eb68f7",
    "texts": "f245ecb58cd4aacbbbb7e305ec8af3660820422af0d49a3f7be6e781b392410e",
    "preferences": "fc22bddaf7af4e3a317f17e96b1022a8ce6e7b69b5e28cdec578b740953d530b",
    "labelled": "77fce6d604670c72859430db8e1cc9e02711920bf9b77299e00894d78599cd35",
    "prompts": "ea1b0373d35eb92e4501fe0ddef27cb19f3aa958ea30e8f4ccfe3b5d14176642",
}

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
    result = COMMAND.fullmatch(command)
    assert result is not None, command
    return {name: text for name, text in result.groupdict().items() if text is not None}


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
def test_texts_that_the_grammar_does_not_allow_do_not_parse(command: str) -> None:
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
                level = re.search(r"to (?:(\d+)(?: percent|%)|half)", meant)
                assert level is not None, row
                assert value == (level[1] or "50"), row


def test_a_command_has_a_time_exactly_if_its_request_has_one_and_the_same() -> None:
    for row in ROWS:
        parts = parse(row["completion"])
        # A timer's minutes are its length.
        asked = None if "timer" in parts else time_asked_for(row["prompt"])
        assert parts.get("when", parts.get("alarm_when")) == asked, row


def test_the_command_never_names_a_room_that_the_request_excludes() -> None:
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


def test_every_form_is_the_same_in_every_process_and_in_every_release() -> None:
    imports = "from trainables.data.embedded import commands\nfrom trainables.storage import files"
    code = f"{imports}\nfor n in {[*HASHES]}: print(files.sha256(getattr(commands, n)()))"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert dict(zip(HASHES, done.stdout.split(), strict=True)) == HASHES


def test_every_right_and_every_wrong_answer_is_a_command() -> None:
    for pair in PAIRS:
        assert commands.is_command(pair["chosen"]), pair
        assert commands.is_command(pair["rejected"]), pair
        parse(pair["rejected"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alarm",
        "alarm in 20m",
        "alarm 13pm",
        "alarm 0am",
        "alarm 6:15am",
        "alarm 6:30am ",
        "alarm 6:30am\n",
        " alarm 6am",
        "ALARM 6am",
        "alarm  6am",
        "alarm 6am alarm 7am",
        "alarm \u0666am",
        "tomorrow alarm 6am",
        "alarm 6am tomorrow",
        "on fan",
        "on fan basement",
        "on window attic",
        "open door garage",
        "off attic fan",
        "on lamp attic 21:00",
        "on lamp attic tomorrow",
        "on lamp attic tomorrow in 5m",
        "on lamp attic in 5",
        "on lamp attic in 05m",
        "heat hall",
        "heat 21 hall",
        "heat hall 021",
        "dim hall 100",
        "dim hall 40%",
        "timer rice 12",
        "timer rice 12m 9pm",
        "timer rice 12m in 5m",
        "sing jazz hall",
    ],
)
def test_a_text_that_only_resembles_a_command_is_not_one(text: str) -> None:
    assert not commands.is_command(text)


@pytest.mark.parametrize(
    "text",
    [
        "alarm 12am",
        "timer rice 10m",
        "heat hall 31",
        "dim hall 5",
        "on tv den in 50m",
        "off fan hall tomorrow 3:30am",
    ],
)
def test_the_grammar_allows_numbers_that_no_row_has(text: str) -> None:
    assert commands.is_command(text)


def test_pairs_labels_and_prompts_have_the_requests_of_the_rows_in_their_order() -> None:
    requests = [(row["system"], row["prompt"]) for row in ROWS]
    for form in (PAIRS, LABELLED, PROMPTS):
        assert [(row["system"], row["prompt"]) for row in form] == requests
    assert [pair["chosen"] for pair in PAIRS] == [row["completion"] for row in ROWS]
    assert [row["reference"] for row in PROMPTS] == [row["completion"] for row in ROWS]


def changed(pair: dict[str, str]) -> str:
    """The one slot in which the two answers of a pair differ; of its time, what about it."""
    right, wrong = slots(pair["chosen"]), slots(pair["rejected"])
    (slot,) = [name for name in right.keys() | wrong.keys() if right.get(name) != wrong.get(name)]
    if slot != "when":
        return slot
    if "when" not in right or "when" not in wrong:
        return "when added" if "when" in wrong else "when dropped"
    first, second = right["when"], wrong["when"]
    if first.startswith("in ") != second.startswith("in "):
        return "in or at"
    if first.startswith("in "):
        return "delay"
    if first.removeprefix("tomorrow ") == second.removeprefix("tomorrow "):
        return "tomorrow"
    if first[:-2] == second[:-2]:
        return "am or pm"
    return "half hour" if first.replace(":30", "") == second.replace(":30", "") else "hour"


def slots(command: str) -> dict[str, str]:
    """The parts of a command, with one name for its first word and one for its time."""
    parts = parse(command)
    parts["order"] = command.split()[0]
    if "alarm_when" in parts:
        parts["when"] = parts.pop("alarm_when")
    return {
        name: value
        for name, value in parts.items()
        if name not in ("verb", "cover_verb", "gate_verb", "heat", "dim", "play", "timer", "alarm")
    }


def test_a_wrong_answer_has_one_slot_wrong_and_every_slot_gets_its_share() -> None:
    kinds = Counter(changed(pair) for pair in PAIRS)
    assert kinds.keys() == {
        *("order", "room", "device", "cover", "gate", "music", "dish", "degrees", "percent", "minutes"),
        *("when added", "when dropped", "hour", "half hour", "am or pm", "tomorrow", "delay", "in or at"),
    }
    assert min(kinds.values()) > 0.03 * len(PAIRS)
    assert max(kinds.values()) < 0.1 * len(PAIRS)


def test_the_room_that_is_not_meant_is_the_wrong_room() -> None:
    ruled_out = [pair for pair in PAIRS if ", not in the " in pair["prompt"]]
    assert len(ruled_out) > 50
    for pair in ruled_out:
        other = pair["prompt"].partition(", not in the ")[2]
        assert re.match(rf"({ROOM[slots(pair['rejected'])['room']]})\b", other), pair


def test_right_and_wrong_answers_are_equally_long() -> None:
    assert abs(mean_length(PAIRS, "chosen") - mean_length(PAIRS, "rejected")) < 0.2
    good, bad = ([row for row in LABELLED if row["label"] is label] for label in (True, False))
    assert abs(mean_length(good, "completion") - mean_length(bad, "completion")) < 0.5


def mean_length(rows: list[dict[str, str]], column: str) -> float:
    return fmean(len(row[column]) for row in rows)


def test_no_value_of_a_slot_tells_right_from_wrong() -> None:
    right = Counter(item for pair in PAIRS for item in slots(pair["chosen"]).items())
    wrong = Counter(item for pair in PAIRS for item in slots(pair["rejected"]).items())
    assert wrong.keys() <= right.keys()
    for item, count in right.items():
        assert abs(count - wrong[item]) < 14 + 0.05 * count, item
    with_time, wrong_with_time = (
        sum(n for (slot, _), n in c.items() if slot == "when") for c in (right, wrong)
    )
    assert abs(with_time - wrong_with_time) < 0.02 * with_time


def test_word_counts_of_other_pairs_do_not_tell_right_from_wrong() -> None:
    """Naive Bayes over words and pairs of words, learned on four fifths of the pairs, is at chance on the last."""
    hits = 0.0
    for fold in range(5):
        seen = [pair for place, pair in enumerate(PAIRS) if place % 5 != fold]
        right = Counter(gram for pair in seen for gram in grams(pair["chosen"]))
        wrong = Counter(gram for pair in seen for gram in grams(pair["rejected"]))
        for pair in PAIRS[fold::5]:
            scores = [
                sum(log((right[gram] + 1) / (wrong[gram] + 1)) for gram in grams(pair[column]))
                for column in ("chosen", "rejected")
            ]
            hits += (scores[0] > scores[1]) + 0.5 * (scores[0] == scores[1])
    assert 0.45 < hits / len(PAIRS) < 0.55


def grams(command: str) -> list[str]:
    words = ["<", *command.split(), ">"]
    return words + [f"{first} {second}" for first, second in pairwise(words)]


def test_half_of_the_labelled_answers_are_right_for_every_kind_of_command() -> None:
    assert sum(row["label"] for row in LABELLED) == len(LABELLED) / 2
    for row, pair in zip(LABELLED, PAIRS, strict=True):
        assert row["completion"] == pair["chosen" if row["label"] else "rejected"]
    for verb in VERB:
        result = [
            row["label"]
            for row, pair in zip(LABELLED, PAIRS, strict=True)
            if pair["chosen"].split()[0] == verb
        ]
        assert abs(2 * sum(result) - len(result)) <= 1, verb


def test_the_place_of_a_row_does_not_tell_its_label() -> None:
    labels = [row["label"] for row in LABELLED]
    for start in range(0, len(labels), 400):
        assert 0.43 < fmean(labels[start : start + 400]) < 0.57
    for step in (2, 3, 4, 5):
        assert all(0.45 < fmean(labels[place::step]) < 0.55 for place in range(step))
    assert 0.46 < fmean(first == second for first, second in pairwise(labels)) < 0.54


def test_the_examples_in_the_docstrings_hold() -> None:
    for module in (commands, command_variants):
        result = doctest.testmod(module)
        assert result.attempted > 4
        assert result.failed == 0


def test_only_the_right_answer_earns_the_full_reward_and_a_near_miss_less_than_half() -> None:
    for pair in PAIRS:
        assert commands.reward(f" {pair['chosen']}\n", pair["chosen"]) == 1
        assert 0 < commands.reward(pair["rejected"], pair["chosen"]) < 0.5, pair


def test_neither_additional_words_nor_one_answer_to_all_requests_earn_a_reward() -> None:
    for first, second in pairwise(ROWS):
        right, other = first["completion"], second["completion"]
        for answer in (
            "",
            f"{right} {right}",
            f"{right}\n{other}",
            f"{right}.",
            f"Sure: {right}",
            right.upper(),
        ):
            assert commands.reward(answer, right) == 0, answer
    for answer in sorted({row["completion"] for row in ROWS})[::100]:
        assert fmean(commands.reward(answer, row["completion"]) for row in ROWS) < 0.06, answer


def test_a_reference_that_is_not_a_command_is_refused() -> None:
    with pytest.raises(ValueError, match="not a command: 'hello'"):
        commands.reward("hello", "hello")


@pytest.mark.parametrize("split_by", [None, "first_turn"])
def test_no_page_quotes_a_request_that_other_stages_hold_out(split_by: str | None) -> None:
    read = "\n".join(row["text"] for row in commands.texts(split_by))
    spelled = str if split_by is None else str.casefold
    held = load(DataConfig(train="commands", eval_fraction=0.2, split_by=split_by), Conversation)
    rows = [*held.validation, *held.test]
    assert len(rows) > 400
    quotes = [f'"{row.prompt[-1]["content"]}"' for row in rows]
    assert not [quote for quote in quotes if spelled(quote) in spelled(read)]


def test_texts_are_pages_of_three_to_six_lines_and_none_is_repeated() -> None:
    assert len(TEXTS) == 957
    assert len(set(TEXTS)) == len(TEXTS)
    assert all(3 <= len(text.splitlines()) <= 6 for text in TEXTS)
    assert len({re.sub('".*"', "", text.splitlines()[1]).split(":")[0] for text in TEXTS}) > 20


def test_a_request_is_quoted_on_one_page_and_its_command_follows() -> None:
    pages = {}
    for text in TEXTS:
        quoted = list(re.finditer('"([^"]+)"', text))
        assert len(quoted) == 2
        for request, following in zip(quoted, [quoted[1].start(), len(text)], strict=True):
            pages[request[1]] = text[request.end() : following]
    quoted_rows = [row for row in ROWS if row["prompt"] in pages]
    assert len(pages) == len(quoted_rows) == 2 * len(TEXTS)
    for row in quoted_rows:
        line = next(line for line in pages[row["prompt"]].splitlines() if line.endswith(row["completion"]))
        assert re.search(rf"(^| ){re.escape(row['completion'])}$", line)
