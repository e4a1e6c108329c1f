"""Which model people mean by what they write."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reports.analysis.recommendation.best_trials import recommended_trials
from sweeps.runs.resolve import resolve
from tests.helpers.small_runs import make_run, method_config, trial_id_of
from tests.helpers.trials import run as carry_out
from trainables import results
from trainables.config.trained_model import TrainedModel
from trainables.inference.model_pool import ModelPool
from trainables.inference.result import Result
from trainables.models.folder import ModelError
from trainables.results import read_record, read_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    return make_run(tmp_path_factory.mktemp("named"), tiny_model)


def named(text: object) -> Result:
    return resolve(str(text), recommended_trials)


def test_a_run_is_the_trial_that_its_report_says_to_use(run: Path) -> None:
    found = named(run)
    assert found.record is not None
    assert found.record.trial_id == recommended_trials(run)[0].trial_id
    assert found.trained_folder == run / "trials" / found.record.trial_id / "model"


def test_naming_a_run_writes_nothing_into_it(run: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    shutil.copytree(run, theirs)
    for table in theirs.glob("*.parquet"):
        table.unlink()
    before = sorted(theirs.rglob("*"))
    assert named(theirs).record == named(run).record
    assert sorted(theirs.rglob("*")) == before


@pytest.mark.parametrize("cell", ["sft-full", "sft-freeze", "sft-lora", "sft-qlora-4bit"])
def test_a_cell_is_its_best_trial(run: Path, cell: str) -> None:
    found = named(f"{run}:{cell}")
    assert found.trained_folder == run / "trials" / trial_id_of(run, cell) / "model"
    assert found.is_adapter == ("lora" in cell)


def test_the_cell_of_the_untuned_model_is_that_model(run: Path, tiny_model: Path) -> None:
    found = named(f"{run}:sft-base")
    assert (found.trained_folder, found.folder()) == (None, tiny_model)


def test_a_trial_is_named_by_how_its_id_begins_and_a_checkpoint_by_its_step(run: Path) -> None:
    trial = trial_id_of(run, "sft-lora")
    assert named(f"{run}:{trial[:6]}").trained_folder == run / "trials" / trial / "model"
    assert named(f"{run}:{trial}@2").trained_folder == run / "trials" / trial / "checkpoint-2"


def test_folders_of_trials_and_models_are_results_too(run: Path, tiny_model: Path) -> None:
    trial = run / "trials" / trial_id_of(run, "sft-lora")
    for folder in (trial, trial / "model"):
        assert named(folder).trained_folder == trial / "model"
        assert named(folder).folder() == tiny_model
    assert named(tiny_model).folder() == tiny_model


def test_a_known_model_is_named_and_a_missing_one_says_how_to_fetch_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="paretune fetch qwen3-8b"):
        named("qwen3-8b").folder()


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (":sft-lara", "no cell or trial of that name; cells: .*did you mean sft-lora"),
        (":ffff", "no cell or trial of that name"),
        (":{lora}@3", "there is no checkpoint-3; its checkpoints: {lora}@2, {lora}@4"),
        (":sft-lora@2", "@STEP needs a trial, not a cell; the best trial of sft-lora is {lora}"),
    ],
)
def test_what_is_not_there_says_what_is(run: Path, part: str, message: str) -> None:
    names = {"lora": trial_id_of(run, "sft-lora")}
    with pytest.raises(ModelError, match=f"(?i){message.format(**names)}"):
        named(f"{run}{part.format(**names)}")


def test_a_file_of_rows_is_no_model_and_its_option_is_named(tmp_path: Path) -> None:
    (tmp_path / "my rows.jsonl").write_text("{}")
    command = f"paretune evaluate RESULT --data '{tmp_path}/my rows.jsonl'"
    with pytest.raises(ModelError, match=f"is a file, and neither a run nor a model.*{command}$"):
        resolve(str(tmp_path / "my rows.jsonl"), recommended_trials)


def test_what_is_nothing_says_what_could_be_given(tmp_path: Path) -> None:
    for text in ("smollm3", tmp_path / "gone", "runs/none:sft-lora"):
        with pytest.raises(ModelError, match=r"give RUN, RUN:CELL, RUN:TRIAL"):
            named(text)


@pytest.fixture
def at_url(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a run whose ``dpo-lora`` started from the adapter of its ``sft-lora``; it is nowhere else."""
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    made = make_run(tmp_path, tiny_model, (None, "lora"))
    first = trial_id_of(made, "sft-lora")
    sft = method_config(tiny_model, tmp_path / "rows.jsonl", "lora")
    start = TrainedModel(trial=first, folder=made / "trials" / first / "model")
    model = sft.model.model_copy(update={"start": start})
    second = sft.model_copy(update={"cell": "dpo-lora", "model": model})
    carry_out(second, made, memory_gauge=None)
    results.write_tables(made)
    shutil.move(made, tmp_path / "store" / "run")
    return f"file://{tmp_path}/store/run"


def test_a_model_of_a_run_at_a_url_is_downloaded_once_with_all_that_it_needs(
    at_url: str, tmp_path: Path
) -> None:
    found = named(f"{at_url}:dpo-lora")
    assert found.trained_folder is not None
    assert found.run is not None
    assert found.run.is_relative_to(tmp_path / "home")
    with ModelPool().load(found).active() as policy:
        assert policy.tokenizer is not None
    found_there = [read_record(folder) for folder in results.trial_folders(found.run)]
    assert "base" in [
        record.role for record in found_there if record
    ]  # so that a card can say what it scored
    shutil.rmtree(tmp_path / "store" / "run" / "trials" / found.trained_folder.parent.name / "model")
    assert named(f"{at_url}:dpo-lora").trained_folder == found.trained_folder


def test_what_cannot_be_trusted_is_refused_wherever_a_result_is_asked_for(tiny_model: Path) -> None:
    expected = r"--trust pickel: give remote_code, pickle or method_code. Did you mean pickle"
    with pytest.raises(ModelError, match=expected):
        resolve(str(tiny_model), recommended_trials, ("pickel",))


def test_a_run_that_moved_is_found_where_it_is_now(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "moved")
    found = named(f"{tmp_path}/moved:sft-full")
    assert found.trained_folder is not None
    assert found.trained_folder.is_relative_to(tmp_path / "moved")


def test_somebody_elses_run_does_not_say_what_is_trusted(run: Path, tmp_path: Path) -> None:
    there = tmp_path / "theirs"
    shutil.copytree(run, there)
    config = there / "trials" / trial_id_of(run, "sft-lora") / "config.json"
    config.write_text(config.read_text().replace('"unsafe": []', '"unsafe": ["remote_code"]'))
    assert '"remote_code"' in config.read_text()
    assert not named(config.parent).config.model.runs_remote_code
    assert resolve(str(config.parent), recommended_trials, ["remote_code"]).config.model.runs_remote_code


def test_every_result_scores_as_it_did_when_it_was_trained_whatever_else_is_loaded(run: Path) -> None:
    from trainables.data import loading

    pool = ModelPool()
    records = [record for record in read_run(run).records if record.cell != "sft-base"]
    loaded = [pool.load(named(f"{run}:{record.trial_id}")) for record in records]
    for each, record in [*zip(loaded, records, strict=True), *zip(loaded, records, strict=True)]:
        config = each.result.config
        rows = loading.load(config.data, config.stage.row_type)
        with each.active() as policy:
            scores = config.stage.score(policy, rows, rows.test, config.data.cutoff)
        assert scores.metrics == record.metrics, record.cell


def test_adapters_of_one_base_share_it_and_the_base_is_itself_beside_them(run: Path) -> None:
    pool = ModelPool()
    base, lora, again = (pool.load(named(f"{run}:{cell}")) for cell in ("sft-base", "sft-lora", "sft-lora"))
    assert base.shared is lora.shared is again.shared
    assert read_record(run / "trials" / trial_id_of(run, "sft-lora")) is not None
    config = base.result.config
    from trainables.data import loading

    rows = loading.load(config.data, config.stage.row_type)
    with base.active() as policy:
        metrics = config.stage.score(policy, rows, rows.test, config.data.cutoff).metrics
    assert metrics == next(record.metrics for record in read_run(run).records if record.cell == "sft-base")


def test_a_path_to_nothing_is_no_name_on_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"Nothing is at runs/nothing: there is no folder runs$"):
        named("runs/nothing")
    (tmp_path / "runs" / "methods").mkdir(parents=True)
    for text in ("runs/method", "runs/method:sft-lora"):
        with pytest.raises(ModelError, match=r"Nothing is at runs/method\. Did you mean runs/methods\?"):
            named(text)
    with pytest.raises(ModelError, match="Did you mean hf:org/name"):
        named("org/name")
