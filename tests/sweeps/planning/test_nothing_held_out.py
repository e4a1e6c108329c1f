"""``eval_fraction: 0`` holds nothing out: a single trial may run so, what compares trials may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.specs import ONE, SPEC, plan, problems, spec_folder

NOTHING = SPEC.replace("eval_fraction: 0.4", "eval_fraction: 0").replace("{log: [1e-4, 5e-3]}", "1e-3")
SINGLE = NOTHING.replace(ONE, "  - {kind: full}\n").replace("finalists: {seeds: 1}\n", "")
CHAIN = SINGLE.replace("[{kind: sft}]", "[{kind: sft}, {kind: sft, name: more, model: {from: sft}}]")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spec_folder(tmp_path_factory.mktemp("nothing"))


def test_a_single_trial_is_planned_and_says_that_nothing_is_measured(workdir: Path) -> None:
    made = plan(workdir, SINGLE)
    assert not made.errors
    assert (made.trials, made.finalists, made.bases) == (1, 0, ())
    assert made.cells[0].rungs == ()
    assert any(
        "sft-full: no rows are held out (eval_fraction: 0), so no quality is measured" in note
        for note in made.notes
    )
    assert any("60 training, 0 validation and 0 test rows" in note for note in made.notes)


def test_so_is_a_chain_of_single_trials(workdir: Path) -> None:
    assert not plan(workdir, CHAIN).errors


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            NOTHING.replace(ONE, "  - {kind: lora, rank: {choice: [4, 8]}}\n"),
            "spec.yaml:3 data.eval_fraction: no rows are held out, so the 2 trials of sft-lora can't be compared; hold "
            "some out (eval_fraction, eval_count or eval), or give search: {trials: 1}, or one value for each setting",
        ),
        (
            NOTHING.replace(ONE, "  - {kind: full}\n  - {kind: lora}\n"),
            "spec.yaml:3 data.eval_fraction: no rows are held out, so sft-full can't be compared with sft-lora; hold "
            "some out (eval_fraction, eval_count or eval), or leave one of them in the spec, or try one (paretune try)",
        ),
    ],
)
def test_searches_and_comparisons_are_refused_but_one_of_their_trials_can_be_tried(
    workdir: Path, text: str, problem: str
) -> None:
    assert problem in problems(workdir, text)
    assert not plan(workdir, text, one_trial=True).errors


def test_settings_of_held_out_rows_have_no_effect_then(workdir: Path) -> None:
    found = problems(workdir, SINGLE, "data.eval_rows=5", "train.eval_steps=2")
    assert {text.partition(":")[0].split()[-1] for text in found} == {"data.eval_rows", "train.eval_steps"}
    assert all("it has no effect: no rows are held out" in text for text in found)
