"""Rows with classes: which columns hold them, what a label may be, and what is said of a data set's labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trainables.config.data import DataConfig
from trainables.data.converted_rows import load_uncut
from trainables.data.description import describe
from trainables.data.errors import DataError
from trainables.data.label_counts import label_counts
from trainables.data.loading import load
from trainables.data.row_kind import detect_row_type
from trainables.data.rows import Classified, Conversation, Preference, row_from_json, row_to_json

WARM = ({"role": "user", "content": "warmer"},)


def write(folder: Path, rows: list[dict[str, Any]]) -> DataConfig:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return DataConfig(train=str(path))


def read(config: DataConfig) -> list[Any]:
    return list(load_uncut(config, Classified).rows)


@pytest.mark.parametrize(
    ("row", "labels", "several"),
    [
        ({"text": "warmer", "label": "heating"}, ("heating",), False),
        ({"prompt": "warmer", "category": " heating "}, ("heating",), False),
        ({"text": "warmer", "label": 3}, ("3",), False),
        ({"text": "warmer", "label": True}, ("true",), False),
        ({"text": "warmer", "labels": ["a", "b", "a"]}, ("a", "b"), True),
        ({"text": "warmer", "labels": []}, (), True),
        ({"text": "warmer", "labels": '["a", "b"]'}, ("a", "b"), True),
        ({"messages": [WARM[0]], "label": "heating"}, ("heating",), False),
        ({"prompt": "warmer", "completion": "heating"}, ("heating",), False),
        ({"messages": [WARM[0], {"role": "assistant", "content": "heating"}]}, ("heating",), False),
    ],
)
def test_a_label_is_read_from_a_column_of_classes_or_from_the_answer(
    tmp_path: Path, row: dict[str, Any], labels: tuple[str, ...], several: bool
) -> None:
    assert read(write(tmp_path, [row])) == [Classified(WARM, labels, several)]


def test_a_conversation_that_has_a_class_is_classified_with_its_last_answer(tmp_path: Path) -> None:
    answered = [*WARM, {"role": "assistant", "content": "Done."}]

    (row,) = read(write(tmp_path, [{"messages": answered, "label": "polite"}]))

    assert row == Classified(tuple(answered), ("polite",))


def test_a_row_without_a_label_is_left_out_and_a_fraction_is_refused(tmp_path: Path) -> None:
    data = load_uncut(
        write(tmp_path, [{"text": "warmer", "label": "a"}, {"text": "colder", "label": None}]), Classified
    )
    assert [row.labels for row in data.rows] == [("a",)]
    assert any("no label" in warning for warning in data.warnings)

    with pytest.raises(DataError, match=r"rows.jsonl:1: label must be a label, .*got float 0.5"):
        read(write(tmp_path, [{"text": "warmer", "label": 0.5}]))


def test_rows_without_any_label_are_refused_with_the_column_to_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"columns: \{class: ...\}"):
        read(write(tmp_path, [{"messages": list(WARM)}]))


def test_the_same_columns_are_the_label_of_a_classifier_and_the_answer_of_sft(tmp_path: Path) -> None:
    columns = {"prompt": "text", "response": "label"}
    config = write(tmp_path, [{"text": "warmer", "label": "heating"}])
    config = config.model_copy(update={"columns": columns})

    (classified,) = read(config)
    (answered,) = load_uncut(config, Conversation).rows

    assert isinstance(answered, Conversation)
    assert (classified.prompt, classified.label) == (answered.prompt, answered.answer)


def test_texts_with_labels_are_told_from_running_text_and_from_labelled_answers(tmp_path: Path) -> None:
    assert detect_row_type(write(tmp_path, [{"text": "warmer", "label": "heating"}])) is Classified
    answered = {"prompt": "warmer", "completion": "heat hall 21"}
    assert detect_row_type(write(tmp_path, [{**answered, "label": "heating"}])) is Conversation


def test_a_row_keeps_its_labels_through_json() -> None:
    row = Classified(WARM, ("a", "b"), several=True)

    assert row_from_json(row_to_json(row), Classified) == row


def test_the_same_text_with_two_labels_is_told(tmp_path: Path) -> None:
    rows = [{"text": "warmer", "label": "heating"}, {"text": "warmer", "label": "light"}]

    data = load_uncut(write(tmp_path, rows), Classified)

    assert any("give the same text different labels" in warning for warning in data.warnings)


def test_how_unequal_the_labels_are_is_told_by_data(tmp_path: Path) -> None:
    rows = [{"text": f"warmer {n}", "label": "rare" if n % 10 == 0 else "often"} for n in range(40)]

    facts = describe(write(tmp_path, rows)).facts

    assert facts[0] == (
        "2 labels: often 36 (90%), rare 4 (10%); the most frequent has 9.0 times the rows of the rarest"
    )
    assert label_counts([]) == "no row has a label"


def test_the_embedded_kinds_are_the_same_requests_for_a_classifier_and_for_sft() -> None:
    config = DataConfig(train="command-kinds")
    classified, answered = load(config, Classified), load(config, Conversation)

    for part in ("train", "validation", "test"):
        ours, theirs = getattr(classified, part), getattr(answered, part)
        assert [(row.prompt, row.label) for row in ours] == [(row.prompt, row.answer) for row in theirs]
    assert label_counts(classified.train).startswith("8 labels: ")

    with pytest.raises(DataError, match="command-kinds has texts with their labels"):
        load(config, Preference)
