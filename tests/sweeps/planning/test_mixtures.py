"""Weights of data sets that a search chooses: every one is checked, and the plan says what is really drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.planning.plan_json import plan_json
from tests.helpers.own_rows import write_lines
from tests.helpers.specs import ONE, SPEC, own_spec_folder, plan, problems

TWO = SPEC.replace("train: rows.jsonl", "train: [rows.jsonl, b.jsonl], mix: interleave_under").replace(
    ONE, "  - {kind: lora, rank: 4}\n"
)
SEARCHED = "data.weights={choice: [[1, 1], [3, 1]]}"


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_lines(tmp_path / "b.jsonl", [{"prompt": f"other {n}", "completion": "x"} for n in range(60)])
    return own_spec_folder(tmp_path, monkeypatch)


def test_weights_that_are_searched_are_one_cell_of_which_each_mixture_is_told(workdir: Path) -> None:
    planned = plan(workdir, TWO, (SEARCHED,))
    assert not planned.errors
    (cell,) = planned.cells
    assert [weights for weights, _ in cell.mixtures] == [(1.0, 1.0), (3.0, 1.0)]
    for weights, rows in cell.mixtures:
        # The same rows as where the weights are given.
        (alone,) = plan(workdir, TWO, (f"data.weights={list(weights or ())}",)).cells
        assert rows == alone.mixture
    equal, more = (rows for _, rows in cell.mixtures)
    assert more["rows.jsonl"] / sum(more.values()) > 0.7 > equal["rows.jsonl"] / sum(equal.values())
    (note,) = [note for note in cell.data_notes if "with data.weights [3, 1], training rows are" in note]
    totals = sorted(sum(rows.values()) for rows in (equal, more))
    assert f"{totals[0]}-{totals[1]} training" in note
    values = plan_json(planned)["cells"][0]
    assert values["mixture"] == {}
    assert values["mixtures"] == [{"weights": weights, "rows": dict(rows)} for weights, rows in cell.mixtures]


def test_trials_of_different_weights_have_ids_of_their_own_and_the_same_held_out_rows(workdir: Path) -> None:
    (cell,) = plan(workdir, TWO, (SEARCHED,)).cells
    leaf = "train.learning_rate"
    configs = [cell.config({"data.weights": weights, leaf: 1e-3}) for weights in ([1, 1], [3, 1])]
    assert len({config.trial_id() for config in configs}) == 2
    assert len({config.data.sha256 for config in configs}) == 1
    # Of other batches the training losses can't be compared.
    assert set(cell.comparisons.values()) <= {"validation"}


@pytest.mark.parametrize(
    ("sets", "problem"),
    [
        (
            ("data.weights={choice: [[1, 1], [1, 2, 3]]}",),
            "data: weights has 3 numbers for 2 data sets",
        ),
        (("data.weights={log: [0.1, 10]}",), "data.weights"),
        (("data.mix={choice: [concat, interleave_under]}",), "data.mix can't be searched, only compared"),
        (
            ("data.mix=interleave_over", "data.weights={choice: [[1, 1], [1.0e+9, 1]]}"),
            "with these weights the last data set is used up after",
        ),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(workdir: Path, sets: tuple[str, ...], problem: str) -> None:
    found = problems(workdir, TWO, *sets)
    assert any(problem in each for each in found), found


def test_the_untrained_model_is_scored_once_for_all_weights(workdir: Path) -> None:
    assert len(plan(workdir, TWO, (SEARCHED,)).bases) == 1
