"""Cells that are measured otherwise are not ranked by that measure; the answer says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports.analysis.comparison import compare
from reports.analysis.group import Group
from reports.analysis.recommendation.answer import answer
from reports.write import write
from tests.helpers.run_folders import MIB, data_entry, record, write_data, write_run, write_scores
from trainables import results
from trainables.results import Record

LOSS = {"quality_name": "loss", "quality_unit": "nats per token", "quality_higher_is_better": False}
SCALE = "the rewards of different reward models have neither a zero nor a scale in common"


def rewarded(method: str, reward: Any, value: float | None, **changes: Any) -> Record:
    config = {"method": {"kind": method}, "stage": {"kind": "ppo", "reward": reward}}
    named = {"quality_name": "reward", "quality_unit": "reward", "objective_name": "mean reward"}
    return record(
        f"ppo-{method}",
        method,
        stage="ppo",
        cell=f"ppo-{method}",
        config=config,
        quality=value,
        **named | changes,
    )


def by(cell: str) -> dict[str, str]:
    return {"cell": cell, "trial": f"{cell}-best", "folder": "/somewhere"}


def groups_of(tmp_path: Path, *records: Record) -> list[Group]:
    return compare([results.read_run(write_run(tmp_path / "run", list(records)))])


def lost(method: str, loss: float, data: dict[str, Any], **changes: Any) -> Record:
    config = {"method": {"kind": method}, "data": data}
    return record(
        f"sft-{method}", method, config=config, quality=loss, **LOSS | {"metrics": {"loss": loss}} | changes
    )


def test_policies_of_different_reward_models_are_not_ranked_by_their_rewards(tmp_path: Path) -> None:
    full, lora = groups_of(
        tmp_path,
        rewarded("full", by("reward-full"), 0.4),
        rewarded("lora", by("reward-lora"), 2.2, peak_train_bytes=900 * MIB),
    )
    assert [row.name for row in (*full.rows, *lora.rows)] == ["full", "lora"]
    assert full.title == "ppo of smollm2-135m on commands, rewarded by reward-full (trial reward-full-best)"
    text = answer(lora).text
    assert f"Not ranked against ppo-full: {SCALE}." in text
    assert text.startswith(
        "Only lora was tried, so there is nothing to compare it with: its reward is 2.2 reward"
    )


def test_policies_of_one_reward_with_other_weights_are_not_ranked_by_their_rewards(tmp_path: Path) -> None:
    ten = rewarded("lora", "commands", 2.2)
    ten.config["stage"]["reward_weight"] = 10
    full, lora = groups_of(tmp_path, rewarded("full", "commands", 0.4), ten)
    assert full.title.endswith("rewarded by commands")
    assert lora.title.endswith("rewarded by 10 x commands")


def test_titles_have_the_first_digits_of_a_rewards_code_alone(tmp_path: Path) -> None:
    """The whole hash tells apart what is rewarded otherwise."""
    records = [rewarded(method, None, 0.4) for method in ("full", "lora")]
    for each, digit in zip(records, "ab", strict=True):
        own = {"kind": "function", "weight": 1, "function": "mine:brevity", "code_sha256": 64 * digit}
        each.config["stage"]["rewards"] = [own]
    groups = groups_of(tmp_path, *records)
    assert [group.title[-31:] for group in groups] == [
        f'function "mine:brevity" "{8 * digit}"'[-31:] for digit in "ab"
    ]


def test_with_one_reward_model_for_all_they_are_ranked(tmp_path: Path) -> None:
    records = [rewarded("full", by("reward-full"), 0.4), rewarded("lora", by("reward-full"), 2.2)]
    (group,) = groups_of(tmp_path, *records)
    assert [row.name for row in group.rows] == ["lora", "full"]
    assert (group.measured, group.note) == (None, None)


def test_where_all_have_exact_match_they_are_ranked_by_that_row_by_row(tmp_path: Path) -> None:
    records = [
        rewarded("full", by("reward-full"), 0.4, metrics={"reward": 0.4, "exact_match": 0.75}),
        rewarded("lora", by("reward-lora"), 2.2, metrics={"reward": 2.2, "exact_match": 0.25}),
    ]
    run = write_run(tmp_path / "run", records)
    for one, right in zip(records, (75, 25), strict=True):
        matches = [float(number < right) for number in range(100)]
        write_scores(run, one.trial_id, [float(one.quality or 0)] * 100, exact_match=matches)
    (group,) = compare([results.read_run(run)])
    assert [(row.name, row.quality) for row in group.rows] == [("full", 0.75), ("lora", 0.25)]
    verdict = group.verdict(*group.rows)
    assert (verdict.outcome, verdict.comparison and verdict.comparison.basis) == (
        "better",
        "McNemar's exact test on 100 rows",
    )
    assert f"These cells are ranked by exact match, which all have: {SCALE}." in answer(group).text


@pytest.mark.parametrize(
    ("one", "other", "label"),
    [
        ({"cutoff": 128}, {"cutoff": 256}, "with cutoff 256"),
        (
            {"cutoff": 64, "thinking": "keep"},
            {"cutoff": 64, "thinking": "strip"},
            "with thinking strip, cutoff 64",
        ),
        ({"template": "qwen3"}, {"template": "llama3"}, "with template llama3"),
    ],
)
def test_losses_over_different_tokens_are_not_ranked(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any], label: str
) -> None:
    first, second = groups_of(tmp_path, lost("full", 1.0, one), lost("lora", 2.0, other))
    assert second.title == f"sft of smollm2-135m on commands, {label}"
    assert first.note == "Not ranked against sft-lora: losses over different tokens can't be compared."


def test_losses_that_were_scored_at_one_cutoff_are_ranked(tmp_path: Path) -> None:
    small = {"cutoff": 64, "eval_cutoff": 128}
    (group,) = groups_of(tmp_path, lost("full", 1.0, {"cutoff": 128}), lost("lora", 2.0, small))
    assert [row.name for row in group.rows] == ["full", "lora"]
    # Exact match is of texts: other tokens don't change it.
    exact = {"quality_name": "exact_match", "quality_unit": "fraction", "quality_higher_is_better": True}
    mixed = [lost(name, 0.5, {"cutoff": cutoff}, **exact) for name, cutoff in (("full", 64), ("lora", 128))]
    assert len(compare([results.read_run(write_run(tmp_path / "exact", mixed))])) == 1


def test_cells_that_are_judged_by_different_measures_are_apart_with_their_own_base(tmp_path: Path) -> None:
    base = lost("base", 3.0, {}, role="base")
    records = [base, lost("lora", 2.0, {}), record("sft-full", "full", quality=0.8)]
    by_loss, by_match = groups_of(tmp_path, *records)
    assert [row.cell.label for row in by_loss.all_rows] == ["sft-lora", "sft-base"]
    assert [row.cell.label for row in by_match.all_rows] == ["sft-full"]
    assert by_match.title == "sft of smollm2-135m on commands, by exact match"
    assert by_loss.note == "Not ranked against sft-full: they are judged by different measures."


def test_two_functions_of_one_name_are_two_measures(tmp_path: Path) -> None:
    named = {"quality_name": "polite", "quality_unit": "", "quality_higher_is_better": True}
    first, second = groups_of(
        tmp_path,
        *(
            lost(name, 0.5, {"quality_sha256": letter * 64}, **named)
            for name, letter in (("full", "a"), ("lora", "b"))
        ),
    )
    assert [group.measured for group in (first, second)] == ["by polite (aaaaaaaa)", "by polite (bbbbbbbb)"]


def test_a_cell_without_a_result_stands_with_the_first(tmp_path: Path) -> None:
    failed = rewarded("freeze", by("c"), None, status="failed", quality_name=None)
    first, second = groups_of(
        tmp_path, rewarded("full", by("a"), 0.4), rewarded("lora", by("b"), 2.2), failed
    )
    assert ([row.name for row in first.rows], [row.name for row in second.rows]) == (
        ["full", "freeze"],
        ["lora"],
    )


def test_the_report_says_by_what_the_best_was_chosen_and_by_what_it_is_judged(tmp_path: Path) -> None:
    named = {"objective_name": "log-probability per token"}
    run = write_run(tmp_path / "run", [record("aaa", **named), record("bbb", "full", **named)])
    page = write([run])
    sentence = (
        "The best trial of each cell was chosen by loss on the validation rows; it is judged by "
        "exact match on the test rows."
    )
    assert sentence in (page.parent / "summary.md").read_text()
    assert sentence in page.read_text()


def test_a_report_of_cells_that_are_measured_otherwise_has_all_of_its_parts(tmp_path: Path) -> None:
    records = [rewarded("full", by("a"), 0.4), rewarded("lora", by("b"), 2.2)]
    folder = write([write_run(tmp_path / "run", records)]).parent
    summary = (folder / "summary.md").read_text()
    assert summary.count("### ppo of smollm2-135m on commands, rewarded by ") == 2
    assert len(list((folder / "figures").glob("pareto-*.png"))) == 2


def test_the_answer_says_how_many_test_rows_were_trained_on(tmp_path: Path) -> None:
    counts = {"test_rows": 64, "turns": 12, "answers": 9, "near_duplicates": 0}
    run = write_run(
        tmp_path / "run", [record("aaa", data_sha256="5e" * 32), record("bbb", "full", data_sha256="5e" * 32)]
    )
    write_data(run, data_entry(trained_on=counts))
    (group,) = compare([results.read_run(run)])
    said = "12 of 64 test rows end with a user turn that was trained on, 9 with the same answer"
    assert said in answer(group).text
    write_data(run, data_entry(trained_on=counts | {"turns": 1, "answers": 0}))
    (group,) = compare([results.read_run(run)])
    assert "1 of 64 test rows ends with a user turn that was trained on" in answer(group).text
    write_data(run, data_entry(trained_on=counts | {"turns": 0, "answers": 0}))
    (group,) = compare([results.read_run(run)])
    assert "user turn" not in answer(group).text


@pytest.mark.parametrize(
    ("alike", "said"),
    [
        (1, "1 test row shares 13 words in a row with a training row: it may be a near duplicate,"),
        (7, "7 test rows share 13 words in a row with a training row: they may be near duplicates"),
    ],
)
def test_the_answer_says_how_many_test_rows_resemble_training_rows(
    tmp_path: Path, alike: int, said: str
) -> None:
    counts = {"test_rows": 64, "turns": 0, "answers": 0, "near_duplicates": alike}
    run = write_run(
        tmp_path / "run", [record("aaa", data_sha256="5e" * 32), record("bbb", "full", data_sha256="5e" * 32)]
    )
    write_data(run, data_entry(trained_on=counts))
    (group,) = compare([results.read_run(run)])
    assert said in answer(group).text
    write_data(run, data_entry(trained_on=counts | {"near_duplicates": 0}))
    (group,) = compare([results.read_run(run)])
    assert "words in a row" not in answer(group).text
