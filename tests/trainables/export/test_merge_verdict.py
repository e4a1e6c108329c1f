"""An export says in words whether merging cost anything that matters."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainables.export.exported import Exported
from trainables.export.merge_effect import ScoreChange
from trainables.export.merge_verdict import verdict_sentences
from trainables.export.verify import Check, Difference, Prompts

PROMPTS = Prompts((), "built-in prompts")
EXACT = Difference(1e-5, 1e-6, 1.0, 0.1)
ROUNDING = Difference(0.1, 0.01, 0.99, 100.0)


def outputs(files: Difference, merged: bool = True) -> str:
    check = Check(PROMPTS, "bfloat16", EXACT if merged else None, ROUNDING, files)
    (sentence,) = verdict_sentences(Exported(Path(), 1, "bfloat16", check=check))
    return sentence


def scores(rows: int, before: dict[str, float], after: dict[str, float]) -> str:
    (sentence,) = verdict_sentences(Exported(Path(), 1, "bfloat16", change=ScoreChange(rows, before, after)))
    return sentence


def test_outputs_within_float_error_cost_nothing() -> None:
    assert outputs(EXACT) == (
        "Merging cost nothing: the outputs are the same within the error of 32-bit numbers."
    )
    assert outputs(EXACT, merged=False).startswith("Exporting cost nothing")


def test_outputs_that_differ_as_rounding_does_cost_nothing_that_matters() -> None:
    assert outputs(Difference(0.2, 0.014, 0.98, 200.0)) == (
        "Merging cost nothing that matters: no more than rounding to bfloat16 does; the most likely token stayed the "
        "same at 98.0% of positions (rounding alone: 99.0%)."
    )
    rewards = Difference(0.2, 0.03, None, 200.0)
    assert outputs(rewards) == "Merging cost 3.0 times as much as rounding to bfloat16 alone does."


@pytest.mark.parametrize(("right", "costs"), [(35, False), (27, False), (26, True), (1, True)])
def test_fewer_rows_than_chance_explains_are_no_cost(right: int, costs: bool) -> None:
    """Of 64 rows 32 were right: five fewer are within chance by McNemar's exact test, six are not."""
    said = scores(64, {"exact_match": 0.5}, {"exact_match": right / 64})
    assert ("cost something" in said) is costs
    assert f"exact match from 50.0% to {right / 64:.1%} ({abs(32 - right)} of 64 rows)" in said
    assert ("--adapter" in said) is costs


@pytest.mark.parametrize(
    ("name", "before", "after", "costs"),
    [
        ("loss", 1.0, 1.019, False),
        ("loss", 1.0, 1.03, True),
        ("loss", 1.0, 0.5, False),
        ("loss", 1.0, float("nan"), True),
        ("auc", 0.7, 0.69, False),
        ("auc", 0.7, 0.65, True),
    ],
)
def test_other_measures_have_a_limit(name: str, before: float, after: float, costs: bool) -> None:
    assert ("cost something" in scores(64, {name: before}, {name: after})) is costs


def test_of_a_measure_without_a_scale_nothing_is_said() -> None:
    assert "can't be said" in scores(64, {"reward": 1.0}, {"reward": 0.1})
