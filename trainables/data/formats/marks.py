"""Marks of messages that are not to be learned, in the words of other libraries."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from trainables.data.formats.base import plain_name
from trainables.data.parsed_row import InvalidRow, Remarks, SkippedRow, abbreviated
from trainables.data.rows import Prompt

# Keys that say whether a message is learned: OpenAI's and Axolotl's, ms-swift's, those of LLaMA-Factory, and others.
MARKS = (
    *("weight", "train", "training", "loss", "loss_mask", "loss_weight", "loss_scale"),
    *(
        "trainable",
        "is_train",
        "is_trainable",
        "is_training",
        "to_train",
        "do_train",
        "train_on",
        "should_train",
    ),
    *("learn", "learnable", "is_learned", "to_learn", "compute_loss", "has_loss", "use_loss", "train_weight"),
)
# Keys that say that a message is not learned: torchtune's. `mask` is none: some write 1 there for what is learned.
NEGATIVE_MARKS = ("masked",)
PARTIAL_MARKS = ("train_detail", "training_detail")  # Axolotl's, for parts of a message


def is_learned(message: Mapping[str, Any], role: str, remarks: Remarks) -> bool:
    """Whether a message is to be learned, as far as its marks say; those of others than the assistant are remarked.

    Raises ``InvalidRow`` for a mark of a part of the message.
    """
    for key in PARTIAL_MARKS:
        if message.get(key):
            raise InvalidRow(
                f"{key} marks parts of a message, and a message is learned as a whole or not at all; give the whole "
                "message train: true or false"
            )
    marks = {
        key: _mark(key, value) for key, value in message.items() if is_mark(key) and value not in (None, "")
    }
    if role in ("assistant", "function_call"):
        return all(marks.values())
    for key, mark in marks.items():
        if mark:
            remarks.append(f"{key} marks a message of role {role} to be learned, and only answers are")
    return True


def is_mark(key: str) -> bool:
    """Whether a key says if its message is learned.

    >>> is_mark("Is-Train"), is_mark("trainer")
    (True, False)
    """
    return plain_name(key) in (*MARKS, *NEGATIVE_MARKS)


def check_row_marks(
    row: Mapping[str, Any], read: Collection[str], ignored: Collection[str], row_type: type, remarks: Remarks
) -> None:
    """Raises ``SkippedRow`` for a row that a column of its own marks not to be learned.

    ``read``: the columns with texts; ``ignored``: those that the user leaves out. A weight other than 1 is remarked.
    """
    if row_type is Prompt:
        return
    for column, value in row.items():
        if value is None or not is_mark(column) or column in (*read, *ignored):
            continue
        try:
            learned = _mark(column, value)
        except InvalidRow:
            # `loss` of a row may be any measure; a weight says how much it counts.
            if "weight" in plain_name(column):
                remarks.append(f"{column} of a row is left aside, as each row counts the same")
            continue
        if not learned:
            raise SkippedRow(
                f"its {column} says that it is not to be learned (ignore_columns: [{column}] learns such rows)"
            )


def _mark(key: str, value: Any) -> bool:
    text = str(value).strip().lower()
    try:
        number = {"true": 1.0, "false": 0.0}[text] if text in ("true", "false") else float(text)
    except ValueError:
        number = None
    if number not in (0, 1):
        raise InvalidRow(
            f"the {key} of a message is {abbreviated(value)}, and a message is learned as a whole or not at all; "
            "write 1 or 0, or true or false"
        )
    return bool(number) != (plain_name(key) in NEGATIVE_MARKS)
