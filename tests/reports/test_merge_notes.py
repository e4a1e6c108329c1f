"""The notes on how merging an adapter changed its scores, where there is something to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports.analysis import merge_notes
from reports.write import write
from tests.helpers.run_folders import record, write_run
from trainables import results
from trainables.results import Record

CONFIG = {"stage": {"kind": "sft"}, "method": {"kind": "qlora"}, "train": {"learning_rate": 1e-3}}


def adapter(**changes: Any) -> Record:
    values = {"cell": "sft-qlora-4bit", "config": CONFIG, "metrics": {"exact_match": 0.828, "loss": 0.115}}
    return record("aaa", "qlora-4bit", **values | changes)


def start(**changes: Any) -> Record:
    values = {
        "cell": "dpo-base-sft-qlora-4bit",
        "start_trial": "aaa",
        "metrics": {"exact_match": 0.844, "auc": 0.9},
    }
    return record("bbb", "base", **values | changes)


def notes(folder: Path, *records: Record) -> list[str]:
    return list(merge_notes.notes(results.read_run(write_run(folder / "run", list(records)))))


def test_each_adapter_has_one_note_with_the_measures_that_both_scored(tmp_path: Path) -> None:
    again = record("ccc", "base", cell="kto-base", start_trial="aaa", metrics={"exact_match": 0.844})
    (note,) = notes(tmp_path, adapter(), start(), again)
    assert note == (
        "Merging sft-qlora-4bit's adapter (aaa) into the unquantized base model changed "
        "exact match from 0.828 to 0.844 (128 rows each)"
    )


def test_measures_that_only_share_their_name_are_not_compared(tmp_path: Path) -> None:
    """The loss of sft is over tokens, that of dpo over pairs; within one stage the losses are the same measure."""
    losses = {"exact_match": 0.844, "loss": 0.31}
    dpo = {"stage": {"kind": "dpo"}}
    (note,) = notes(tmp_path / "dpo", adapter(), start(metrics=losses, config=dpo))
    assert "changed exact match from 0.828 to 0.844 (128" in note
    (note,) = notes(tmp_path / "sft", adapter(), start(metrics=losses, config={"stage": {"kind": "sft"}}))
    assert "and loss from 0.115 to 0.310" in note


def test_a_lora_is_merged_into_its_own_base(tmp_path: Path) -> None:
    (note,) = notes(tmp_path, adapter(config={"method": {"kind": "lora"}}), start())
    assert "adapter (aaa) into its base model changed" in note


@pytest.mark.parametrize(
    ("source", "after"),
    [
        ({"config": {"method": {"kind": "full"}}}, {}),  # nothing is merged
        ({}, {"metrics": {"auc": 0.9}}),  # no measure in common
        ({}, {"test_rows": 7}),  # other rows
        ({}, {"start_trial": "of another run"}),
        ({}, {"start_trial": None}),
    ],
)
def test_without_something_to_compare_there_is_no_note(
    tmp_path: Path, source: dict[str, Any], after: dict[str, Any]
) -> None:
    assert notes(tmp_path, adapter(**source), start(**after)) == []


def test_the_report_shows_the_note(tmp_path: Path) -> None:
    page = write([write_run(tmp_path / "run", [adapter(), start()])])
    for text in (page.read_text(), page.with_name("summary.md").read_text()):
        assert "changed exact match from 0.828 to 0.844" in text
