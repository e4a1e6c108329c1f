"""Sweeps on real Ray, through the command line: undisturbed, killed, and interrupted."""

from __future__ import annotations

import json
import math
import shutil
import signal
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from sweeps.cli import app
from tests.helpers.sweeps import (
    METHODS,
    SAVED_EVERY,
    SPEC,
    STEPS,
    Command,
    Home,
    curve_points,
    finished,
    in_training,
    interrupt,
    records,
    start,
    wandb_runs,
    write_spec,
)
from trainables import results
from trainables.config.data import DataConfig
from trainables.data import loading
from trainables.data.embedded import commands
from trainables.training.checkpoints import COMPLETE

pytestmark = pytest.mark.sweep

CELLS = ("sft-full", "sft-lora")
BASE = "sft-base"
SAVES = range(SAVED_EVERY, STEPS + 1, SAVED_EVERY)
# The columns that every table of trials has; tools of other people read them.
COLUMNS = [
    "trial_id",
    "cell",
    "stage",
    "method",
    "model",
    "data",
    "seed",
    "config",
    "status",
    "error",
    "objective",
    "quality",
    "quality_name",
    "quality_higher_is_better",
    "metrics",
    "baseline_bytes",
    "weight_bytes",
    "gradient_bytes",
    "optimizer_bytes",
    "peak_load_bytes",
    "peak_train_bytes",
    "peak_eval_bytes",
    "predicted_peak_bytes",
    "memory_source",
    "trainable_params",
    "total_params",
    "artifact_bytes",
    "tokens",
    "steps",
    "tokens_per_second",
    "setup_seconds",
    "train_seconds",
    "eval_seconds",
    "device",
    "host",
    "role",
    "slot",
    "slot_trial",
    "started_at",
    "ended_at",
    "packages",
]


@dataclass
class Sweep:
    """A run and the commands that made it."""

    home: Home
    spec: Path
    run: Path
    commands: list[Command] = field(default_factory=list)

    @property
    def command(self) -> Command:
        return self.commands[-1]

    def start(self, *options: str, **more: Any) -> Command:
        output = ("--output", self.run.parent)
        self.commands.append(start(self.home, "run", self.spec, *output, *options, **more))
        return self.command

    def carry_out(self, *options: str, **more: Any) -> Command:
        self.start(*options, **more).wait()
        return self.command

    def rows(self) -> list[dict[str, Any]]:
        return pq.read_table(self.run / "trials.parquet").to_pylist()


@pytest.fixture(scope="module")
def temporary() -> Iterator[Path]:
    """A folder for temporary files whose path is short enough for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="pt", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, temporary: Path) -> Iterator[Any]:
    """Makes a sweep's folders; ``new(text)`` for a spec of its own."""

    made: list[Sweep] = []

    def make(text: str = SPEC, rows: list[dict[str, str]] | None = None) -> Sweep:
        folder = tmp_path_factory.mktemp("sweep")
        spec = write_spec(folder / "given", tiny_model, text, rows)
        mine = Path(tempfile.mkdtemp(dir=temporary))
        made.append(Sweep(Home(folder, mine), spec, folder / "runs" / "tiny"))
        return made[-1]

    yield make
    for command in (command for sweep in made for command in sweep.commands):
        command.end()


# Undisturbed


@pytest.fixture(scope="module")
def undisturbed(new: Any) -> Sweep:
    sweep = new(SPEC.replace("wandb: off", "wandb: offline"))
    before = {path: path.read_bytes() for path in sweep.spec.parent.iterdir()}
    command = sweep.carry_out()
    assert command.process.returncode == 0, command.stderr
    assert {path: path.read_bytes() for path in sweep.spec.parent.iterdir()} == before
    return sweep


def test_the_reports_path_is_all_that_is_printed_and_it_is_there(undisturbed: Sweep) -> None:
    assert undisturbed.command.stdout == f"{undisturbed.run}/report/index.html\n"
    assert Path(undisturbed.command.stdout.strip()).exists()


def test_every_event_is_a_line_and_the_same_lines_are_in_the_log(undisturbed: Sweep) -> None:
    printed = undisturbed.command.stderr
    assert "\x1b" not in printed
    assert "7 trials in 2 cells" in printed
    assert "7 of 7" in printed
    for trial_id in finished(undisturbed.run):
        assert printed.count(f" {trial_id} done: ") == 1
    noise = [line for line in printed.splitlines() if line[:8].count(":") != 2]
    # The plan's one warning, of rows that are longer than the cutoff.
    assert [line.partition(" data.train: ")[0] for line in noise] == [f"warning: {undisturbed.spec}:4"]
    log = (undisturbed.run / "sweep.log").read_text()
    assert all(line in log for line in printed.splitlines() if " done: " in line)


def test_the_run_folder_holds_what_the_contract_names_and_nothing_else(undisturbed: Sweep) -> None:
    visible = {path.name for path in undisturbed.run.iterdir() if not path.name.startswith(".")}
    contract = {"spec.yaml", "resolved.yaml", "environment.json", "sweep.log", "trials", "trials.parquet"}
    contract |= {"data.json", "curves.parquet", "report", *(f"study-{cell}.journal" for cell in CELLS)}
    assert contract <= visible
    assert visible - contract <= {"memory", "wandb"}
    report = {path.name for path in (undisturbed.run / "report").iterdir()}
    assert {"index.html", "summary.md", "comparison.csv", "figures"} <= report
    figures = {path.suffix for path in (undisturbed.run / "report" / "figures").iterdir()}
    assert figures == {".png", ".svg"}
    assert not list(undisturbed.run.rglob("*.tmp"))


def test_nothing_is_written_outside_the_run_folder(undisturbed: Sweep) -> None:
    home = undisturbed.home.folder
    assert list((home / "home").rglob("*")) == []
    assert {path.name for path in (home / "cache").iterdir()} <= {
        ".predicted.lock",
        "behaviour",
        "data",
        "fingerprints.json",
        "predicted.json",
        "matplotlib",
        "tokens",
        "vocabularies",
    }
    outside = {path.name for path in home.iterdir()}
    assert outside == {"given", "home", "cache", "runs", "out-0", "err-0"}
    assert {path.name for path in (home / "runs").iterdir()} == {"tiny"}
    # Under TMPDIR Ray keeps its session; libraries make folders there that Ray's kill keeps them from removing.
    assert all(not path.is_file() for path in undisturbed.home.temporary.iterdir())


def test_the_run_says_what_it_was_made_from(undisturbed: Sweep) -> None:
    assert (undisturbed.run / "spec.yaml").read_bytes() == undisturbed.spec.read_bytes()
    resolved = yaml.safe_load((undisturbed.run / "resolved.yaml").read_text())
    assert resolved["search"]["trials"] == 3
    assert resolved["train"]["weight_decay"] == 0  # a default, written out
    environment = json.loads((undisturbed.run / "environment.json").read_text())
    assert environment["seconds"] > 1
    assert {"command", "packages", "commit", "python"} <= environment.keys()
    (seen,) = results.read_run(undisturbed.run).data
    assert (seen["stage"], seen["data"], len(seen["examples"])) == ("sft", "rows.jsonl", 3)
    assert sum(seen["rows"].values()) == 60
    assert "What the models saw" in (undisturbed.run / "report" / "summary.md").read_text()


def test_every_trial_leaves_its_files(undisturbed: Sweep) -> None:
    for trial_id, record in finished(undisturbed.run).items():
        names = {path.name for path in (undisturbed.run / "trials" / trial_id).iterdir()}
        always = {"config.json", "record.json", "predictions.parquet"}
        trained = {"curve.jsonl", "model", *(f"checkpoint-{step}" for step in SAVES)}
        assert names == (always if record.role == "base" else always | trained)


def test_predictions_are_one_row_per_test_row(undisturbed: Sweep) -> None:
    for trial_id, record in finished(undisturbed.run).items():
        table = pq.read_table(undisturbed.run / "trials" / trial_id / "predictions.parquet")
        assert table.column_names[:5] == ["row", "prompt", "reference", "prediction", "score"]
        assert table.num_rows == record.test_rows
        assert json.loads(table["prompt"][0].as_py())[-1]["role"] == "user"


def test_every_cell_has_its_budget_and_the_base_model_its_row(undisturbed: Sweep) -> None:
    rows = undisturbed.rows()
    assert sorted(row["cell"] for row in rows) == sorted([BASE, *CELLS * 3])
    assert {row["status"] for row in rows} == {"done"}
    assert all(row["steps"] == STEPS for row in rows if row["role"] == "search")
    assert len({row["trial_id"] for row in rows}) == 7
    (base,) = (row for row in rows if row["cell"] == BASE)
    assert (base["role"], base["method"]) == ("base", "base")
    assert base["quality"] is not None
    untrained = ("steps", "tokens", "train_seconds", "setup_seconds", "trainable_params", "artifact_bytes")
    assert all(base[name] is None for name in untrained)


def test_a_row_has_every_column_of_the_contract(undisturbed: Sweep) -> None:
    rows = undisturbed.rows()
    assert set(COLUMNS) <= rows[0].keys()
    never = {"error"}  # nothing failed
    for row in rows:
        if row["role"] == "search":
            assert [name for name in COLUMNS if row[name] is None and name not in never] == []
        assert isinstance(json.loads(row["config"]), dict)
        assert "torch" in json.loads(row["packages"])


def test_curves_are_a_table_of_points(undisturbed: Sweep) -> None:
    curves = pq.read_table(undisturbed.run / "curves.parquet").to_pylist()
    assert set(curves[0]) == {"trial_id", "step", "name", "value"}
    trained = {row["trial_id"] for row in undisturbed.rows() if row["role"] == "search"}
    losses = [(p["trial_id"], p["step"]) for p in curves if p["name"] == "train_loss"]
    assert sorted(losses) == sorted((trial_id, step) for trial_id in trained for step in range(1, STEPS + 1))
    assert {p["trial_id"] for p in curves if p["name"] == "objective"} == trained


def test_a_slots_later_trials_start_within_two_seconds(undisturbed: Sweep) -> None:
    rows = [row for row in undisturbed.rows() if row["role"] == "search"]
    assert {row["slot"] for row in rows} == {row["slot"] for row in undisturbed.rows()}
    assert len({row["slot"] for row in rows}) <= 2
    warm = [row["setup_seconds"] for row in rows if row["slot_trial"] >= 1]
    assert len(warm) >= 4
    assert statistics.median(warm) <= 2.0


def test_a_slot_counts_its_trials(undisturbed: Sweep) -> None:
    slots: dict[str, list[int]] = {}
    for row in sorted(undisturbed.rows(), key=lambda row: row["started_at"]):
        slots.setdefault(row["slot"], []).append(row["slot_trial"])
    assert all(numbers == list(range(len(numbers))) for numbers in slots.values())


def study(run: Path, cell: str) -> optuna.Study:
    backend = optuna.storages.journal.JournalFileBackend(str(run / f"study-{cell}.journal"))
    return optuna.load_study(study_name=cell, storage=optuna.storages.JournalStorage(backend))


def test_a_cells_study_is_readable_with_optuna_and_agrees_with_the_records(undisturbed: Sweep) -> None:
    leaves = {"sft-full": {"train.learning_rate"}, "sft-lora": {"train.learning_rate", "method.rank"}}
    found = records(undisturbed.run)
    for cell in CELLS:
        trials = study(undisturbed.run, cell).trials
        assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
        for trial in trials:
            assert set(trial.params) == leaves[cell]
            record = found[trial.user_attrs["trial_id"]]
            assert record.cell == cell
            assert trial.value == record.objective
            assert trial.params["train.learning_rate"] == record.config["train"]["learning_rate"]


def test_no_process_is_left_once_the_command_has_ended(undisturbed: Sweep) -> None:
    assert undisturbed.command.surviving() == []
    assert len(undisturbed.command.family) > 10  # it was watched


def test_search_rows_have_seen_no_test_row(undisturbed: Sweep) -> None:
    test = loading.load(DataConfig(train=str(undisturbed.spec.parent / "rows.jsonl"), eval_fraction=0.3)).test
    (trial_id, *_) = finished(undisturbed.run)
    table = pq.read_table(undisturbed.run / "trials" / trial_id / "predictions.parquet")
    assert sorted(table["reference"].to_pylist()) == sorted(row.answer for row in test)


# What W&B received


def test_every_trial_is_one_wandb_run_of_its_own(undisturbed: Sweep) -> None:
    found = wandb_runs(undisturbed.run)
    assert undisturbed.command.stderr.count("W&B") == 1  # offline: one line, and no warning
    assert {run.group for run in found.values()} == {"tiny"}
    assert {run.project for run in found.values()} == {"paretune"}
    trials = {key.partition("-")[2]: run for key, run in found.items() if not key.endswith("summary")}
    assert trials.keys() == finished(undisturbed.run).keys()
    for trial_id, record in finished(undisturbed.run).items():
        reported = trials[trial_id]
        assert reported.job_type == record.cell
        assert reported.config.items() >= record.config.items()
        assert reported.exit_code == 0
        assert reported.summary["quality"] == record.quality
        assert reported.summary["peak_load_bytes"] == record.peak_load_bytes
        if record.role == "search":
            assert reported.summary["peak_train_bytes"] == record.peak_train_bytes
            for name in ("train_loss", "objective"):
                steps = {step: values[name] for step, values in reported.history.items() if name in values}
                assert steps == dict(curve_points(undisturbed.run, trial_id, name))


def test_one_wandb_run_holds_the_comparison_the_front_and_the_records(undisturbed: Sweep) -> None:
    (summary,) = (run for run in wandb_runs(undisturbed.run).values() if run.job_type == "summary")
    assert (summary.group, summary.exit_code) == ("tiny", 0)
    history = {key: value for values in summary.history.values() for key, value in values.items()}
    assert history["comparison._type"] == "table-file"
    assert history["comparison.nrows"] == 3
    assert history["pareto._type"] == "image-file"
    assert sorted(summary.artifacts["tiny-records"]) == ["curves.parquet", "trials.parquet"]
    (folder,) = (undisturbed.run / "wandb").glob("offline-run-*-summary/files")
    assert (folder / history["pareto.path"]).read_bytes().startswith(b"\x89PNG")


# Killed, interrupted, stopped, ended, gone on with, grown: one run's life


@dataclass
class Left:
    """How an ended chapter left a trial that it was training."""

    saved: int  # the step of the newest checkpoint
    step: int  # the last that was logged
    logged: int  # points of its curve


@dataclass
class Life:
    """One run through everything, and what was seen on the way."""

    sweep: Sweep
    before: dict[str, dict[str, str | None]] = field(default_factory=dict)  # ended_at by trial, by chapter
    seconds: dict[str, float] = field(default_factory=dict)
    training: dict[str, list[str]] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    printed: dict[str, str] = field(default_factory=dict)
    commands: dict[str, Command] = field(default_factory=dict)
    left: dict[str, dict[str, Left]] = field(default_factory=dict)  # the trials in training at its end
    reported: dict[str, str] = field(default_factory=dict)  # by status and stop


def from_outside(command: str, run: Path, code: int = 0) -> str:
    """What a command that looks at a run from outside says of it."""
    done = CliRunner().invoke(app, [command, str(run)])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope="module")
def life(new: Any) -> Life:
    # One slot: what it is about is one trial in training at a time, and a second slot is 40 more core-seconds a start.
    lived = Life(new(SPEC.replace("concurrent: 2", "concurrent: 1")))
    sweep = lived.sweep

    def chapter(name: str, command: Command, seconds: float) -> None:
        lived.seconds[name] = seconds
        lived.commands[name] = command
        lived.codes[name] = command.process.returncode
        lived.printed[name] = command.stderr + command.stdout
        lived.before[name] = {key: record.ended_at for key, record in finished(sweep.run).items()}
        lived.left[name] = {
            trial_id: Left(newest(sweep.run, trial_id), points[-1][0], len(points))
            for trial_id in lived.training.get(name, [])
            if (points := curve_points(sweep.run, trial_id))
        }

    def refused(name: str, *options: str) -> None:
        """What is refused before anything starts needs no process of its own."""
        asked = ["run", str(sweep.spec), "--output", str(sweep.run.parent), *options]
        done = CliRunner(env=sweep.home.environment()).invoke(app, asked)
        lived.codes[name], lived.printed[name] = done.exit_code, done.output

    def training(name: str, command: Command, trials: int) -> None:
        """Waits until so many trials are done and another is in training."""

        def there() -> list[str]:
            return in_training(sweep.run, command) if len(finished(sweep.run)) >= trials else []

        lived.training[name] = command.until(there)

    command = sweep.start()
    command.until(lambda: finished(sweep.run))
    with command.paused():  # or all would be done by the time the other one is refused on a busy machine
        refused("held", "--resume")
    training("killed", command, 1)
    seconds = command.signal(signal.SIGKILL)
    command.surviving()  # its workers go on until they notice
    chapter("killed", command, seconds)
    refused("again")

    command = sweep.start("--resume")
    training("interrupted", command, 3)
    chapter("interrupted", command, interrupt(command))

    command = sweep.start("--resume")
    training("stopped", command, 4)
    lived.reported["running"] = from_outside("status", sweep.run)
    lived.reported["stop"] = from_outside("stop", sweep.run)
    command.wait(60)
    chapter("stopped", command, 0)
    lived.reported["stopped"] = from_outside("status", sweep.run)

    command = sweep.start("--resume")
    training("ended", command, 5)
    chapter("ended", command, command.signal(signal.SIGTERM, group=True))  # as timeout and systemd do

    for name, override in (("changed", f"train.steps={STEPS + 1}"), ("shrunk", "search.trials=2")):
        refused(name, "--resume", "--set", override)
    grown = ("--resume", "--set", "search.trials=4")
    chapter("grown", (command := sweep.carry_out(*grown)), command.seconds)
    (sweep.run / "report" / "index.html").unlink()
    chapter("nothing left", (command := sweep.carry_out(*grown)), command.seconds)
    lived.reported["finished"] = from_outside("status", sweep.run)
    lived.reported["nobody"] = from_outside("stop", sweep.run, code=2)
    print({name: round(seconds, 1) for name, seconds in lived.seconds.items()})
    return lived


def newest(run: Path, trial_id: str) -> int:
    marks = (run / "trials" / trial_id).glob(f"checkpoint-*/{COMPLETE}")
    return max((int(mark.parent.name.split("-")[1]) for mark in marks), default=0)


def test_a_run_that_another_process_holds_is_refused_and_says_who(life: Life) -> None:
    assert life.codes["held"] == 2
    assert f"process {life.sweep.commands[0].process.pid} on " in life.printed["held"]


def test_a_run_that_exists_is_refused_without_resume_which_is_named(life: Life) -> None:
    assert life.codes["again"] == 2
    assert "--resume" in life.printed["again"]


def test_a_dead_drivers_processes_end_and_its_lock_is_taken_over(life: Life) -> None:
    killed = life.sweep.commands[0]
    assert killed.process.returncode == -signal.SIGKILL
    assert killed.surviving() == []
    assert life.codes["interrupted"] == 130  # the next one held the folder


def test_an_interrupted_run_ends_within_ten_seconds_with_130(life: Life) -> None:
    assert life.codes["interrupted"] == life.codes["ended"] == 130
    assert life.seconds["interrupted"] < 10
    assert life.seconds["ended"] < 10
    for name in ("interrupted", "ended"):
        assert "Traceback" not in life.printed[name]
        assert "--resume" in life.printed[name]


def test_a_run_is_seen_and_stopped_from_outside(life: Life) -> None:
    assert "running: process " in life.reported["running"]
    assert life.reported["stop"].startswith("stopped; ")
    assert life.codes["stopped"] == 130
    assert "--resume" in life.printed["stopped"]
    assert "stopped; " in life.reported["stopped"]
    assert "finished" in life.reported["finished"]
    assert "no process runs it; it is finished" in life.reported["nobody"]


def test_an_interrupted_trial_saves_itself_where_it_stands(life: Life) -> None:
    left = [left for name in ("interrupted", "stopped", "ended") for left in life.left[name].values()]
    assert left
    assert all(one.saved == one.step for one in left), left


def test_no_finished_trial_is_run_again(life: Life) -> None:
    for chapter, before in life.before.items():
        assert before.items() <= life.before["grown"].items(), chapter


def test_a_resumed_run_spends_its_budget_which_may_have_grown_and_not_more(life: Life) -> None:
    assert life.codes["grown"] == 0
    assert len(life.before["ended"]) < 7
    assert len(life.before["grown"]) == 9
    for cell in CELLS:
        trials = study(life.sweep.run, cell).trials
        assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
        assert {trial.user_attrs["trial_id"] for trial in trials} <= life.before["grown"].keys()


def test_unfinished_trials_resume_from_their_last_complete_checkpoint(life: Life) -> None:
    for chapter in ("killed", "interrupted", "stopped", "ended"):
        assert life.left[chapter]
        for trial_id, left in life.left[chapter].items():
            assert SAVED_EVERY <= left.saved <= left.step
            after = [step for step, _ in curve_points(life.sweep.run, trial_id)][left.logged :]
            assert after[:1] == ([left.saved + 1] if left.saved < STEPS else [])


def test_what_a_resumed_trial_learns_is_bit_for_bit_what_it_would_have_learned(
    life: Life, undisturbed: Sweep
) -> None:
    expected, found = finished(undisturbed.run), finished(life.sweep.run)
    assert expected.keys() <= found.keys()  # and the same trials were proposed
    for trial_id, record in expected.items():
        if record.role == "base":
            continue
        for name in ("train_loss", "grad_norm", "learning_rate", "objective"):
            for run in (undisturbed.run, life.sweep.run):
                assert len(dict(curve_points(run, trial_id, name))) in (STEPS, 4, 1, 0)
            assert dict(curve_points(life.sweep.run, trial_id, name)) == dict(
                curve_points(undisturbed.run, trial_id, name)
            )
        assert found[trial_id].quality == record.quality
        assert found[trial_id].objective == record.objective
        assert found[trial_id].tokens == record.tokens


def test_with_nothing_left_the_report_is_written_again_without_ray(life: Life) -> None:
    assert life.codes["nothing left"] == 0
    assert life.printed["nothing left"].endswith("report/index.html\n")
    assert life.seconds["nothing left"] < 20
    assert len(life.commands["nothing left"].family) <= 2  # Ray's are more than ten
    assert (life.sweep.run / "report" / "index.html").exists()


@pytest.mark.parametrize(
    ("chapter", "word"), [("changed", "train.steps: this run was started with"), ("shrunk", "only grow")]
)
def test_a_changed_spec_is_refused(life: Life, chapter: str, word: str) -> None:
    assert life.codes[chapter] == 2
    assert word in life.printed[chapter]


def test_a_life_like_that_leaves_no_process(life: Life) -> None:
    assert [left for command in life.sweep.commands for left in command.surviving(patience=2)] == []


# No peeking

PEEKING = (
    SPEC.replace("sampler: random, scheduler: none", "sampler: tpe, scheduler: asha, grace_steps: 2")
    .replace("trials: 3", "trials: 3, reduction_factor: 2")
    .replace("trials: 3", "trials: 8")
    .replace(f"steps: {STEPS}", "steps: 16")
    .replace(f"save_steps: {SAVED_EVERY}, ", "")
    .replace("concurrent: 2", "concurrent: 1")
    .replace(METHODS, "methods: [{kind: lora, rank: {choice: [4, 8, 16]}, alpha: {choice: [8, 32]}}]\n")
    .replace("[1.0e-4, 5.0e-3]", "[1.0e-4, 5.0e-1]")
)


def with_other_test_answers(rows: list[dict[str, str]], folder: Path) -> list[dict[str, str]]:
    """The rows, but with the answers of the test half all one."""
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cut = loading.load(DataConfig(train=str(file), eval_fraction=0.3))
    hidden = {row.prompt[-1]["content"] for row in cut.test}
    assert len(cut.train) > 20
    assert min(len(cut.validation), len(hidden)) > 2
    return [row | {"completion": "nothing of the sort"} if row["prompt"] in hidden else row for row in rows]


@pytest.fixture(scope="module")
def peeking(new: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Sweep, Sweep]:
    rows = commands.rows()[:60]
    others = with_other_test_answers(rows, tmp_path_factory.mktemp("others"))
    sweeps = new(PEEKING, rows), new(PEEKING, others)
    for sweep in sweeps:  # at the same time
        sweep.start()
    for sweep in sweeps:
        assert sweep.command.wait(400) == 0, sweep.command.stderr
    return sweeps


def proposals(sweep: Sweep) -> list[tuple[Any, ...]]:
    """What was proposed, and what the search learned from it, in the order of the study."""
    found = records(sweep.run)
    trials = study(sweep.run, "sft-lora").trials
    ids = [trial.user_attrs["trial_id"] for trial in trials]
    return [
        (
            sorted(trial.params.items()),
            trial.state.name,
            trial.intermediate_values,
            found[id].status,
            found[id].steps,
            found[id].objective,
        )
        for trial, id in zip(trials, ids, strict=True)
    ]


def test_the_test_rows_change_no_proposal_and_no_stop(peeking: tuple[Sweep, Sweep]) -> None:
    one, other = map(proposals, peeking)
    assert one == other
    assert len(one) == 8
    assert {status for _, _, _, status, _, _ in one} == {"done", "stopped"}


def test_the_test_rows_change_the_quality(peeking: tuple[Sweep, Sweep]) -> None:
    one, other = ([row["quality"] for row in sweep.rows()] for sweep in peeking)
    assert all(not math.isclose(a, b) for a, b in zip(one, other, strict=True))


def test_a_stopped_trial_is_pruned_in_its_study_and_scored_where_it_stopped(
    peeking: tuple[Sweep, Sweep],
) -> None:
    found = records(peeking[0].run)
    for trial in study(peeking[0].run, "sft-lora").trials:
        record = found[trial.user_attrs["trial_id"]]
        assert (trial.state.name, record.status) in (("COMPLETE", "done"), ("PRUNED", "stopped"))
        assert trial.value == record.objective
        assert record.quality is not None
        assert record.steps == (16 if record.status == "done" else max(trial.intermediate_values))
        assert set(trial.intermediate_values) <= {2, 4, 8, 16}


def test_a_sweep_whose_trials_stopped_has_done_all_that_was_asked(peeking: tuple[Sweep, Sweep]) -> None:
    run = results.read_run(peeking[0].run)
    assert len(run.records) == 9
    done = [r for r in run.records if r.status == "done" and r.role == "search"]
    assert 1 <= len(done) < 8
