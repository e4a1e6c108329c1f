"""``paretune init`` writes a spec that can be planned without change, and says what it chose."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sweeps import cli
from sweeps.cluster.private_folder import PREFIX
from sweeps.drafting import request as requests
from sweeps.drafting.request import Request, as_asked
from sweeps.planning import plan as planning
from sweeps.planning.plan import Plan
from sweeps.planning.times.prediction import CellTime, PlanTime, TrialTime
from sweeps.spec.problems import SpecError
from sweeps.spec.spec import read
from tests.helpers.own_rows import questions, write_lines


@pytest.fixture
def init(workdir: Path, tiny_model: Path) -> Any:
    """Runs ``init`` with the tiny model."""

    def run(*arguments: str | Path) -> Result:
        words = ["init", *map(str, arguments), "--model", str(tiny_model)]
        return CliRunner().invoke(cli.app, words)

    return run


def planned(file: Path) -> Plan:
    made = planning.make(read(file))
    assert [str(problem) for problem in made.errors] == []
    return made


ROWS: dict[str, dict[str, Any]] = {
    "sft": {"prompt": "say {}", "completion": "ab"},
    "dpo": {"prompt": "say {}", "chosen": "ab", "rejected": "cd"},
    "pretrain": {"text": "once there were {}"},
}


@pytest.mark.parametrize("stage", ROWS)
def test_the_spec_can_be_planned_without_change_whatever_the_rows_are(
    workdir: Path, init: Any, stage: str
) -> None:
    rows = [{key: value.format(number) for key, value in ROWS[stage].items()} for number in range(60)]
    found = init(write_lines(workdir / "my.jsonl", rows))
    assert found.exit_code == 0, found.stderr
    assert f"so the stage is {stage}" in found.stdout
    made = planned(workdir / "my.yaml")
    assert {cell.stage for cell in made.cells} == {stage}
    assert [cell.first().method.kind for cell in made.cells] == ["full", "lora", "qlora"]  # type: ignore[union-attr]
    assert made.spec.name == "my"
    assert "paretune run my.yaml" in found.stdout


def test_commands_to_type_have_names_as_a_shell_takes_them(workdir: Path, init: Any) -> None:
    found = init(write_lines(workdir / "my rows.jsonl", questions(60)))
    assert found.exit_code == 0, found.stderr
    written = (workdir / "my rows.yaml").read_text()
    for text in (found.stdout, written):
        assert "paretune plan 'my rows.yaml'" in text
        assert not re.findall(r"paretune \w+ my rows", text)
    assert "paretune run 'my rows.yaml'" in found.stdout
    assert (
        "paretune init 'my rows.jsonl' writes one"
        in CliRunner().invoke(cli.app, ["plan", "my rows.jsonl"]).stderr
    )


def test_trials_are_stopped_early_only_where_there_are_several(workdir: Path, init: Any) -> None:
    init(write_lines(workdir / "my.jsonl", questions(60)))
    assert all(cell.rungs == () for cell in planned(workdir / "my.yaml").cells)


def test_a_model_without_a_chat_template_gets_one(workdir: Path, tiny_model: Path) -> None:
    base = workdir / "base"
    shutil.copytree(tiny_model, base)
    (base / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((base / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (base / "tokenizer_config.json").write_text(json.dumps(settings))
    write_lines(workdir / "my.jsonl", questions(60))
    found = CliRunner().invoke(cli.app, ["init", "my.jsonl", "--model", "base"])
    assert found.exit_code == 0, found.stderr
    assert "template: default" in (workdir / "my.yaml").read_text()
    assert "path: base" in (workdir / "my.yaml").read_text()
    planned(workdir / "my.yaml")


def test_labelled_answers_are_for_kto(workdir: Path, init: Any) -> None:
    rows = [{"prompt": f"say {n}", "completion": "ab", "label": n % 2 == 0} for n in range(80)]
    assert init(write_lines(workdir / "my.jsonl", rows)).exit_code == 0
    assert {cell.stage for cell in planned(workdir / "my.yaml").cells} == {"kto"}


def test_every_line_of_the_spec_has_a_comment(workdir: Path, init: Any) -> None:
    init(write_lines(workdir / "my.jsonl", questions(60)))
    lines = (workdir / "my.yaml").read_text().splitlines()
    bare = [
        line for before, line in pairwise(lines) if "#" not in line and not before.lstrip().startswith("#")
    ]
    assert {line.strip() for line in bare} == {"model:", "data:", "stages:", "bits: 4", "finalists:"}
    assert "60 rows" in "".join(lines)
    assert "the longest row has" in "".join(lines)


def test_a_spec_is_never_overwritten_without_force(workdir: Path, init: Any) -> None:
    path = write_lines(workdir / "my.jsonl", questions(60))
    (workdir / "my.yaml").write_text("mine")
    found = init(path)
    assert (found.exit_code, (workdir / "my.yaml").read_text()) == (2, "mine")
    assert "my.yaml exists; give another name with --output, or --force" in found.stderr
    assert init(path, "--output", "other.yaml").exit_code == 0
    assert init(path, "--force").exit_code == 0
    assert (workdir / "my.yaml").read_text() != "mine"


def test_paths_are_relative_to_the_spec_wherever_it_is_written(workdir: Path, init: Any) -> None:
    path = write_lines(workdir / "data" / "my.jsonl", questions(60))
    assert init(path, "--output", "specs/my.yaml").exit_code == 0
    assert "train: ../data/my.jsonl" in (workdir / "specs" / "my.yaml").read_text()
    planned(workdir / "specs" / "my.yaml")


def test_files_that_are_held_out_by_their_names_are_not_trained_on(workdir: Path, init: Any) -> None:
    write_lines(workdir / "set" / "train.jsonl", questions(40))
    write_lines(workdir / "set" / "test.jsonl", questions(60)[40:])
    assert init("set").exit_code == 0
    config = planned(workdir / "set.yaml").cells[0].first().data
    assert (Path(str(config.train)).name, Path(str(config.eval)).name) == ("train.jsonl", "test.jsonl")


def test_guessed_columns_are_written_and_settings_of_the_data_kept(workdir: Path, init: Any) -> None:
    lines = [f"Was ist {number}?;Zahl {number}" for number in range(60)]
    (workdir / "excel.csv").write_bytes("﻿Thema;Inhalt\r\n".encode() + "\r\n".join(lines).encode())
    assert init("excel.csv", "--set", "data.max_samples=50").exit_code == 0
    text = (workdir / "excel.yaml").read_text()
    assert "columns: {prompt: Thema, response: Inhalt}" in text
    assert "max_samples: 50" in text
    planned(workdir / "excel.yaml")


def test_rows_are_cut_at_the_positions_that_the_model_was_trained_on(workdir: Path, init: Any) -> None:
    """Without a warning of the plan's, which would be about what nobody asked for."""
    rows = [{"prompt": f"say {number}", "completion": "ab " * 400} for number in range(60)]
    found = init(write_lines(workdir / "long.jsonl", rows))
    assert found.exit_code == 0, found.stderr
    assert "cutoff: 256 tokens, as the model was trained on no more; the longest row has " in found.stdout
    made = planned(workdir / "long.yaml")
    assert {cell.first().data.cutoff for cell in made.cells} == {256}
    assert "positions" not in found.stderr
    assert ", and 100% of the rows are cut" in " ".join((workdir / "long.yaml").read_text().split())


def test_columns_of_comments_count_wide_characters_twice(workdir: Path, init: Any) -> None:
    found = init(write_lines(workdir / "数据.jsonl", questions(60)))
    assert found.exit_code == 0, found.stderr
    lines = (workdir / "数据.yaml").read_text().splitlines()
    (named,) = (line for line in lines if line.startswith("  train: "))
    (other,) = (line for line in lines if line.startswith("  cutoff: "))
    assert named.index("#") + 2 == other.index("#")


def test_a_stage_that_is_given_is_kept_and_data_that_no_stage_learns_from_is_refused(
    workdir: Path, init: Any
) -> None:
    pairs = [{"prompt": f"say {n}", "chosen": "ab", "rejected": "cd"} for n in range(60)]
    assert init(write_lines(workdir / "pairs.jsonl", pairs), "--stage", "orpo").exit_code == 0
    assert {cell.stage for cell in planned(workdir / "pairs.yaml").cells} == {"orpo"}
    found = init(write_lines(workdir / "prompts.jsonl", [{"prompt": f"say {n}"} for n in range(60)]))
    assert found.exit_code == 2
    assert "prompts without answers, and no stage learns from these alone" in found.stderr
    assert not (workdir / "prompts.yaml").exists()


def test_a_configuration_of_another_tool_becomes_a_spec_with_what_it_says(
    workdir: Path, init: Any, tiny_model: Path
) -> None:
    write_lines(workdir / "data" / "mine.jsonl", questions(60))
    (workdir / "data" / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": "mine.jsonl"}}))
    (workdir / "theirs.yaml").write_text(
        f"model_name_or_path: {tiny_model}\nstage: sft\nfinetuning_type: lora\nlora_rank: 4\ndataset: mine\n"
        "learning_rate: 1.0e-3\nnum_train_epochs: 2.0\nfp16: true\nsave_steps: 500\nplot_loss: true\n"
    )
    found = CliRunner().invoke(cli.app, ["init", "theirs.yaml"])
    assert found.exit_code == 0, found.stderr
    made = planned(workdir / "theirs-paretune.yaml")
    own = made.cells[0]
    config = own.first()
    assert (config.method.rank, config.train.epochs, config.data.cutoff) == (4, 2.0, 2048)  # type: ignore[union-attr]
    assert str(own.space["train.learning_rate"]) == "log [0.0001, 0.01]"
    assert len(made.cells) == 3  # compared with the other methods
    # What has no counterpart is in the output and in the spec.
    text = (workdir / "theirs-paretune.yaml").read_text()
    for line in (
        "line 10: plot_loss: True: the report has the curves",
        "line 9: save_steps: 500: a trial has ",
    ):
        assert line in found.stdout
        assert line in text
    # Of what this machine can't do only a comment is written.
    # The sweep begins with the file's rate, and the plan has nothing to say against that.
    assert own.suggested().train.learning_rate == 1e-3
    assert [warning for warning in made.warnings if "starting point" in str(warning)] == []
    # The steps that are spoken of are those that a trial has.
    assert f"save_steps: 500: a trial has {own.steps} steps" in text
    if "# precision: fp16" in text:
        assert "train.precision is written as a comment" in found.stdout


@pytest.mark.parametrize("command", ["plan", "data", "try", "run"])
def test_a_configuration_of_another_tool_is_no_spec_and_init_is_proposed(workdir: Path, command: str) -> None:
    (workdir / "theirs.yaml").write_text("model_name_or_path: a/b\nfinetuning_type: lora\ndataset: x\n")
    found = CliRunner().invoke(cli.app, [command, "theirs.yaml"])
    assert found.exit_code == 2
    assert "a configuration of LLaMA-Factory: paretune init theirs.yaml writes a spec of it" in found.stderr


def test_a_spec_that_lacks_something_is_written_and_says_what(workdir: Path, init: Any) -> None:
    (workdir / "theirs.yaml").write_text("model_name_or_path: a/b\nfinetuning_type: lora\ndataset: nowhere\n")
    found = init("theirs.yaml")
    assert found.exit_code == 1
    assert "To be filled in before it can be planned:" in found.stdout
    assert "no dataset_info.json has the data set nowhere" in found.stdout
    assert (workdir / "theirs-paretune.yaml").exists()
    # What the user says counts in place of what the file says.
    write_lines(workdir / "my.jsonl", questions(60))
    assert init("theirs.yaml", "--set", "data.train=my.jsonl", "--force").exit_code == 0
    planned(workdir / "theirs-paretune.yaml")


def test_for_ppo_the_commands_are_named_that_train_its_reward_model_here(
    workdir: Path, init: Any, tiny_model: Path
) -> None:
    write_lines(workdir / "my.jsonl", questions(60))
    common = f"model_name_or_path: {tiny_model}\nfinetuning_type: lora\ndataset: my.jsonl\n"
    (workdir / "ppo.yaml").write_text(
        f"{common}stage: ppo\nreward_model: saves/reward\noutput_dir: saves/ppo\n"
    )
    (workdir / "theirs.yaml").write_text(f"{common}stage: rm\noutput_dir: saves/other\n")
    found = init("ppo.yaml")
    assert found.exit_code == 1
    assert (
        "To train one: paretune init PAIRS --stage reward, or of LLaMA-Factory's configuration"
        in found.stdout
    )
    (workdir / "rm.yaml").write_text(f"{common}stage: rm\noutput_dir: saves/reward/\n")
    found = init("ppo.yaml", "--force")
    assert "To train one: paretune init rm.yaml; then paretune run on the spec that it writes" in found.stdout
    assert "reward: {from: RUN:CELL}" in (workdir / "ppo-paretune.yaml").read_text()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("spec.yaml", "this is a spec already"),
        ("methods", "this is a spec that is shipped with Paretune"),
        ("nothing.yaml", "there is no such file"),
        ("nothing.jsonl", "no file"),
        ("my.jsonl --stage sfd", "Did you mean sft?"),
        ("my.jsonl --set train.steps=3", "only settings of data and model count"),
    ],
)
def test_what_no_spec_can_be_written_for_is_refused(
    workdir: Path, init: Any, source: str, message: str
) -> None:
    write_lines(workdir / "my.jsonl", questions(60))
    (workdir / "spec.yaml").write_text("name: a\nstages: []\nmethods: []\n")
    found = init(*source.split())
    assert (found.exit_code, message in found.stderr) == (2, True), found.stderr
    assert sorted(path.name for path in workdir.glob("*.yaml")) == ["spec.yaml"]


def times_of(plan: Plan, seconds: float, known: int = 3) -> PlanTime:
    """Each trial takes so long in the first cells, one after another; the time of the others is unknown."""
    again = plan.finalists // max(1, len(plan.cells))
    per_cell = [(cell.name, seconds * cell.steps / 20 * (cell.trials + again)) for cell in plan.cells]
    cells = {
        name: CellTime(name, TrialTime(seconds, (), 0.0, "from a test"), total, total)
        if place < known
        else None
        for place, (name, total) in enumerate(per_cell)
    }
    total = 10 + sum(time.seconds for time in cells.values() if time is not None)
    return PlanTime(cells, total, total, 1, 10.0)


@pytest.mark.parametrize(
    ("minutes", "known", "trials", "seeds"),
    # 18 trainings of 60 s take 18 minutes.
    [(30, 3, 4, 2), (13, 3, 4, 1), (4, 3, 2, 1), (4, 1, 2, 1), (4, 0, 4, 2)],
)
def test_the_budget_is_made_smaller_for_the_minutes_that_there_are_where_they_are_known(
    workdir: Path,
    init: Any,
    monkeypatch: pytest.MonkeyPatch,
    minutes: int,
    known: int,
    trials: int,
    seeds: int,
) -> None:
    monkeypatch.setattr(Plan, "times", lambda plan: times_of(plan, 60.0, known))
    found = init(write_lines(workdir / "my.jsonl", questions(60)), "--minutes", str(minutes))
    tree = read(workdir / "my.yaml").source.tree
    assert (tree["search"]["trials"], tree["finalists"]["seeds"]) == (trials, seeds)
    assert (f"for {minutes} minutes: " in found.stdout) == (trials < 4 or seeds < 2)
    text = (workdir / "my.yaml").read_text()
    assert ("predicted minutes of the sweep: unknown" in text) == (known < 3)


def test_minutes_that_are_not_kept_are_said_with_the_command_that_measures(
    workdir: Path, init: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_lines(workdir / "my.jsonl", questions(60))
    monkeypatch.setattr(Plan, "times", lambda plan: times_of(plan, 60.0, 0))
    unknown = init(path, "--minutes", "5").stdout
    assert "so the budget is the usual one, which may take more or less than 5 minutes" in unknown
    assert f"paretune init {path} --model " in unknown
    assert "--minutes 5 --measure --force" in unknown
    monkeypatch.setattr(Plan, "times", lambda plan: times_of(plan, 60.0, 1))
    partly = init(path, "--minutes", "1.5", "--force").stdout
    assert "that is more than the 1.5 minutes wanted, without those that are unknown" in partly
    assert "sft-full takes 2.0 of them" in partly
    assert "so the budget for 1.5 minutes takes those for as long as the others" in partly


def test_init_can_measure_first_and_keeps_the_minutes_then(
    workdir: Path, init: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [0]
    monkeypatch.setattr(Plan, "times", lambda plan: times_of(plan, 60.0, known[0]))

    def measure(plan: Plan, log: Any) -> None:
        assert len(plan.cells) == 3
        known[0] = 3

    monkeypatch.setattr("sweeps.execution.speed_measurement.measure", measure)
    found = init(write_lines(workdir / "my.jsonl", questions(60)), "--minutes", "13", "--measure")
    assert found.exit_code == 0, found.stderr
    tree = read(workdir / "my.yaml").source.tree
    assert (tree["search"]["trials"], tree["finalists"]["seeds"]) == (4, 1)
    assert "may take more or less" not in found.stdout


@pytest.mark.parametrize(("file", "name"), [("中文.jsonl", "sweep-ae5501"), ("été.jsonl", "ete")])
def test_a_name_in_other_letters_becomes_one_of_its_own_and_that_is_said(
    workdir: Path, init: Any, file: str, name: str
) -> None:
    found = init(write_lines(workdir / file, questions(60)))
    assert found.exit_code == 0, found.stderr
    stem = Path(file).stem
    assert f"name: {name} for {stem}, as a run's name has letters from a to z" in found.stdout
    assert planned(workdir / f"{stem}.yaml").spec.name == name


TICKETS = "Nr;Ticket text;Queue;Team\n" + "".join(f"T-{n};Printer {n} is broken;IT;red\n" for n in range(60))


@pytest.mark.parametrize("command", ["init", "data"])
def test_columns_that_nobody_can_guess_are_an_option_without_a_spec(workdir: Path, command: str) -> None:
    (workdir / "tickets.csv").write_text(TICKETS)
    found = CliRunner().invoke(cli.app, [command, "tickets.csv"])
    assert found.exit_code == 2
    option = "--set 'data.columns={prompt: \"Ticket text\", response: Queue}'"
    assert f"Without a spec that is an option, as in {option}" in found.stderr


def test_in_a_terminal_the_columns_are_asked_for_first(workdir: Path, init: Any) -> None:
    (workdir / "tickets.csv").write_text(TICKETS)
    asked: list[str] = []

    def ask(question: str, default: str) -> str:
        asked.append(question)
        return {"The one": "Team"}.get(question[:7], default)

    made = as_asked(request(source="tickets.csv"), ask)
    assert made.sets == ('data.columns={prompt: "Ticket text", response: Team}',)
    assert asked[0] == "Columns are Nr, Ticket text, Queue, Team. The one with the question or request"
    assert [question.partition(":")[0] for question in asked[2:]] == [
        "Model",
        "Minutes that the sweep may take",
    ]
    texts = as_asked(
        request(source="tickets.csv"), lambda question, default: "-" if "answer" in question else default
    )
    assert texts.sets == ('data.columns={text: "Ticket text"}',)
    with pytest.raises(SpecError, match=r"no column 'Queu', but .*Did you mean Queue\?"):
        as_asked(request(source="tickets.csv"), lambda question, default: "Queu")
    assert init("tickets.csv", "--set", made.sets[0]).exit_code == 0
    planned(workdir / "tickets.yaml")


def request(**given: Any) -> Request:
    values = {"source": None, "model": None, "stage": None, "minutes": None, "output": None, "force": False}
    return Request(**{**values, "sets": (), "command": "paretune init", **given})


def test_elsewhere_defaults_are_taken_and_said(workdir: Path) -> None:
    made = request().with_defaults()
    assert (made.source, made.minutes) == ("commands", requests.DEFAULT_MINUTES)
    assert "which comes with Paretune" in made.defaults[0]
    write_lines(workdir / "my.jsonl", questions(60))
    assert request().with_defaults().source == "my.jsonl"
    write_lines(workdir / "other.jsonl", questions(60))
    with pytest.raises(SpecError, match=r"which data\? Here are my.jsonl, other.jsonl"):
        request().with_defaults()


def test_in_a_terminal_three_questions_are_asked_and_only_what_is_open(workdir: Path) -> None:
    write_lines(workdir / "my.jsonl", questions(60))
    asked: list[tuple[str, str]] = []

    def ask(question: str, default: str) -> str:
        asked.append((question.partition(":")[0], default))
        return default

    made = as_asked(request(), ask)
    assert asked == [
        ("Data", "my.jsonl"),
        ("Model", requests.DEFAULT_MODEL),
        ("Minutes that the sweep may take", "10"),
    ]
    assert (made.source, made.model, made.minutes) == ("my.jsonl", requests.DEFAULT_MODEL, 10.0)
    asked.clear()
    assert as_asked(request(source="my.jsonl", model="a", minutes=3.0), ask).minutes == 3.0
    assert asked == []
    with pytest.raises(SpecError, match="no number of minutes"):
        as_asked(request(source="my.jsonl", model="a"), lambda question, default: "soon")


def test_what_libraries_leave_of_a_plan_is_removed(
    workdir: Path, init: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is predicted with torch's compiler, which keeps files among the temporary ones."""
    make, places = planning.make, list[str]()

    def made(*arguments: Any, **options: Any) -> Plan:
        places.append(tempfile.gettempdir())
        return make(*arguments, **options)

    monkeypatch.setattr(planning, "make", made)
    assert init(write_lines(workdir / "my.jsonl", questions(60))).exit_code == 0
    assert all(PREFIX in place and not Path(place).exists() for place in places)
    assert places
