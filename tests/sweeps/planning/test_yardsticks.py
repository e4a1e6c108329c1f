"""Whether the cells that a report puts side by side are measured alike, and what plan says where they aren't."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.planning.conventions import FIRST
from sweeps.spec.spec import read
from tests.helpers.specs import ONE, SPEC, plan, problems, spec_folder

LONG = SPEC.replace("eval_fraction: 0.4", "eval_fraction: 0.4, quality: loss")
CUTOFFS = LONG.replace("quality: loss", "quality: loss, cutoff: {compare: [64, 128]}")
LINE = SPEC.replace("rows.jsonl", "commands").replace(
    "[{kind: sft}]", "[{kind: reward}, {kind: ppo, reward: {from: REWARD}}]"
)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    return spec_folder(tmp_path)


def about_measures(path: Path, text: str, *sets: str) -> list[str]:
    return [each for each in problems(path, text, *sets) if "not at all" in each]


def test_cells_of_different_cutoffs_are_scored_at_the_largest_and_have_one_base(workdir: Path) -> None:
    planned = plan(workdir, CUTOFFS)
    assert not planned.errors
    data = [cell.first().data for cell in planned.cells]
    assert {(each.cutoff, each.eval_cutoff, each.scored_cutoff) for each in data} == {
        (64, 128, 128),
        (128, None, 128),
    }
    (base,) = planned.bases
    assert (base.data.cutoff, base.data.eval_cutoff) == (128, None)
    (note,) = [note for note in planned.notes if "scored with at most" in note]
    small = [cell.name for cell in planned.cells if cell.first().data.cutoff == 64]
    assert note == f"{', '.join(small)}: scored with at most 128 tokens a row, as the cells beside them are"
    assert not about_measures(workdir, CUTOFFS)


def test_one_cutoff_changes_nothing_and_a_run_of_an_earlier_version_keeps_several(workdir: Path) -> None:
    assert {cell.first().data.eval_cutoff for cell in plan(workdir, LONG).cells} == {None}
    before = plan(workdir, CUTOFFS, conventions=FIRST)
    assert {cell.first().data.eval_cutoff for cell in before.cells} == {None}
    assert len(before.bases) == 2


def test_a_cutoff_for_scoring_that_the_spec_gives_holds(workdir: Path) -> None:
    planned = plan(workdir, CUTOFFS, ("data.eval_cutoff=256",))
    assert {cell.first().data.scored_cutoff for cell in planned.cells} == {256}


def test_plan_warns_of_policies_that_different_reward_models_reward(workdir: Path) -> None:
    (warning,) = about_measures(workdir, LINE.replace("REWARD", "reward"))
    assert (
        "the rewards of ppo-full by reward-full; ppo-lora by reward-lora have neither a zero nor a scale"
        in warning
    )
    assert warning.startswith("spec.yaml:4 stages[1].reward: ")
    assert not about_measures(workdir, LINE.replace("REWARD", "reward-full"))


def test_the_shipped_line_has_one_reward_model_for_all() -> None:
    (ppo,) = [stage for stage in read("rlhf").source.tree["stages"] if stage["kind"] == "ppo"]
    assert ppo["reward"] == {"from": "reward-full"}


def test_plan_warns_of_losses_over_different_tokens_and_of_different_measures(workdir: Path) -> None:
    thinking = LONG.replace("quality: loss", "quality: loss, thinking: {compare: [keep, empty]}")
    (warning,) = about_measures(workdir, thinking)
    assert (
        "losses are over different tokens: sft-full-keep, sft-lora-keep by thinking the default; " in warning
    )
    measures = SPEC.replace(
        "eval_fraction: 0.4", "eval_fraction: 0.4, quality: {compare: [loss, exact_match]}"
    )
    (warning,) = about_measures(workdir, measures.replace(ONE, "  - {kind: full}\n"))
    assert "sft-full-loss by loss; sft-full-exact_match by exact_match" in warning
    # Judged by exact match, other tokens change nothing of the measure.
    assert not about_measures(workdir, thinking, "data.quality=exact_match")
