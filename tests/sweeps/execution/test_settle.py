"""`paretune settle`: more seeds and test rows beside what a run has, in this process, on the tiny model."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from reports.analysis.comparison import compare
from reports.analysis.further_work import advice
from reports.analysis.further_work.spending import Scoring, Spending, Training
from reports.analysis.group import Group
from reports.analysis.looks import count_looks, look_of
from sweeps import cli
from sweeps.execution.settling import looks
from sweeps.execution.settling.means import Means
from sweeps.execution.settling.settle import Limit, settle
from sweeps.spec.problems import SpecError
from tests.helpers.run_folders import record
from tests.helpers.trials import make_config, write_rows
from tests.helpers.trials import run as run_trial
from tests.helpers.worker_groups import job, train_together
from trainables import results
from trainables.storage import files

OWN, MORE = 5, 6  # so few that nothing is settled on the trials' own
FURTHER = "further-predictions.parquet"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A run of two cells that were searched with one trial each, one finalist of each, and the untrained model."""
    folder = tmp_path_factory.mktemp("settle")
    rows = write_rows(folder / "rows.jsonl", 160)
    for method in (None, "full", "lora"):
        for seed in (0, 1) if method else (0,):
            config = make_config(tiny_model, rows, method, seed=seed, eval_rows=OWN, eval_fraction=0.3)
            role = "finalist" if seed else config.role
            run_trial(config.model_copy(update={"role": role}), folder / "run", memory_gauge=None)
    files.write_json(folder / "run" / "environment.json", {"name": "run"})
    results.write_tables(folder / "run")
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def trial(run: Path, cell: str, role: str) -> str:
    records = results.gather_run(run).records
    return next(record.trial_id for record in records if (record.cell, record.role) == (cell, role))


def judged(run: Path) -> tuple[str, ...]:
    trials = (("sft-full", "finalist"), ("sft-lora", "finalist"), ("sft-base", "base"))
    return tuple(trial(run, *each) for each in trials)


def one_seed(run: Path, further: int = 0) -> Training:
    return Training("sft-lora", trial(run, "sft-lora", "search"), 2, further, 1.0)


def group_of(run: Path) -> Group:
    (group,) = compare([results.gather_run(run)])
    return group


class Scripted:
    """Advice that has always the same to do."""

    def __init__(self, spending: Spending) -> None:
        self.spending = spending

    def spend(self, *_: Any) -> Spending:
        return self.spending

    def outcomes(self, run: Path) -> dict[str, str]:
        return advice.outcomes(run)

    def settled_pairs(self, run: Path) -> list[tuple[str, str]]:
        return advice.settled_pairs(run)

    def duration(self, seconds: float) -> str:
        return advice.duration(seconds)


def carry_out(run: Path, *steps: Scoring | Training, log: Callable[[str], object] = print) -> bool:
    scorings = tuple(step for step in steps if isinstance(step, Scoring))
    trainings = tuple(step for step in steps if isinstance(step, Training))
    return settle(run, 600, Scripted(Spending(("lora against full",), scorings, trainings, 1.0)), log)


def test_a_further_seed_and_further_rows_count_in_the_report(run: Path) -> None:
    before = {path.name: path.read_bytes() for path in (run / "trials" / judged(run)[0]).glob("*.json")}
    assert carry_out(run, Scoring(judged(run), MORE, 1.0), one_seed(run, MORE))
    group = group_of(run)
    estimates = {row.name: row.cell.estimate for row in group.all_rows}
    assert {name: (found.seeds, found.rows) for name, found in estimates.items() if found} == {
        "full": (1, OWN + MORE),
        "lora": (2, OWN + MORE),
        "base": (1, OWN + MORE),
    }
    assert {(row.name, row.quality) for row in group.all_rows} == {
        (name, found.quality) for name, found in estimates.items() if found
    }
    # The trial's own record and scores are what they were.
    assert {
        path.name: path.read_bytes() for path in (run / "trials" / judged(run)[0]).glob("*.json")
    } == before
    assert group.look == 2
    (outcome,) = advice.outcomes(run).values()
    assert outcome.endswith(f"sign flips on {OWN + MORE} rows, 1 and 2 seeds)")


def test_further_rows_are_scored_as_a_trial_that_holds_out_more_scores_them(
    run: Path, tmp_path: Path
) -> None:
    carry_out(run, Scoring(judged(run), MORE, 1.0))
    base = results.read_record(run / "trials" / trial(run, "sft-base", "base"))
    assert base is not None
    model, rows = base.config["model"]["path"], base.config["data"]["train"]
    config = make_config(Path(model), rows, None, eval_rows=OWN + MORE, eval_fraction=0.3)
    expected = run_trial(config, tmp_path / "more", memory_gauge=None)
    columns = ["row", "prompt", "reference", "score", "weight"]
    scored = pq.read_table(run / "trials" / base.trial_id / FURTHER, columns=columns).to_pylist()
    every = pq.read_table(
        tmp_path / "more" / "trials" / config.trial_id() / "predictions.parquet", columns=columns
    ).to_pylist()
    for found, wanted in zip(scored, every[OWN:], strict=True):
        assert found == {**wanted, "score": pytest.approx(wanted["score"], rel=0.02)}
    (untuned,) = group_of(run).bases
    assert untuned.quality == pytest.approx(expected.quality, rel=0.01)


def test_rows_that_only_some_models_were_scored_on_are_not_counted(run: Path) -> None:
    carry_out(run, Scoring(judged(run)[:2], MORE, 1.0))
    assert {row.cell.estimate.rows for row in group_of(run).all_rows if row.cell.estimate} == {OWN}
    # More of them are scored, and none twice.
    carry_out(run, Scoring(judged(run), MORE + 2, 1.0))
    assert {row.cell.estimate.rows for row in group_of(run).all_rows if row.cell.estimate} == {OWN + MORE + 2}
    numbers = pq.read_table(run / "trials" / judged(run)[0] / FURTHER)["row"].to_pylist()
    assert numbers == list(range(OWN, OWN + MORE + 2))


def test_ctrl_c_keeps_what_was_added_and_the_next_settle_goes_on(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Limit.interrupted

    def interrupted(limit: Limit) -> bool:
        signal.raise_signal(signal.SIGINT)
        return asked(limit)

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        patched.setattr(Limit, "interrupted", interrupted)
        with pytest.raises(KeyboardInterrupt):
            carry_out(run, Scoring(judged(run), MORE, 1.0), one_seed(run, MORE))
    assert signal.getsignal(signal.SIGINT) is handler
    config = Means(run, ()).config(one_seed(run).trial_id, 2)
    left = results.read_record(run / "trials" / config.trial_id())
    assert left is not None
    assert left.status == "interrupted"
    assert (run / "trials" / config.trial_id() / "checkpoint-1").is_dir()
    assert {row.name: row.seeds for row in group_of(run).rows} == {"full": 1, "lora": 1}
    carry_out(run, one_seed(run, MORE))
    assert {row.name: row.seeds for row in group_of(run).rows} == {"full": 1, "lora": 2}
    # No report was written in between, so that it is one look.
    assert group_of(run).look == 2
    carry_out(run, Scoring(judged(run), MORE + 1, 1.0))
    assert group_of(run).look == 3


def test_what_an_interrupted_settle_added_is_a_look_of_its_own_once_a_report_shows_it(run: Path) -> None:
    looks.begin(run)
    looks.begin(run)
    assert group_of(run).look == 2
    found = CliRunner().invoke(cli.app, ["report", str(run)])
    assert found.exit_code == 0, found.output
    looks.begin(run)
    assert group_of(run).look == 3


def test_no_training_begins_that_would_take_longer_than_the_time(run: Path) -> None:
    said: list[str] = []
    training = Training("sft-lora", one_seed(run).trial_id, 2, 0, 3600.0)
    assert carry_out(run, training, log=said.append)
    assert "The time is up: 1 training is left out." in said
    assert {row.name: row.seeds for row in group_of(run).rows} == {"full": 1, "lora": 1}


def test_where_nothing_can_be_settled_nothing_is_changed(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    said: list[str] = []
    # By the project's own advice, in no time.
    assert not settle(run, 0, advice, said.append)
    assert said[-1].startswith("In 0.0 s none of them can be expected to be settled")
    assert "would settle it" in said[1]
    said.clear()
    assert not settle(run, 600, Scripted(Spending(())), said.append)
    assert said == ["Nothing is open: the report says of every cell how it compares with the best."]
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_what_a_runs_trials_can_be_used_for_is_said(run: Path) -> None:
    full, lora, base = judged(run)
    means = Means(run, ())
    # 0.3 of 160 rows are held out, about half of them for testing.
    assert means.unused_rows(lora) == means.unused_rows(base) > 10
    assert means.can_train(lora)
    assert not means.reasons
    shutil.rmtree(run / "trials" / full / "model")
    config = run / "trials" / lora / "config.json"
    tree = json.loads(config.read_text())
    tree["model"]["unsafe"] = ["remote_code"]
    config.write_text(json.dumps(tree))
    assert (means.unused_rows(full), means.can_train(lora)) == (0, False)
    assert "sft-lora needs --trust remote_code" in list(means.reasons)[-1]
    assert Means(run, ("remote_code",)).can_train(lora)


def test_models_of_several_workers_are_scored_on_more_rows_and_not_trained_again(run: Path) -> None:
    for folder in (run / "trials").iterdir():
        alone = results.read_record(folder)
        assert alone is not None
        results.write_record(folder, alone.model_copy(update={"workers": 2}))
    means = Means(run, ())
    assert not means.can_train(trial(run, "sft-lora", "search"))
    (reason,) = means.reasons
    assert "trials of sft-lora are trained by 2 workers, and this command by one process" in reason
    assert "paretune run SPEC --resume --set finalists.seeds=N" in reason
    assert all(means.unused_rows(each) > MORE for each in judged(run))
    assert carry_out(run, Scoring(judged(run), MORE, 1.0))
    assert {row.cell.estimate.rows for row in group_of(run).all_rows if row.cell.estimate} == {OWN + MORE}


@pytest.mark.slow
def test_a_run_that_two_workers_trained_is_settled_by_test_rows_alone(
    tiny_model: Path, tmp_path: Path
) -> None:
    run, rows = tmp_path / "run", write_rows(tmp_path / "rows.jsonl", 160)
    trained = [
        make_config(tiny_model, rows, method, seed=seed, eval_rows=OWN, eval_fraction=0.3).model_copy(
            update={"role": "finalist" if seed else "search"}
        )
        for method in ("full", "lora")
        for seed in (0, 1)
    ]
    train_together(tmp_path, [job(config, run) for config in trained])
    run_trial(make_config(tiny_model, rows, None, eval_rows=OWN, eval_fraction=0.3), run, memory_gauge=None)
    files.write_json(run / "environment.json", {"name": "run"})
    results.write_tables(run)
    assert {record.workers for record in results.gather_run(run).records if record.role != "base"} == {2}
    found = CliRunner().invoke(cli.app, ["settle", str(run), "--minutes", "20"])
    assert found.exit_code == 0, found.output
    assert "trials of sft-lora are trained by 2 workers" in found.output
    assert "nothing is trained or scored" in found.output
    # With so few rows the advice is to add nothing. Models of two workers are scored on more all the same.
    assert carry_out(run, Scoring(judged(run), MORE, 1.0))
    group = group_of(run)
    assert {row.name: row.cell.estimate.rows for row in group.all_rows if row.cell.estimate} == dict.fromkeys(
        ("full", "lora", "base"), OWN + MORE
    )
    assert group.look == 2


def test_a_run_whose_search_has_not_ended_is_refused(run: Path) -> None:
    (run / "trials" / trial(run, "sft-full", "search") / "record.json").unlink()
    with pytest.raises(SpecError, match=r"sft-full has not ended; first paretune run SPEC --resume"):
        settle(run, 600, advice, print)


@pytest.mark.parametrize(("planned", "error"), [(2, r"1 of 3 trials to go; first paretune run"), (1, None)])
def test_a_run_that_has_trials_which_were_not_begun_is_refused(
    run: Path, planned: int, error: str | None
) -> None:
    files.write_json(
        run / "environment.json", {"name": "run", "plan": {"trials": {"sft-full": 1, "sft-lora": planned}}}
    )
    for finalist in (trial(run, cell, "finalist") for cell in ("sft-full", "sft-lora")):
        shutil.rmtree(run / "trials" / finalist)
    with pytest.raises(SpecError, match=error) if error else nullcontext():
        settle(run, 600, Scripted(Spending(())), print)


def test_the_command_says_what_it_can_not_settle(tmp_path: Path) -> None:
    for name, message in (
        (str(tmp_path), "is it a run folder"),
        ("s3://bucket/run", "settle works on a run folder on this machine"),
    ):
        found = CliRunner().invoke(cli.app, ["settle", name])
        assert found.exit_code == 2
        assert message in found.output


@pytest.mark.parametrize(
    ("shown", "planned", "counted"),
    [
        ({"unfinished": []}, 2, True),
        ({"unfinished": []}, 1, False),
        ({"unfinished": [{"to_go": 1}]}, 2, False),
        (None, 2, False),
    ],
    ids=["more trials", "as many trials", "planned before the report", "no report"],
)
def test_more_trials_of_a_reported_run_are_another_look(
    tmp_path: Path, shown: dict[str, Any] | None, planned: int, counted: bool
) -> None:
    files.write_json(tmp_path / "environment.json", {"plan": {"trials": {"sft-full": planned}}})
    ended = tmp_path / "trials" / f"{1:012x}"
    files.write_json(ended / "config.json", {"cell": "sft-full"})
    results.write_record(ended, record(ended.name, cell="sft-full"))
    if shown is not None:
        files.write_json(tmp_path / "report" / "report.json", shown)
    for _ in range(2):  # until a report shows them, it is one look
        looks.begin_for_more_trials(tmp_path, lambda run: [("sft-full", "sft-base")])
    assert count_looks(tmp_path) == (2 if counted else 1)
    if counted:
        assert look_of(tmp_path, "sft-base", "sft-full") == 1  # what was settled stays so by its level


def test_a_damaged_report_may_have_shown_that_the_run_had_ended(tmp_path: Path) -> None:
    files.write_json(tmp_path / "environment.json", {"plan": {"trials": {"sft-full": 1}}})
    files.write_text(tmp_path / "report" / "report.json", "{")
    looks.begin_for_more_trials(tmp_path, lambda run: [])
    assert count_looks(tmp_path) == 2
