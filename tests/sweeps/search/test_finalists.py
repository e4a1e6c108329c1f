"""Finalists: each cell's best config, trained again with other seeds when its search has ended.

No Ray is started here: the searcher is fed as Tune would.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeps.planning.plan import Plan
from sweeps.planning.plan_json import plan_json
from sweeps.spec.spec import as_begun, read
from tests.helpers.searches import Tune, config_of, end, search_of
from tests.helpers.specs import ONE, SPEC, plan, problems
from trainables import results

WITH_FINALISTS = SPEC.replace("finalists: {seeds: 1}\n", "")


def finish_search(tune: Tune, run: Path, objectives: dict[str, list[float]]) -> None:
    """Ends every trial of the search, and the base model; each cell's trials get these objectives in turn."""
    for trial in tune.all():
        config = config_of(run, trial["trial_id"])
        left = objectives.get(config.cell, [0.0])
        end(run, trial["trial_id"], "done", left.pop(0))
        tune.complete(trial["trial_id"])


def roles(trials: list[dict[str, Any]]) -> list[str]:
    return [trial["role"] for trial in trials]


def both_cells() -> dict[str, list[float]]:
    return {"sft-full": [0.1, 0.9, 0.2], "sft-lora": [0.5, 0.3, 0.4]}


def test_each_cells_best_config_runs_again_with_the_same_three_seeds(workdir: Path, run: Path) -> None:
    tune = Tune(search_of(plan(workdir, WITH_FINALISTS), run))
    finish_search(tune, run, both_cells())
    again = [config_of(run, trial["trial_id"]) for trial in tune.all()]
    assert [(config.cell, config.train.seed, config.role) for config in again] == [
        (cell, seed, "finalist") for cell in ("sft-full", "sft-lora") for seed in (1, 2, 3)
    ]
    records = results.gather_run(run).records
    for config in again:
        searched = results.best([record for record in records if record.cell == config.cell])
        assert searched is not None
        assert searched.objective in (0.9, 0.5)
        assert config.train.learning_rate == searched.config["train"]["learning_rate"]
        assert config.method == type(config.method).model_validate(searched.config["method"])  # type: ignore[union-attr]


def test_a_cells_finalists_wait_for_its_own_search_alone(workdir: Path, run: Path) -> None:
    tune = Tune(search_of(plan(workdir, WITH_FINALISTS), run))
    trials = tune.all()
    for trial in trials:
        if trial["cell"] == "sft-lora":
            end(run, trial["trial_id"], "done", 0.5)
            tune.complete(trial["trial_id"])
    found = tune.all()
    assert [(trial["cell"], trial["role"]) for trial in found] == [("sft-lora", "finalist")] * 3
    assert tune.search.waits()


def test_a_run_that_is_resumed_goes_on_with_the_finalists_that_are_left(workdir: Path, run: Path) -> None:
    planned = plan(workdir, WITH_FINALISTS)
    tune = Tune(search_of(planned, run))
    finish_search(tune, run, both_cells())
    first, *_ = tune.all()
    end(run, first["trial_id"], "done", 0.7)
    tune.complete(first["trial_id"])
    left = [config_of(run, trial["trial_id"]) for trial in Tune(search_of(planned, run)).all()]
    assert [(config.cell, config.train.seed) for config in left] == [
        ("sft-full", 2), ("sft-full", 3), ("sft-lora", 1), ("sft-lora", 2), ("sft-lora", 3)
    ]  # fmt: skip


def test_the_search_knows_nothing_of_finalists(workdir: Path, run: Path) -> None:
    tune = Tune(search_of(plan(workdir, WITH_FINALISTS), run))
    finish_search(tune, run, both_cells())
    for trial in tune.all():
        tune.search.on_trial_result(tune.ours[trial["trial_id"]], {"step": 2, "objective": 1.0})
        end(run, trial["trial_id"], "done", 1.0)
        tune.complete(trial["trial_id"])
    studies = tune.search.work.studies
    assert {name: len(study.study.trials) for name, study in studies.items()} == {
        "sft-full": 3,
        "sft-lora": 3,
    }
    assert not tune.search.work.any_remaining()


def test_a_cell_without_a_finished_trial_has_no_finalists(workdir: Path, run: Path) -> None:
    tune = Tune(search_of(plan(workdir, WITH_FINALISTS.replace(ONE, "  - {kind: full}\n")), run))
    for trial in tune.all():
        end(run, trial["trial_id"], "failed")
        tune.complete(trial["trial_id"])
    assert tune.all() == []
    assert not tune.search.waits()


def test_the_two_best_configs_run_again_where_top_is_2(workdir: Path, run: Path) -> None:
    text = SPEC.replace("{seeds: 1}", "{seeds: 2, top: 2}").replace(ONE, "  - {kind: full}\n")
    tune = Tune(search_of(plan(workdir, text), run))
    finish_search(tune, run, {"sft-full": [0.1, 0.9, 0.2]})
    again = [config_of(run, trial["trial_id"]) for trial in tune.all()]
    assert [config.train.seed for config in again] == [1, 2, 1, 2]
    # The config that its search liked less is the better one over seeds, by the validation rows.
    for config, objective in zip(again, (0.3, 0.4, 0.6, 0.7), strict=True):
        end(run, config.trial_id(), "done", objective)
    best = results.best(results.gather_run(run).records)
    assert best is not None
    assert (best.role, best.objective) == ("search", 0.2)
    others = results.finalists_of(best, results.gather_run(run).records)
    assert {record.objective for record in others} == {0.6, 0.7}


def test_seeds_1_trains_nothing_again(workdir: Path, run: Path) -> None:
    tune = Tune(search_of(plan(workdir, SPEC), run))
    finish_search(tune, run, both_cells())
    assert tune.all() == []
    assert plan(workdir, SPEC).finalists == 0


def summary(planned: Plan) -> str:
    from sweeps.console.plan_table import plan_lines

    return "\n".join(plan_lines(planned))


def test_the_plan_says_how_many_finalists_follow(workdir: Path) -> None:
    planned = plan(workdir, WITH_FINALISTS)
    assert planned.finalists == 6
    assert "then 6 finalists: each cell's best config again with 3 other seeds (finalists.seeds)" in summary(
        planned
    )
    assert plan_json(planned)["finalists"] == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{seeds: 0}", "finalists.seeds: got 0; allowed: a whole number, at least 1"),
        ("{seed: 3}", "unknown key. Did you mean train.seed or search.seed? Allowed: seeds, top"),
        ("{seeds: {choice: [1, 2]}}", "finalists.seeds: this is the same for all trials"),
    ],
)
def test_finalists_that_cannot_be_are_refused(workdir: Path, text: str, message: str) -> None:
    assert any(message in problem for problem in problems(workdir, SPEC.replace("{seeds: 1}", text)))


def test_a_search_over_seeds_is_refused_with_what_to_do(workdir: Path) -> None:
    text = SPEC.replace("train: {", "train: {seed: {choice: [0, 1, 2]}, ")
    (problem,) = problems(workdir, text)
    assert "spec.yaml:8 train.seed: a search over seeds finds the luckiest one" in problem


def test_a_run_of_an_earlier_version_gets_finalists_only_where_its_spec_names_them_now(workdir: Path) -> None:
    file = workdir / "spec.yaml"
    file.write_text(WITH_FINALISTS)
    spec = read(file)
    assert as_begun(spec, {"plan": {"trials": {}}}).finalists.per_cell == 0
    assert as_begun(spec, {"plan": {"finalists": {"seeds": 3, "top": 1}}}).finalists.per_cell == 3
    assert as_begun(read(file, ["finalists.seeds=2"]), {"plan": {}}).finalists.per_cell == 2
