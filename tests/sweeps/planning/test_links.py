"""Trials that continue from what others have trained: the weights they start from, and chains of stages."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from reports.analysis.recommendation.best_trials import recommended_trials
from sweeps.cli import app
from sweeps.execution import run_folder
from sweeps.planning.plan import Plan
from sweeps.runs.earlier_results import EarlierResults
from sweeps.runs.layout import read_environment, settled_in
from sweeps.runs.reading import local_copy
from tests.helpers import specs
from tests.helpers.small_runs import make_run, trial_id_of
from tests.helpers.sweeps import Home, in_training, interrupt, paretune, records, start
from tests.helpers.trials import METHODS, curve, make_config, run, write_rows
from trainables.config.trained_model import TrainedModel
from trainables.models.folder import ModelError
from trainables.results import Record, read_run, write_record
from trainables.runner.run import TrialContext, run_trial
from trainables.trial import starting_weights
from trainables.trial.config import TrialConfig

IDS = torch.arange(3, 40).unsqueeze(0)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "rows.jsonl")


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def loaded(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def trained(config: TrialConfig, place: Path) -> TrainedModel:
    assert run(config, place).status == "done"
    return starting_weights.find_trained_model(place / "trials" / config.trial_id())


def continuing(config: TrialConfig, start: TrainedModel | None) -> TrialConfig:
    return config.model_copy(update={"model": config.model.model_copy(update={"start": start})})


LEARNING = {"learning_rate": 2e-2, "precision": "fp32", "dtype": "float32"}


# The weights a trial starts from


@pytest.mark.parametrize(
    "method",
    [
        "lora",
        {"kind": "lora", "rank": 4, "dora": True},
        {"kind": "lora", "rank": 4, "init": "pissa"},
        "qlora-4bit",
    ],
    ids=["lora", "dora", "pissa", "qlora"],
)
def test_an_adapter_is_merged_into_the_base_it_was_trained_on(
    tiny_model: Path, rows: Path, tmp_path: Path, method: Any
) -> None:
    start = trained(make_config(tiny_model, rows, method, **LEARNING), tmp_path)
    later = continuing(make_config(tiny_model, rows), start)
    adapted: Any = PeftModel.from_pretrained(loaded(tiny_model), str(start.folder))
    whole = starting_weights.starting_folder(later.model, tmp_path)
    assert whole == tmp_path / "merged" / str(start.trial)
    assert (logits(adapted) - logits(loaded(tiny_model))).abs().max() > 1e-2
    torch.testing.assert_close(logits(loaded(whole)), logits(adapted), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", ["full", "freeze"])
def test_whole_weights_are_used_as_they_are(
    tiny_model: Path, rows: Path, tmp_path: Path, method: str
) -> None:
    start = trained(make_config(tiny_model, rows, method, **LEARNING), tmp_path)
    later = continuing(make_config(tiny_model, rows), start)
    assert starting_weights.starting_folder(later.model, tmp_path) == start.folder
    assert not (tmp_path / "merged").exists()


def test_an_adapter_trained_on_an_adapter_is_merged_with_it_even_if_the_run_has_moved(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    first = trained(make_config(tiny_model, rows, **LEARNING), tmp_path / "run")
    second = trained(continuing(make_config(tiny_model, rows, seed=1, **LEARNING), first), tmp_path / "run")
    once = loaded(
        starting_weights.starting_folder(
            continuing(make_config(tiny_model, rows), first).model, tmp_path / "run"
        )
    )
    twice: Any = PeftModel.from_pretrained(once, str(second.folder))
    expected = logits(twice)
    shutil.move(tmp_path / "run", tmp_path / "moved")
    shutil.rmtree(tmp_path / "moved" / "merged")
    moved = starting_weights.find_trained_model(tmp_path / "moved" / "trials" / str(second.trial))
    whole = starting_weights.starting_folder(
        continuing(make_config(tiny_model, rows), moved).model, tmp_path / "moved"
    )
    torch.testing.assert_close(logits(loaded(whole)), expected, atol=1e-4, rtol=1e-4)


def test_the_base_row_of_a_trained_start_has_that_trials_scores(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config = make_config(tiny_model, rows, "full", **LEARNING)
    before = run(config, tmp_path)
    start = starting_weights.find_trained_model(tmp_path / "trials" / config.trial_id())
    base = run(continuing(make_config(tiny_model, rows, None, **LEARNING), start), tmp_path)
    assert base.start_trial == config.trial_id()
    assert base.metrics["loss"] == pytest.approx(before.metrics["loss"], abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_reference_is_what_training_starts_from(tiny_model: Path, tmp_path: Path, method: str) -> None:
    small = {"eval_rows": 4, "eval_fraction": 0.95, "cutoff": 80, "precision": "fp32"}
    start = trained(make_config(tiny_model, "commands", "lora", learning_rate=2e-2, **small), tmp_path)
    config = continuing(make_config(tiny_model, "commands", method, stage={"kind": "dpo"}, **small), start)
    assert run(config, tmp_path).status == "done"
    assert curve(config, tmp_path)[0][1] == pytest.approx(math.log(2), abs=2e-3)


def test_a_start_whose_folder_is_gone_is_a_failed_record_that_says_so(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    gone = TrainedModel(cell="sft-lora", trial="abc", folder=tmp_path / "gone")
    record = run_trial(continuing(make_config(tiny_model, rows), gone), TrialContext(tmp_path))
    assert record.status == "failed"
    assert "the best of sft-lora has no model at" in str(record.error)


def test_a_folder_without_a_model_is_no_start(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no model: give the folder of a finished trial"):
        starting_weights.find_trained_model(tmp_path)


# Chains of stages

CHAIN = """\
name: line
model: {path: %(model)s, dtype: float32}
data: {train: commands, eval_fraction: 0.95, eval_rows: 4, cutoff: 80}
stages:
  - {kind: pretrain}
  - {kind: sft, model: {from: pretrain}}
  - {kind: reward, model: {from: sft}}
  - {kind: ppo, model: {from: sft}, reward: {from: reward}, max_new_tokens: 8}
methods:
  - {kind: full}
  - {kind: lora, rank: 4}
train: {steps: 4, batch_size: 2, save_steps: 2, learning_rate: 1.0e-3}
search: {trials: 1, scheduler: none}
finalists: {seeds: 1}
resources: {cpus: 1, concurrent: 1}
tracking: {wandb: off}
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="pt") as short:
        yield Home(tmp_path, Path(short))


def write_chain(home: Home, model: Path, text: str = CHAIN) -> Path:
    path = home.folder / "line.yaml"
    path.write_text(text % {"model": model})
    return path


def by_cell(run: Path) -> dict[str, Record]:
    return {record.cell: record for record in records(run).values()}


def test_trying_a_cell_runs_its_dependencies_first_and_only_once(tiny_model: Path, home: Home) -> None:
    spec, output = write_chain(home, tiny_model), home.folder / "runs"
    trying = ["try", str(spec), "--stage", "sft", "--method", "lora", "--output", str(output)]
    tried = CliRunner().invoke(app, trying)
    assert tried.exit_code == 0, tried.output
    found = by_cell(home.folder / "runs" / "line-try")
    assert {cell: record.status for cell, record in found.items()} == {
        "pretrain-lora": "done",
        "sft-lora": "done",
    }
    assert found["sft-lora"].start_trial == found["pretrain-lora"].trial_id
    again = CliRunner().invoke(app, [*trying, "--set", "stages[1].train.steps=2"])
    assert [line.split()[0] for line in again.stderr.splitlines() if " in /" in line] == ["sft-lora"]


@pytest.mark.slow
def test_trying_the_base_scores_what_the_stage_starts_from(tiny_model: Path, home: Home) -> None:
    spec = write_chain(home, tiny_model, CHAIN.replace("  - {kind: full}\n", ""))
    tried = paretune(home, "try", spec, "--stage", "sft", "--method", "base")
    assert tried.process.returncode == 0, tried.stderr
    found = by_cell(home.folder / "runs" / "line-try")
    assert found["sft-base"].start_trial == found["pretrain-lora"].trial_id
    assert (found["sft-base"].role, found["sft-base"].steps) == ("base", None)


def plan_continuing_from(folder: Path, name: str, earlier: EarlierResults | None = None) -> Plan:
    """The plan of a spec in ``folder`` whose cells start from the result ``name``."""
    stage = f"{{kind: sft, model: {{from: '{name}'}}}}"
    text = specs.SPEC.replace("{kind: sft}", stage).replace("model: {path: model}\n", "")
    return specs.plan(folder, text, earlier=earlier or EarlierResults(recommended_trials))


def started_from(plan: Plan, cell: str = "sft-full") -> str | None:
    """The trial that a cell's trials start from."""
    assert not plan.errors, [str(error) for error in plan.errors]
    start = plan.cell(cell).first().model.start
    return start.trial if start is not None else None


def test_a_trial_of_another_run_is_named_as_in_every_other_command(tmp_path: Path, tiny_model: Path) -> None:
    run = make_run(tmp_path, tiny_model, (None, "lora"))
    trial = trial_id_of(run, "sft-lora")
    for name, wanted in {
        "run": trial,
        "run:sft-lora": trial,
        f"run:{trial[:6]}": trial,
        f"run:{trial}@2": f"{trial}@2",
        str(run / "trials" / trial): trial,
    }.items():
        assert started_from(plan_continuing_from(tmp_path, name)) == wanted, name
    for name, why in {
        "run:sft-base": "is the untrained base model: name that itself",
        "run:sft-lara": "no cell or trial of that name; cells: ",
        f"run:{trial}@3": f"there is no checkpoint-3; its checkpoints: {trial}@2",
    }.items():
        errors = [str(error) for error in plan_continuing_from(tmp_path, name).errors]
        assert any(why in error for error in errors), errors


def test_no_stage_continues_from_an_earlier_adapter_that_cannot_be_merged(
    tmp_path: Path, tiny_model: Path
) -> None:
    run = make_run(tmp_path, tiny_model, ("lora",))
    config = run / "trials" / trial_id_of(run, "sft-lora") / "config.json"
    method = {"kind": "peft", "type": "prefix_tuning", "num_virtual_tokens": 4}
    config.write_text(json.dumps(json.loads(config.read_text()) | {"method": method}))
    (error,) = {str(error) for error in plan_continuing_from(tmp_path, str(config.parent)).errors}
    assert "no stage can continue from" in error
    assert "prefix_tuning puts virtual tokens before each text, and changes no weights" in error


def test_a_run_stands_for_the_trial_that_its_report_recommends_and_the_plan_names_it(
    tmp_path: Path, tiny_model: Path
) -> None:
    run = make_run(tmp_path, tiny_model, (None, "full", "lora"))
    best, other = (
        recommended_trials(run)[0],
        *(r for r in read_run(run).records if r.cell != recommended_trials(run)[0].cell and r.role != "base"),
    )
    planned = plan_continuing_from(tmp_path, "run")
    assert started_from(planned) == best.trial_id
    assert f"run is trial {best.trial_id} of {best.cell}" in planned.notes
    assert started_from(plan_continuing_from(tmp_path, f"run:{other.cell}")) == other.trial_id


def test_a_run_without_a_finished_trial_is_no_start(tmp_path: Path) -> None:
    (tmp_path / "run" / "trials").mkdir(parents=True)
    specs.spec_folder(tmp_path)
    (error,) = plan_continuing_from(tmp_path, "run").errors
    assert "run has no finished trial; `paretune status" in str(error)
    assert str(error).startswith(f"{tmp_path}/spec.yaml:3 stages[0].model.from: ")


def test_a_resumed_run_keeps_the_start_it_began_with_even_if_another_trial_is_best_by_now(
    tmp_path: Path, tiny_model: Path
) -> None:
    there = make_run(tmp_path, tiny_model, (None, "full", "lora"))
    for name in ("run", "run:sft-lora"):
        mine = tmp_path / f"mine-{len(name)}"
        begun = plan_continuing_from(tmp_path, name)
        run_folder.prepare(begun, mine, resume=False)
        was = started_from(begun)
        better = next(r for r in read_run(there).records if r.role != "base" and r.trial_id != was)
        if name != "run":
            better = better.model_copy(update={"cell": "sft-lora"})
        outdo(there, better)
        assert started_from(plan_continuing_from(tmp_path, name)) == better.trial_id
        earlier = EarlierResults(recommended_trials, lambda mine=mine: settled_in(read_environment(mine)))
        again = plan_continuing_from(tmp_path, name, earlier)
        assert started_from(again) == was
        run_folder.prepare(again, mine, resume=True)
        assert settled_in(read_environment(mine)) == begun.settled
        assert any(note.endswith(f"of {name_of(there, was)}, as when this run began") for note in again.notes)


def outdo(run: Path, record: Record) -> None:
    """Makes a trial the best of all that are in its run, by a wide margin."""
    best = {"quality": 1e-6, "objective": 1e-6, "status": "done"}
    write_record(run / "trials" / record.trial_id, record.model_copy(update=best))


def name_of(run: Path, trial: str | None) -> str:
    return next(record.cell for record in read_run(run).records if record.trial_id == trial)


def test_a_run_is_read_once_however_many_cells_start_from_it(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    make_run(tmp_path, tiny_model, (None, "lora"))
    looked_at: list[str] = []
    monkeypatch.setattr(
        "sweeps.runs.artifacts.local_copy", lambda run: looked_at.append(run) or local_copy(run)
    )
    planned = plan_continuing_from(tmp_path, f"file://{tmp_path}/run")
    assert started_from(planned, "sft-full") == started_from(planned, "sft-lora") is not None
    assert looked_at == [f"file://{tmp_path}/run"]


@pytest.mark.parametrize("reward", ["run", "{from: run}", "run:reward-lora", "{from: 'run:reward-lora'}"])
def test_a_reward_model_of_another_run_is_named_in_the_same_way(
    tmp_path: Path, tiny_model: Path, reward: str
) -> None:
    answering = make_config(tiny_model, write_rows(tmp_path / "said.jsonl"), "lora", steps=1)
    run(answering, tmp_path / "run", memory_gauge=None)
    trained = make_config(tiny_model, "commands", "lora", stage={"kind": "reward"}, steps=1, eval_rows=4)
    run(trained, tmp_path / "run", memory_gauge=None)
    specs.spec_folder(tmp_path)
    text = specs.SPEC.replace("kind: sft", f"kind: ppo, reward: {reward}")
    text = text.replace("path: model", f"path: {tiny_model}")
    planned = specs.plan(tmp_path, text, earlier=EarlierResults(recommended_trials))
    stage: Any = planned.cell("ppo-lora").first().stage
    assert stage.reward.trial == trained.trial_id()


@pytest.mark.slow
def test_a_trial_can_continue_from_the_folder_of_another_runs_trial(tiny_model: Path, home: Home) -> None:
    paretune(home, "try", write_chain(home, tiny_model), "--stage", "pretrain", "--method", "lora")
    (before,) = by_cell(home.folder / "runs" / "line-try").values()
    tried = paretune(
        home, "try", write_continuing_spec(home, tiny_model, f"runs/line-try/trials/{before.trial_id}")
    )
    assert tried.process.returncode == 0, tried.stderr
    (record,) = records(home.folder / "runs" / "on-try").values()
    assert (record.start_trial, record.start_cell) == (before.trial_id, None)


def write_continuing_spec(home: Home, model: Path, start: str) -> Path:
    """A spec that continues from the result ``start``."""
    path = home.folder / "on.yaml"
    path.write_text(
        (CHAIN % {"model": model})
        .partition("stages:")[0]
        .replace(f"path: {model}, ", "")
        .replace("name: line", "name: on")
        + f"stages: [{{kind: sft, model: {{from: {start}}}}}]\n"
        + "methods: [{kind: full}]\ntrain: {steps: 2, batch_size: 2, learning_rate: {log: [1.0e-4, 1.0e-3]}}\n"
        + "tracking: {wandb: off}\n"
    )
    return path


@pytest.mark.slow
@pytest.mark.sweep
def test_a_resumed_run_that_starts_from_a_whole_run_keeps_the_trial_it_began_with(
    tiny_model: Path, home: Home
) -> None:
    line = write_chain(home, tiny_model)
    for method in ("full", "lora"):
        paretune(home, "try", line, "--stage", "pretrain", "--method", method)
    there = home.folder / "runs" / "line-try"
    best = recommended_trials(there)[0]
    spec = write_continuing_spec(home, tiny_model, "runs/line-try")
    begun = paretune(home, "run", spec, "--set", "search.trials=1")
    assert begun.process.returncode == 0, begun.stderr
    outdo(there, next(r for r in by_cell(there).values() if r.trial_id != best.trial_id and r.role != "base"))
    grown = paretune(home, "run", spec, "--set", "search.trials=2", "--resume")
    assert grown.process.returncode == 0, grown.stderr
    found = records(home.folder / "runs" / "on").values()
    assert len(found) == 3  # the start as it is, and two trials
    assert {record.start_trial for record in found} == {best.trial_id}


@pytest.mark.sweep
def test_a_chain_of_four_stages_runs_and_each_cell_starts_from_the_one_before(
    tiny_model: Path, home: Home
) -> None:
    done = paretune(home, "run", write_chain(home, tiny_model), timeout=400)
    assert done.process.returncode == 0, done.stderr
    run = home.folder / "runs" / "line"
    found = by_cell(run)
    assert {record.status for record in found.values()} == {"done"}
    for method in ("full", "lora"):
        for stage, before in (("sft", "pretrain"), ("reward", "sft"), ("ppo", "sft")):
            source = found[f"{before}-{method}"]
            assert found[f"{stage}-{method}"].start_trial == source.trial_id
            assert found[f"{stage}-base-{before}-{method}"].start_trial == source.trial_id
        rewarded = found[f"ppo-{method}"].config["stage"]["reward"]
        assert rewarded["trial"] == found[f"reward-{method}"].trial_id
    assert json.loads((run / "starts.json").read_text())["sft-lora"] == found["sft-lora"].trial_id
    page = (run / "report" / "summary.md").read_text()
    assert "sft-lora" in page


@pytest.mark.slow
@pytest.mark.sweep
def test_an_interrupted_chain_is_resumed_where_it_was(tiny_model: Path, home: Home) -> None:
    text = CHAIN.replace("  - {kind: reward, model: {from: sft}}\n", "").replace(
        ", reward: {from: reward}", ""
    )
    text = text.replace("kind: ppo", "kind: dpo").replace(
        ", max_new_tokens: 8", ", train: {steps: 100, save_steps: 20}"
    )
    spec = write_chain(home, tiny_model, text)
    run = home.folder / "runs" / "line"
    command = start(home, "run", spec)
    command.until(lambda: [t for t in in_training(run, command) if _cell(run, t).startswith("dpo")])
    interrupt(command)
    before = by_cell(run)
    chosen = (run / "starts.json").read_text()
    again = paretune(home, "run", spec, "--resume", timeout=400)
    assert again.process.returncode == 0, again.stderr
    after = by_cell(run)
    assert {record.status for record in after.values()} == {"done"}
    assert (run / "starts.json").read_text() == chosen
    kept = [cell for cell, record in before.items() if record.status == "done"]
    assert {cell: after[cell].ended_at for cell in kept} == {cell: before[cell].ended_at for cell in kept}


def _cell(run: Path, trial: str) -> str:
    return json.loads((run / "trials" / trial / "config.json").read_text())["cell"]
