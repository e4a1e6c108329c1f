"""Cells that go on from others, and preference stages side by side, in the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reports.analysis.across_stages import across
from reports.analysis.comparison import compare
from reports.write import write
from tests.helpers.run_folders import failed, record, write_run
from trainables import results
from trainables.results import Record

MIB = 1024**2


def preferring(stage: str, method: str, auc: float, **changes: Any) -> Record:
    """A trial of a stage that learns which answers are good; KTO's own quality is the AUC."""
    is_kto = stage == "kto"
    own = {
        "quality": auc if is_kto else auc + 0.05,
        "quality_name": "auc" if is_kto else "pair_accuracy",
        "quality_unit": "" if is_kto else "fraction",
        "metrics": {"auc": auc, "exact_match": 0.5},
    }
    cell = f"{stage}-{method}" if method != "base" else f"{stage}-base-{changes['start_cell']}"
    trial = f"{cell}-{changes.get('start_cell', '')}"
    return record(trial, method, stage=stage, cell=cell, **own | changes)


RECORDS = [
    record("sft", "lora"),
    preferring("dpo", "base", 0.6, start_cell="sft-lora"),
    preferring("dpo", "lora", 0.7, start_cell="sft-lora", start_trial="sft", peak_train_bytes=900 * MIB),
    preferring("kto", "base", 0.6, start_cell="sft-lora"),
    preferring("kto", "lora", 0.8, start_cell="sft-lora", start_trial="sft", peak_train_bytes=950 * MIB),
    preferring("reward", "lora", 0.9, metrics={"pair_accuracy": 0.9}),
]


def report(tmp_path: Path, records: list[Record]) -> str:
    return (write([write_run(tmp_path / "run", records)]).parent / "summary.md").read_text()


def test_preference_stages_are_compared_by_what_they_have_in_common(tmp_path: Path) -> None:
    groups = compare([results.read(write_run(tmp_path / "run", RECORDS))])
    (group,) = across(groups)
    assert [(row.name, row.quality) for row in group.rows] == [("kto-lora", 0.8), ("dpo-lora", 0.7)]
    assert {row.told for row in group.bases} == {"before (sft-lora)"}
    assert group.rows[0].interval is None
    assert {row.name: row.on_front for row in group.rows} == {"kto-lora": True, "dpo-lora": True}


def test_what_they_start_from_is_shown_once_for_each_value_that_its_stages_found(tmp_path: Path) -> None:
    others = [
        preferring("orpo", "base", 0.6, start_cell="sft-lora"),
        preferring("orpo", "lora", 0.75, start_cell="sft-lora", start_trial="sft"),
        preferring("dpo", "base", 0.8, start_cell="sft-full"),
        preferring("dpo", "full", 0.85, start_cell="sft-full", start_trial="other"),
    ]
    (group,) = across(compare([results.read(write_run(tmp_path / "run", RECORDS + others))]))
    assert [row.told for row in group.bases] == ["before (sft-lora)", "before (sft-full)"]


def test_what_they_start_from_says_on_whose_rows_it_was_scored_where_that_matters(tmp_path: Path) -> None:
    unlike = [*RECORDS[:3], preferring("kto", "base", 0.55, start_cell="sft-lora"), RECORDS[4]]
    (group,) = across(compare([results.read(write_run(tmp_path / "run", unlike))]))
    assert [row.told for row in group.bases] == [
        "before (sft-lora, on the rows of dpo)",
        "before (sft-lora, on the rows of kto)",
    ]


def test_the_page_and_the_summary_show_them_side_by_side(tmp_path: Path) -> None:
    told = report(tmp_path, RECORDS)
    assert "### preference stages of smollm2-135m on commands" in told
    assert "| dpo-lora | sft-lora | 0.7 | 50.0 % |" in told
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "Preference stages side by side" in page
    assert list((tmp_path / "run" / "report" / "figures").glob("across*.png"))


def test_one_such_stage_is_not_compared_with_itself(tmp_path: Path) -> None:
    told = report(tmp_path, RECORDS[:3])
    assert "preference stages" not in told


def test_a_cell_is_measured_against_what_it_went_on_from(tmp_path: Path) -> None:
    of_full = {"start_cell": "sft-full", "start_trial": "other"}
    records = [
        *RECORDS[1:3],
        preferring("dpo", "base", 0.8, **of_full),
        preferring("dpo", "full", 0.75, **of_full),
    ]
    told = report(tmp_path, records)
    assert "before (sft-lora)" in told
    assert "before (sft-full)" in told
    assert (
        "Use none of these: sft-full as it was before (85.0 %) beats the best that training reached" in told
    )


def test_a_cell_that_had_nothing_to_go_on_from_says_so(tmp_path: Path) -> None:
    why = "it goes on from the best trial of sft-lora, and no trial of that cell is done"
    told = report(tmp_path, [failed("a"), failed("b", stage="dpo", cell="dpo-lora", error=why)])
    assert why in told
