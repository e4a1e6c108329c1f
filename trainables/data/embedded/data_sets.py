"""The embedded data sets by name: which types of rows each has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trainables.data.embedded import command_kinds, commands, prose
from trainables.data.errors import DataError
from trainables.data.rows import Classified, Conversation, Labelled, Preference, Prompt, Text

Rows = Callable[[], list[dict[str, Any]]]
DATA_SETS: Mapping[str, Mapping[type, Rows]] = {
    commands.NAME: {
        Conversation: commands.rows,
        Preference: commands.preferences,
        Labelled: commands.labelled,
        Prompt: commands.prompts,
        Classified: command_kinds.rows,
        Text: commands.texts,
    },
    command_kinds.NAME: {Conversation: command_kinds.rows, Classified: command_kinds.rows},
    prose.NAME: {Text: prose.rows},
}
EXACT = frozenset({commands.NAME, command_kinds.NAME})  # those with one right answer per row


def embedded_rows(name: str, row_type: type, split_by: str | None = None) -> list[dict[str, Any]]:
    """The rows of a data set, as a stage on ``row_type`` reads them. Raises ``DataError`` where it has none.

    ``split_by``: as in the data's config, by which the running text quotes no held-out row.
    """
    kinds = DATA_SETS[name]
    if row_type not in kinds:
        have = (
            "running text, for the stage pretrain and as a further evaluation set"
            if row_types(name) == {Text}
            else "texts with their labels, for the stages classification and sft"
        )
        raise DataError(f"the embedded data {name} has {have}; {commands.NAME} has rows for every stage")
    return commands.texts(split_by) if kinds[row_type] is commands.texts else kinds[row_type]()


def row_types(name: str) -> set[type]:
    """The types of rows that a data set has."""
    return set(DATA_SETS[name])
