"""Cells that continue from others, and preference stages side by side, in the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reports.analysis.across_stages import compare_across_stages
from reports.analysis.comparison import compare
from reports.pages import tables
from reports.write import write
from tests.helpers.run_folders import failed, record, write_run, write_scores
from trainables import results
from trainables.results import Record

MIB = 1024**2


def preference_trial(stage: str, method: str, auc: float, **changes: Any) -> Record:
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
    preference_trial("dpo", "base", 0.6, start_cell="sft-lora"),
    preference_trial(
        "dpo", "lora", 0.7, start_cell="sft-lora", start_trial="sft", peak_train_bytes=900 * MIB
    ),
    preference_trial("kto", "base", 0.6, start_cell="sft-lora"),
    preference_trial(
        "kto", "lora", 0.8, start_cell="sft-lora", start_trial="sft", peak_train_bytes=950 * MIB
    ),
    preference_trial("reward", "lora", 0.9, metrics={"pair_accuracy": 0.9}),
]


def worths(count: int) -> dict[str, list[float | None]]:
    """The columns of labelled answers, good and bad ones by turns."""
    good = [1.0 if number % 2 else None for number in range(count)]
    return {"good_worth": good, "bad_worth": [None if worth else 0.0 for worth in good]}


def report(tmp_path: Path, records: list[Record]) -> str:
    return (write([write_run(tmp_path / "run", records)]).parent / "summary.md").read_text()


def test_preference_stages_are_compared_by_the_metric_that_all_of_them_record(tmp_path: Path) -> None:
    groups = compare([results.read_run(write_run(tmp_path / "run", RECORDS))])
    (group,) = compare_across_stages(groups)
    assert [(row.name, row.quality) for row in group.rows] == [("kto-lora", 0.8), ("dpo-lora", 0.7)]
    assert {row.display_name for row in group.bases} == {"before (sft-lora)"}
    assert group.interval(group.rows[0]) is None
    assert {row.name: row.on_front for row in group.rows} == {"kto-lora": True, "dpo-lora": True}


def test_where_all_have_pairs_they_are_compared_by_them_row_by_row_and_the_auc_stands_beside(
    tmp_path: Path,
) -> None:
    """Nearly all pairs right, and an AUC near chance: prompts differ in how likely any answer to them is."""
    both = {"pair_accuracy": 0.985, "auc": 0.66}
    records = [
        preference_trial("dpo", "lora", 0.66, quality=0.5, metrics={"pair_accuracy": 0.5, "auc": 0.66}),
        preference_trial("kto", "lora", 0.66, metrics=both),
    ]
    run = write_run(tmp_path / "run", records)
    write_scores(run, records[0].trial_id, [float(number % 2) for number in range(200)], reference="chosen")
    pairs = [float(number >= 3) for number in range(200)]
    write_scores(
        run, records[1].trial_id, [-1.0] * 200, reference="labelled", pair_accuracy=pairs, **worths(200)
    )
    (group,) = compare_across_stages(compare([results.read_run(run)]))
    assert [(row.name, row.quality) for row in group.rows] == [("kto-lora", 0.985), ("dpo-lora", 0.5)]
    verdict = group.verdict(*group.rows)
    assert verdict.outcome == "better"
    assert verdict.comparison is not None
    assert verdict.comparison.basis == "McNemar's exact test on 200 rows"
    assert tables.comparison(group).columns[2] == "pair accuracy"
    assert "auc" in tables.quality_details(group).columns


def test_rows_whose_prompt_has_one_kind_of_answer_alone_do_not_count(tmp_path: Path) -> None:
    metrics = {"metrics": {"pair_accuracy": 0.75, "auc": 0.6}}
    kto, dpo = (
        preference_trial("kto", "lora", 0.6, **metrics),
        preference_trial("dpo", "lora", 0.7, **metrics),
    )
    run = write_run(tmp_path / "run", [kto, dpo])
    pairs = [None, 1.0, 1.0, None, 1.0, None, 0.0, None] * 10
    write_scores(run, kto.trial_id, [-1.0] * 80, pair_accuracy=pairs, **worths(80))
    (group,) = compare_across_stages(compare([results.read_run(run)]))
    (estimate,) = [row.cell.estimate for row in group.rows if row.name == "kto-lora"]
    assert estimate is not None
    assert (estimate.quality, estimate.rows) == (0.75, 40)


def test_a_starting_point_is_shown_once_for_each_quality_that_its_stages_measured(tmp_path: Path) -> None:
    others = [
        preference_trial("orpo", "base", 0.6, start_cell="sft-lora"),
        preference_trial("orpo", "lora", 0.75, start_cell="sft-lora", start_trial="sft"),
        preference_trial("dpo", "base", 0.8, start_cell="sft-full"),
        preference_trial("dpo", "full", 0.85, start_cell="sft-full", start_trial="other"),
    ]
    (group,) = compare_across_stages(
        compare([results.read_run(write_run(tmp_path / "run", RECORDS + others))])
    )
    assert [row.display_name for row in group.bases] == ["before (sft-lora)", "before (sft-full)"]


def test_a_starting_point_names_the_stage_whose_rows_it_was_scored_on_where_scores_differ(
    tmp_path: Path,
) -> None:
    unlike = [*RECORDS[:3], preference_trial("kto", "base", 0.55, start_cell="sft-lora"), RECORDS[4]]
    (group,) = compare_across_stages(compare([results.read_run(write_run(tmp_path / "run", unlike))]))
    assert [row.display_name for row in group.bases] == [
        "before (sft-lora, on the rows of dpo)",
        "before (sft-lora, on the rows of kto)",
    ]


def test_the_page_and_the_summary_show_them_side_by_side(tmp_path: Path) -> None:
    summary = report(tmp_path, RECORDS)
    assert "### preference stages of smollm2-135m on commands" in summary
    assert "| dpo-lora | if memory is short | 0.7 |" in summary
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "Preference stages side by side" in page
    assert list((tmp_path / "run" / "report" / "figures").glob("across*.png"))


def test_a_single_preference_stage_is_not_compared_with_itself(tmp_path: Path) -> None:
    summary = report(tmp_path, RECORDS[:3])
    assert "preference stages" not in summary


def test_a_cell_is_compared_with_what_it_started_from(tmp_path: Path) -> None:
    of_full = {"start_cell": "sft-full", "start_trial": "other"}
    records = [
        *RECORDS[1:3],
        preference_trial("dpo", "base", 0.8, **of_full),
        preference_trial("dpo", "full", 0.75, **of_full),
    ]
    summary = report(tmp_path, records)
    assert "before (sft-lora)" in summary
    assert "before (sft-full)" in summary
    assert (
        "Use none of these methods: sft-full before further training (85.0 %) beats the best result of training"
        in summary
    )


def test_a_cell_without_a_starting_point_says_so(tmp_path: Path) -> None:
    why = "it continues from the best trial of sft-lora, and no trial of that cell is done"
    summary = report(tmp_path, [failed("a"), failed("b", stage="dpo", cell="dpo-lora", error=why)])
    assert why in summary
