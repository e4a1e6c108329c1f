"""What `plan` says of early stopping and of the weights that are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.specs import own_spec_folder, plan

EARLY = "train.early_stopping={patience: 2}"


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return own_spec_folder(tmp_path, monkeypatch)


def test_a_plan_says_that_trials_may_be_done_early_and_which_weights_they_keep(workdir: Path) -> None:
    planned = plan(workdir, sets=("train.eval_steps=2", EARLY, "train.keep=best"))
    assert not planned.problems
    found = " ".join(planned.notes)
    assert (
        "a trial with train.early_stopping is done early once its validations get no better, a finalist too"
        in found
    )
    assert "the model of a trial with train.keep: best is that of its best validation" in found
    assert "kept" not in " ".join(plan(workdir, sets=("train.eval_steps=2",)).notes)


def test_the_settings_of_one_method_are_said_of_its_cells(workdir: Path) -> None:
    planned = plan(workdir, sets=("methods[0].train={eval_steps: 2, keep: best}",))
    assert any(
        "the model of a trial of sft-full with train.keep: best is that of its best" in note
        for note in planned.notes
    )


@pytest.mark.parametrize(
    ("sets", "problem"),
    [
        ((EARLY,), "early_stopping needs eval_steps"),
        (("train.keep=best",), "keep: best needs eval_steps"),
        (("train.eval_steps=2", "train.early_stopping={patience: 0}"), "train.early_stopping.patience"),
        (("train.eval_steps=2", "train.keep=beste"), "train.keep"),
        (
            ("train.eval_steps=3", EARLY),
            "a trial is done early at step 9 at the earliest, and may have only 8 steps; give a smaller patience",
        ),
        (
            ("data.eval_fraction=0", "train.eval_steps=2", EARLY),
            "train.early_stopping: it has no effect: no rows are held out",
        ),
        (
            ("data.eval_fraction=0", "train.eval_steps=2", "train.keep=best"),
            "train.keep: it has no effect: no rows are held out",
        ),
    ],
)
def test_what_takes_no_effect_or_cannot_be_is_told(
    workdir: Path, sets: tuple[str, ...], problem: str
) -> None:
    found = [str(each) for each in plan(workdir, sets=sets).problems]
    assert any(problem in each for each in found), found


def test_patience_and_the_weights_to_keep_can_be_searched(workdir: Path) -> None:
    sets = (
        "train.eval_steps=1",
        "train.early_stopping={patience: {int: [1, 3]}}",
        "train.keep={choice: [last, best]}",
    )
    planned = plan(workdir, sets=sets)
    assert not planned.errors
    assert {"train.early_stopping.patience", "train.keep"} <= set(planned.cells[0].space)
    # They change neither the batches nor the loss of a step.
    assert set(planned.cells[0].comparisons.values()) == {"training"}
    # Its first value is `last`.
    assert "with train.keep: best is that of its best validation" in " ".join(planned.notes)


def test_the_smallest_patience_of_a_search_says_whether_a_trial_can_be_done_early(workdir: Path) -> None:
    def found(low: int) -> str:
        patience = f"train.early_stopping={{patience: {{int: [{low}, 9]}}}}"
        return " ".join(str(each) for each in plan(workdir, sets=("train.eval_steps=1", patience)).problems)

    assert "is done early" not in found(1)
    assert "a trial is done early at step 9 at the earliest, and may have only 8 steps" in found(8)
