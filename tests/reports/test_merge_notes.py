"""What merging an adapter changed is said with its numbers, where there is something to compare."""

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
    return list(merge_notes.notes(results.read(write_run(folder / "run", list(records)))))


def test_it_is_said_once_for_each_adapter_by_the_measures_that_both_have(tmp_path: Path) -> None:
    again = record("ccc", "base", cell="kto-base", start_trial="aaa", metrics={"exact_match": 0.844})
    (said,) = notes(tmp_path, adapter(), start(), again)
    assert said == (
        "Merging sft-qlora-4bit's adapter (aaa) into the base as it is without quantization took "
        "exact match from 0.828 to 0.844 (128 rows each)"
    )


def test_measures_that_only_share_their_name_are_not_compared(tmp_path: Path) -> None:
    """The loss of sft is of tokens, that of dpo of pairs; of the same stage they are one measure."""
    losses = {"exact_match": 0.844, "loss": 0.31}
    dpo = {"stage": {"kind": "dpo"}}
    (said,) = notes(tmp_path / "dpo", adapter(), start(metrics=losses, config=dpo))
    assert "took exact match from 0.828 to 0.844 (128" in said
    (said,) = notes(tmp_path / "sft", adapter(), start(metrics=losses, config={"stage": {"kind": "sft"}}))
    assert "and loss from 0.115 to 0.310" in said


def test_a_lora_is_merged_into_its_own_base(tmp_path: Path) -> None:
    (said,) = notes(tmp_path, adapter(config={"method": {"kind": "lora"}}), start())
    assert "adapter (aaa) into its base took" in said


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
def test_without_something_to_compare_nothing_is_said(
    tmp_path: Path, source: dict[str, Any], after: dict[str, Any]
) -> None:
    assert notes(tmp_path, adapter(**source), start(**after)) == []


def test_the_report_has_it(tmp_path: Path) -> None:
    page = write([write_run(tmp_path / "run", [adapter(), start()])])
    for text in (page.read_text(), page.with_name("summary.md").read_text()):
        assert "took exact match from 0.828 to 0.844" in text
