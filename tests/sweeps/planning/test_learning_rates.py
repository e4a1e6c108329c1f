"""Where the search of a learning rate starts, which range it has, and from which trial on results steer."""

from __future__ import annotations

import json
from math import inf, prod
from pathlib import Path
from typing import Any

import pytest

from sweeps.planning.learning_rates import width_factor
from sweeps.planning.plan import make
from sweeps.planning.plan_json import plan_json
from sweeps.spec.spec import read, shipped_specs
from tests.helpers.specs import SPEC, plan, problems, spec_folder
from trainables.models.folder import Architecture

WITHOUT_RATE = SPEC.replace(", learning_rate: {log: [1e-4, 5e-3]}", "")


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return spec_folder(tmp_path)


def widen(workdir: Path, **config: Any) -> None:
    path = workdir / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))


def architecture(**config: Any) -> Architecture:
    return Architecture(config, 2, (), ())


def test_each_method_has_a_range_of_its_own_around_its_starting_point(workdir: Path) -> None:
    planned = plan(workdir, WITHOUT_RATE)
    assert planned.errors == ()
    spaces = {cell.name: str(cell.space["train.learning_rate"]) for cell in planned.cells}
    assert spaces == {"sft-full": "log [2e-05, 0.002]", "sft-lora": "log [0.0002, 0.02]"}
    assert [cell.prior()["train.learning_rate"] for cell in planned.cells] == [2e-4, 2e-3]


def test_starting_points_and_ranges_shrink_as_the_model_is_wider(workdir: Path) -> None:
    widen(workdir, hidden_size=4608)  # 8 x 576
    planned = plan(workdir, WITHOUT_RATE)
    full = planned.cell("sft-full")
    assert full.prior()["train.learning_rate"] == pytest.approx(2e-4 / 8)
    assert str(full.space["train.learning_rate"]) == "log [2.5e-06, 0.00025]"


@pytest.mark.parametrize(
    ("config", "factor"),
    [
        ({"hidden_size": 576}, 1.0),
        ({"hidden_size": 1152}, 0.5),
        ({"hidden_size": 64}, 1.0),  # nothing is known below the measured width
        ({"d_model": 2304}, 0.25),
        ({"n_embd": 1152}, 0.5),
        ({"text_config": {"hidden_size": 1152}, "hidden_size": 64}, 0.5),
        ({"hidden_size": [576, 1152]}, 1.0),
        ({}, 1.0),
    ],
)
def test_the_width_is_the_decoders_by_whatever_name(config: dict[str, Any], factor: float) -> None:
    assert width_factor(architecture(**config)) == factor
    assert width_factor(None) == 1.0


def test_no_range_is_known_for_sgd(workdir: Path) -> None:
    text = WITHOUT_RATE.replace("steps: 8", "steps: 8, optimizer: sgd")
    assert any("learning_rate" in problem for problem in problems(workdir, text))


def test_a_search_with_lion_starts_at_a_fifth_of_adamw_s_rate(workdir: Path) -> None:
    planned = plan(workdir, WITHOUT_RATE.replace("steps: 8", "steps: 8, optimizer: lion"))
    assert [cell.prior()["train.learning_rate"] for cell in planned.cells] == pytest.approx([4e-5, 4e-4])
    assert str(planned.cell("sft-lora").space["train.learning_rate"]) == "log [4e-05, 0.004]"


def test_a_starting_point_outside_the_given_range_is_said_at_its_line(workdir: Path) -> None:
    found = problems(workdir, SPEC.replace("[1e-4, 5e-3]", "[1e-5, 1e-3]"))
    assert found == [
        "spec.yaml:8 train.learning_rate: the starting point of sft-lora, 0.002, lies outside log [1e-05, 0.001]: the "
        "first trial takes 0.001. With learning_rate left out, 0.0002 to 0.02 is searched"
    ]
    assert problems(workdir, SPEC.replace("{log: [1e-4, 5e-3]}", "1e-5")) == []  # one value is no range


def test_a_range_may_say_where_its_search_begins(workdir: Path) -> None:
    text = SPEC.replace("{log: [1e-4, 5e-3]}", "{log: [1e-5, 1e-3], start: 1e-4}")
    made = plan(workdir, text)
    assert made.problems == ()
    assert [cell.suggested().train.learning_rate for cell in made.cells] == [1e-4, 1e-4]
    assert str(made.cells[0].space["train.learning_rate"]) == "log [1e-05, 0.001]"


@pytest.mark.parametrize(
    ("sets", "note", "steered"),
    [
        (
            ("search.trials=8",),
            "results steer the search from a cell's trial 6 on (a Gaussian process); before it come each method's "
            "starting point and quasi-random draws",
            6,
        ),
        (
            ("search.trials=3",),
            "random search: the 3 trials of a cell are each method's starting point and quasi-random draws; from 8 "
            "trials a cell on, results would steer it",
            None,
        ),
        (
            ("search.trials=8", "search.sampler=tpe"),
            "results steer the search from a cell's trial 6 on (a tree-structured Parzen estimator); before it come "
            "each method's starting point and random draws",
            6,
        ),
        (
            ("search.trials=3", "search.sampler=tpe"),
            "random search: the 3 trials of a cell are each method's starting point and random draws; results would "
            "steer it from trial 6 on",
            None,
        ),
        (
            ("search.trials=9", "search.sampler=qmc"),
            "random search: the 9 trials of a cell are each method's starting point and quasi-random draws, which no "
            "result steers",
            None,
        ),
    ],
)
def test_the_plan_says_from_which_trial_on_results_steer(
    workdir: Path, sets: tuple[str, ...], note: str, steered: int | None
) -> None:
    planned = plan(workdir, SPEC, sets)
    assert note in planned.notes
    assert {cell["steered_from_trial"] for cell in plan_json(planned)["cells"]} == {steered}


def test_a_space_that_is_tried_as_a_whole_is_no_search(workdir: Path) -> None:
    planned = plan(workdir, SPEC.replace("{log: [1e-4, 5e-3]}", "1e-3"))
    assert not any("random search" in note or "steer" in note for note in planned.notes)


@pytest.mark.parametrize("name", shipped_specs())
def test_shipped_specs_search_in_earnest_or_say_that_they_draw(name: str) -> None:
    planned = make(read(name))
    assert not any("starting point" in problem.what for problem in planned.problems)
    assert not any("can't be answered" in problem.what for problem in planned.problems)
    for cell in planned.cells:
        assert "train.learning_rate" in cell.space
        drawn = cell.search.sampler == "qmc" and cell.search.scheduler == "none"
        assert cell.trials >= 6 or drawn
        # Where every value is tried, no draw is left to chance.
        whole = cell.trials == prod(domain.size() or inf for domain in cell.space.values())
        assert not drawn or whole or any(note.startswith("random search") for note in planned.notes)
        # All held-out rows count, but where answers are generated at every evaluation, as the specs say.
        assert cell.quality_rows is not None
        assert cell.stage in ("ppo", "grpo") or cell.quality_rows.rows == cell.quality_rows.held_out
