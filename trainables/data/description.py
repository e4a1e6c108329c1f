"""What a data set holds before any model is chosen: its kind of rows, how they are split, and their characters."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainables.config.data import DataConfig
from trainables.data.converted_rows import UncutData, load_uncut
from trainables.data.errors import DataError
from trainables.data.label_counts import label_counts
from trainables.data.loading import Data, load
from trainables.data.row_kind import detect_row_type
from trainables.data.rows import Classified, Conversation, Labelled, Message, Preference, Prompt, Text
from trainables.data.splits import held_out_setting
from trainables.system.wording import counted

MAX_MEASURED_ROWS = 10_000  # whose characters are counted
SHOWN_ROWS = 3

# The stage that learns from rows of each type, and what such rows are. No stage learns from prompts alone, without a
# reward.
STAGES: Mapping[type, str] = {
    Conversation: "sft",
    Preference: "dpo",
    Labelled: "kto",
    Text: "pretrain",
    Classified: "classification",
}
KINDS: Mapping[type, str] = {
    Conversation: "conversations with answers",
    Preference: "pairs of a chosen and a rejected answer",
    Labelled: "answers that are labelled good or bad",
    Text: "running text",
    Prompt: "prompts without answers",
    Classified: "texts with their labels",
}


@dataclass(frozen=True)
class ExampleRow:
    """A row to show: where it stands, its messages or text, and what would be learned of it, by part."""

    where: str
    context: tuple[tuple[str, str], ...]  # (role, content)
    learned: tuple[tuple[str, str], ...]  # (part, text)


@dataclass(frozen=True)
class DataDescription:
    """``row_type``: the kind of rows that they are read as. ``split``: the data with rows held out by the setting
    ``held_out``; ``None`` where too few rows can be, for the reason ``not_split``. ``characters``: the number of them
    by part of a row, (measured rows,) each; ``utf8_bytes``: (measured rows,), of all parts. ``facts``: what is true of
    the measured rows, in sentences.
    """

    row_type: type
    rows: UncutData
    split: Data | None
    not_split: str | None
    held_out: str
    characters: Mapping[str, np.ndarray]
    utf8_bytes: np.ndarray
    facts: tuple[str, ...]
    examples: tuple[ExampleRow, ...]

    @property
    def stage(self) -> str | None:
        """The stage that learns from such rows, if there is one."""
        return STAGES.get(self.row_type)

    @property
    def total_characters(self) -> np.ndarray:
        """The characters of each measured row: (measured rows,)."""
        return np.sum(list(self.characters.values()), axis=0)

    @property
    def measured(self) -> int:
        return len(self.total_characters)


def describe(config: DataConfig, row_type: type | None = None) -> DataDescription:
    """Reads the data that ``config`` names, as ``row_type`` or else as the kind that it is.

    Raises :class:`DataError` for data that does not exist or can't be read.
    """
    # Embedded data has every kind.
    row_type = row_type or detect_row_type(config) or Conversation
    rows = load_uncut(config, row_type)
    split, reason = None, None
    try:
        split = load(config, row_type)
    except DataError as error:
        reason = str(error)
    # Every n-th row, with n rounded up.
    sample = rows.rows[:: -(-len(rows.rows) // MAX_MEASURED_ROWS)]
    measured = list(sample)
    parts = [_part_lengths(row) for row in measured]
    return DataDescription(
        row_type,
        rows,
        split,
        reason,
        "data.{} {}".format(*held_out_setting(config)),
        {part: np.array([lengths[part] for lengths in parts]) for part in parts[0]},
        np.array([_utf8_bytes(row) for row in measured]),
        tuple(_facts(row_type, measured)),
        tuple(_examples(rows)),
    )


def _part_lengths(row: Any) -> dict[str, int]:
    if isinstance(row, Text):
        return {"text": len(row.text)}
    prompt = {"prompt": sum(len(text) for _, text in _messages(row.prompt))}
    return prompt | {part: len(text) for part, text in _answers(row)}


def _utf8_bytes(row: Any) -> int:
    texts = [row.text] if isinstance(row, Text) else [text for _, text in _messages(row.prompt)]
    return sum(len(text.encode(errors="replace")) for text in (*texts, *(text for _, text in _answers(row))))


def _messages(messages: Sequence[Message]) -> list[tuple[str, str]]:
    return [
        (str(message["role"]), _with_calls(str(message.get("content") or ""), message.get("tool_calls")))
        for message in messages
    ]


def _with_calls(text: str, calls: Any) -> str:
    return "\n".join(filter(None, [text, json.dumps(calls, ensure_ascii=False) if calls else ""]))


def _answers(row: Any) -> list[tuple[str, str]]:
    """The parts of a row that are learned, with their text."""
    if isinstance(row, Conversation):
        return [("answer", _with_calls(row.answer, row.calls))]
    if isinstance(row, Labelled):
        turns = [text for _, text in _messages(row.completion_turns)]
        return [("answer", "\n".join([*turns, _with_calls(row.completion, row.completion_calls)]))]
    if isinstance(row, Classified):
        return [("label", row.label)]
    if isinstance(row, Preference):
        sides = (
            ("chosen", row.chosen_turns, row.chosen, row.chosen_calls),
            ("rejected", row.rejected_turns, row.rejected, row.rejected_calls),
        )
        return [
            (name, "\n".join([*(text for _, text in _messages(turns)), _with_calls(last, calls)]))
            for name, turns, last, calls in sides
        ]
    return []


def _facts(row_type: type, rows: Sequence[Any]) -> Iterator[str]:
    if row_type is Labelled:
        good = sum(row.label for row in rows)
        yield f"{good} answers are labelled good, {len(rows) - good} bad"
    if row_type is Classified:
        yield label_counts(rows)
    if row_type is Text:
        return
    checks: tuple[tuple[str, Callable[[Counter[str]], bool]], ...] = (
        ("a system prompt", lambda roles: roles["system"] > 0),
        ("several turns", lambda roles: roles["user"] > 1),
        ("results of tools", lambda roles: roles["tool"] > 0),
    )
    roles = [Counter(str(message["role"]) for message in row.prompt) for row in rows]
    for what, holds in checks:
        if count := sum(map(holds, roles)):
            yield f"{count} of {counted(len(rows), 'row')} {'has' if count == 1 else 'have'} {what}"


def _examples(data: UncutData) -> Iterator[ExampleRow]:
    count = min(SHOWN_ROWS, len(data.rows))
    for place in (number * len(data.rows) // count for number in range(count)):
        yield example_row(data.rows[place], data.rows.where(place))


def example_row(row: Any, where: str) -> ExampleRow:
    """A row to show, which stands at ``where``."""
    if isinstance(row, Text):
        return ExampleRow(where, (), (("text", row.text),))
    label = f", labelled {'good' if row.label else 'bad'}" if isinstance(row, Labelled) else ""
    return ExampleRow(f"{where}{label}", tuple(_messages(row.prompt)), tuple(_answers(row)))
