"""Trials that people stop and add: the queue and the studies without Ray, as Tune and the workers would feed them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from ray.tune.search import Searcher

from sweeps.execution.loop_tasks import TrialRequests
from sweeps.planning.resources.sizes import TooLarge
from sweeps.runs import trial_requests
from sweeps.runs.trial_requests import AddRequest
from sweeps.search.by_hand import stopped_by_hand
from sweeps.search.cloned_trial import cloned_trial
from sweeps.search.samplers import Request, gaussian_process, tpe
from sweeps.search.searcher import CellSearch
from sweeps.spec.settings import ResourcesConfig
from tests.helpers.searches import Tune, config_of, end, search_of
from tests.helpers.specs import SPEC, plan
from trainables import results
from trainables.results import Record, read_record
from trainables.storage import files
from trainables.trial.config import TrialConfig


def ask_to_stop(run: Path, trial_id: str) -> None:
    request = trial_requests.stop_request(trial_id)
    files.write_json(run / request.name, trial_requests.content(request))


def ask_to_add(run: Path, like: str, *changes: str) -> TrialConfig:
    config = cloned_trial(config_of(run, like), like, changes, ResourcesConfig())
    request = AddRequest(
        trial_id=config.trial_id(),
        cell=config.cell,
        like=like,
        changes=changes,
        requested_at="2026-01-01T00:00:00Z",
        config=config.model_dump(mode="json"),
    )
    files.write_json(run / request.name, trial_requests.content(request))
    return config


def curve(run: Path, trial_id: str, *points: tuple[int, str, float]) -> None:
    lines = [json.dumps({"step": step, "name": name, "value": value}) for step, name, value in points]
    (run / "trials" / trial_id / "curve.jsonl").write_text("\n".join(lines) + "\n")


def record_of(run: Path, trial_id: str) -> Record:
    found = read_record(run / "trials" / trial_id)
    assert found is not None
    return found


class Board:
    """What the driver tells the workers of the trials that are to end."""

    def __init__(self) -> None:
        self.told: list[list[str]] = []
        self.stop_by_hand = SimpleNamespace(remote=self.told.append)


def driven(search: CellSearch) -> tuple[TrialRequests, Board, list[str]]:
    board, said = Board(), list[str]()
    return TrialRequests(search, board, said.append), board, said


def test_a_running_trial_is_stopped_by_its_workers_and_counts_as_pruned(workdir: Path, run: Path) -> None:
    tune = Tune(search_of(plan(workdir), run))
    first, second = (config["trial_id"] for config in tune.all()[1:3])
    task, board, _ = driven(tune.search)
    ask_to_stop(run, second)
    task()
    task()
    assert board.told == [[second]]
    config = config_of(run, second)
    found = {"status": "stopped", "steps": 3, "objective": 0.25, "stopped_by_hand": True}
    results.write_record(run / "trials" / second, Record(**config.identity(), **found))
    tune.complete(second)
    task()
    assert board.told == [[second], []]
    study = tune.search.work.studies[config.cell].study
    (trial,) = (trial for trial in study.trials if trial.user_attrs["trial_id"] == second)
    # Where a person stopped it says nothing of how good it would have been.
    assert (trial.state, trial.value) == (TrialState.PRUNED, None)
    assert first in tune.search.queue.admission.running


def test_a_trial_that_was_stopped_between_two_drivers_never_starts_again(workdir: Path, run: Path) -> None:
    planned = plan(workdir)
    ids = [config["trial_id"] for config in Tune(search_of(planned, run)).all()]
    curve(run, ids[1], (1, "train_loss", 2.0), (3, "objective", 0.5), (4, "train_loss", 1.0))
    for trial_id in ids[1:3]:
        ask_to_stop(run, trial_id)
    # The driver was killed; another one resumes.
    search = search_of(planned, run)
    begun, unbegun = record_of(run, ids[1]), record_of(run, ids[2])
    assert (begun.status, begun.steps, begun.objective, begun.compared_by) == (
        "stopped",
        4,
        0.5,
        "validation",
    )
    assert (begun.stop_reason, begun.stopped_by_hand) == ("stopped by hand at step 4", True)
    assert (unbegun.status, unbegun.steps, unbegun.objective) == ("stopped", 0, None)
    assert unbegun.stop_reason == "stopped by hand before it began"
    handed = {config["trial_id"] for config in Tune(search).all()}
    assert handed.isdisjoint(ids[1:3])
    states = [trial.state.name for study in search.work.studies.values() for trial in study.study.trials]
    assert states.count("PRUNED") == 2


def test_a_trial_that_paused_at_a_rung_is_stopped_there_and_the_others_go_on(
    workdir: Path, run: Path
) -> None:
    planned = plan(workdir, sets=("search={trials: 6, sampler: random, grace_steps: 4}", "train.steps=40"))
    tune = Tune(search_of(planned, run))
    handed = [config for config in tune.all() if config["cell"] == "sft-full"]
    rung = planned.cell("sft-full").rungs[0]
    for number, config in enumerate(handed):
        curve(run, config["trial_id"], (rung, "training_objective", -1.0 - number))
        end(run, config["trial_id"], "interrupted")
        if number < 5:
            tune.complete(config["trial_id"])
    best = handed[0]["trial_id"]
    ask_to_stop(run, best)
    driven(tune.search)[0]()
    assert (record_of(run, best).status, record_of(run, best).objective) == ("stopped", -1.0)
    assert record_of(run, best).compared_by == "training"
    tune.complete(handed[5]["trial_id"])
    going_on = [config.trial_id() for config in tune.search.work.later]
    # Two of six, and the best one ended before it could.
    assert going_on == [handed[1]["trial_id"], handed[2]["trial_id"]]


def test_an_untrained_model_is_not_stopped(workdir: Path, run: Path) -> None:
    tune = Tune(search_of(plan(workdir), run))
    base = tune.all()[0]["trial_id"]
    ask_to_stop(run, base)
    task, board, _ = driven(tune.search)
    task()
    assert board.told == []
    assert base in [config["trial_id"] for config in Tune(search_of(plan(workdir), run)).all()]


def test_an_added_trial_is_next_and_takes_nothing_from_the_budget(workdir: Path, run: Path) -> None:
    planned = plan(workdir)
    tune = Tune(search_of(planned, run))
    ids = [handed["trial_id"] for _ in range(3) if (handed := tune.next()) is not None]
    added = ask_to_add(run, ids[2], "method.rank=16")
    task = driven(tune.search)[0]
    task()
    task()
    following = tune.all()
    assert following[0]["trial_id"] == added.trial_id()
    assert following[0]["role"] == "added"
    assert [config["trial_id"] for config in following].count(added.trial_id()) == 1
    counts = {name: study.count for name, study in tune.search.work.studies.items()}
    assert counts == {"sft-full": 3, "sft-lora": 3}
    end(run, added.trial_id(), "done", 0.99)
    tune.complete(added.trial_id())
    known = tune.search.work.studies["sft-lora"].proposed()
    assert added.trial_id() not in known


def test_an_added_trial_is_trained_once_whatever_becomes_of_the_driver(workdir: Path, run: Path) -> None:
    planned = plan(workdir)
    tune = Tune(search_of(planned, run))
    ids = [config["trial_id"] for config in tune.all()]
    for trial_id in ids:
        end(run, trial_id, "done", 0.5)
        tune.complete(trial_id)
    assert not search_of(planned, run).work.any_remaining()
    added = ask_to_add(run, ids[2], "method.rank=16").trial_id()
    assert search_of(planned, run).work.any_remaining()
    again = Tune(search_of(planned, run))
    assert [config["trial_id"] for config in again.all()] == [added]  # and its driver is killed
    assert [config["trial_id"] for config in Tune(search_of(planned, run)).all()] == [added]
    end(run, added, "done", 0.5)
    assert not search_of(planned, run).work.any_remaining()


def test_an_added_trial_that_is_stopped_before_it_began_never_starts(workdir: Path, run: Path) -> None:
    tune = Tune(search_of(plan(workdir), run))
    ids = [config["trial_id"] for config in tune.all()]
    added = ask_to_add(run, ids[2], "method.rank=16").trial_id()
    ask_to_stop(run, added)
    driven(tune.search)[0]()
    assert tune.next() is None
    assert (record_of(run, added).status, record_of(run, added).role) == ("stopped", "added")


def test_an_added_trial_that_is_predicted_not_to_fit_is_a_row_and_does_not_start(
    workdir: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune = Tune(search_of(plan(workdir), run))
    ids = [config["trial_id"] for config in tune.all()]
    added = ask_to_add(run, ids[2], "method.rank=16").trial_id()
    too_large = TooLarge(2**30, 2**20, "a test")
    monkeypatch.setattr("sweeps.planning.resources.sizes.Sizes.excess", lambda *_: too_large)
    driven(tune.search)[0]()
    assert tune.next() is None
    assert (record_of(run, added).status, record_of(run, added).room_bytes) == ("out_of_memory", 2**20)


def test_the_sweep_goes_on_as_long_as_a_trial_runs_to_which_one_may_be_added(
    workdir: Path, run: Path
) -> None:
    tune = Tune(search_of(plan(workdir), run))
    ids = [config["trial_id"] for config in tune.all()]
    assert tune.search.suggest("tune-last") is None
    for trial_id in ids:
        end(run, trial_id, "done", 0.5)
        tune.complete(trial_id)
    assert tune.search.suggest("tune-last") == Searcher.FINISHED


def test_a_request_that_can_not_be_read_is_said_once_and_left_out(workdir: Path, run: Path) -> None:
    tune = Tune(search_of(plan(workdir), run))
    tune.all()
    (run / "requests").mkdir()
    (run / "requests" / "add-0123456789ab.json").write_text("{")
    task, _, said = driven(tune.search)
    task()
    task()
    assert len(said) == 1
    assert "add-0123456789ab.json" in said[0]


@pytest.mark.parametrize(
    "foreign",
    [{"model": {"unsafe": ["remote_code"]}}, {"data": {"cutoff": 77}}, {"method": {"kind": "full"}}],
)
def test_a_request_of_somebody_else_brings_no_model_data_or_method_of_its_own(
    workdir: Path, run: Path, foreign: dict[str, dict[str, Any]]
) -> None:
    tune = Tune(search_of(plan(workdir), run))
    ids = [config["trial_id"] for config in tune.all()]
    settings = ask_to_add(run, ids[2], "method.rank=16").model_dump(mode="json")
    for part, values in foreign.items():
        settings[part] = values if part == "method" else settings[part] | values
    config = TrialConfig.model_validate(settings)
    names = {"trial_id": config.trial_id(), "cell": config.cell, "like": ids[2]}
    request = AddRequest(**names, changes=(), requested_at="2026-01-01T00:00:00Z", config=settings)
    for path in (run / "requests").iterdir():
        path.unlink()
    files.write_json(run / request.name, trial_requests.content(request))
    task, _, said = driven(tune.search)
    task()
    assert tune.next() is None
    assert "another model, data set or method" in said[0]


def test_an_added_trial_may_have_another_setting_in_the_place_of_a_searched_one(
    workdir: Path, run: Path
) -> None:
    spec = SPEC.replace("steps: 8", "steps: {choice: [4, 8]}")
    assert spec != SPEC
    tune = Tune(search_of(plan(workdir, spec), run))
    ids = [config["trial_id"] for config in tune.all()]
    added = ask_to_add(run, ids[2], "train.epochs=2")
    assert added.train.steps is None
    driven(tune.search)[0]()
    following = tune.next()
    assert following is not None
    assert following["trial_id"] == added.trial_id()


def test_a_trial_that_failed_while_it_was_scored_for_its_end_was_not_stopped_by_hand(
    workdir: Path, run: Path
) -> None:
    trial_id = Tune(search_of(plan(workdir), run)).all()[1]["trial_id"]
    ended = {"stopped_by_hand": True, "stop_reason": "stopped by hand at step 3"}
    identity = config_of(run, trial_id).identity()
    assert Record(**identity, status="stopped", **ended).stopped_by_hand
    assert not Record(**identity, status="out_of_memory", **ended).stopped_by_hand


def test_the_last_result_of_a_stopped_trial_is_the_one_on_the_validation_rows(
    workdir: Path, run: Path
) -> None:
    trial_id = Tune(search_of(plan(workdir), run)).all()[1]["trial_id"]
    curve(run, trial_id, (2, "objective", 0.1), (4, "objective", 0.5), (4, "training_objective", -2.0))
    record = stopped_by_hand(run / "trials" / trial_id, config_of(run, trial_id))
    assert (record.objective, record.compared_by) == (0.5, "validation")


@pytest.mark.parametrize("sampler", [tpe, gaussian_process])
def test_a_trial_that_was_stopped_before_its_first_result_is_not_kept_away_from(sampler: Any) -> None:
    """Samplers avoid what failed; who stops a trial that has not begun says nothing against its settings."""
    space = {"train.learning_rate": FloatDistribution(0.0, 1.0)}

    def trial(place: float, **changes: Any) -> Any:
        return create_trial(params={"train.learning_rate": place}, distributions=space, **changes)

    finished = [trial(place / 10, value=-((place / 10 - 0.5) ** 2)) for place in range(10)]
    stopped = [trial(0.5 + shift, state=TrialState.PRUNED) for shift in (-0.01, 0.0, 0.01)]
    failed = [trial(0.5 + shift, state=TrialState.FAIL) for shift in (-0.01, 0.0, 0.01)]
    request = {"distributions": space, "number": 13, "seed": 0}
    without = sampler(Request(trials=finished, **request))
    assert sampler(Request(trials=[*finished, *stopped], **request)) == without
    assert sampler(Request(trials=[*finished, *failed], **request)) != without
