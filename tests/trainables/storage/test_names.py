"""Names that somebody else gives stay within their folder, wherever they come from."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reports.analysis import row_scores
from sweeps.runs import trial_requests
from sweeps.runs.artifacts import artifact_in_run
from sweeps.tracking.base import FollowedRun
from tests.helpers.run_folders import record, write_run, write_scores
from tests.helpers.trials import make_config
from trainables import results
from trainables.inference.result import trial_result
from trainables.models.folder import ModelError
from trainables.storage import cache
from trainables.storage.damaged_files import DamagedFile
from trainables.storage.names import UnsafeName, checked_name, checked_part, leads_out, within
from trainables.storage.url_store import Store
from trainables.trial import scratch, starting_weights
from trainables.trial.config import TrialConfig, read_config
from trainables.trial.staged_inputs import StagedInputs

UNSAFE = [
    "", ".", "..", "/", "/etc/passwd", "//host/share", "../x", "a/..", "a/../x", "model/../../../x", "a//x", "a/./x",
    "a/", "a\0.txt", "C:/x", "C:x", "..\\x", "a\\..\\x", "\\\\host\\share",
]  # fmt: skip
SAFE = [
    "a",
    "a/b.json",
    ".hidden",
    "..a/b..",
    "a b/é",
    "model-00001-of-00002.safetensors",
    "x" * 300,
    "a:b.txt"[:1],
]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_could_lead_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeName, match="could lead out of the folder"):
        within(tmp_path, name)


@pytest.mark.parametrize("name", SAFE)
def test_any_other_name_is_a_path_in_the_folder(tmp_path: Path, name: str) -> None:
    assert within(tmp_path, checked_name(name)) == tmp_path / name


def test_paths_that_people_write_may_have_more_than_names_that_programs_give() -> None:
    assert not leads_out("./a/../b.json")
    assert all(map(leads_out, ("a/../../b.json", "..", "/x", "a\0b")))


@pytest.mark.parametrize("key", ["model/../../../x", "model//x", "../x", "./x"])
def test_a_store_with_a_key_that_leads_out_of_its_folder_is_not_copied(tmp_path: Path, key: str) -> None:
    store = Store(f"memory://{tmp_path.name}/run", patience=60)
    store.write("spec.yaml", b"name: x")
    store._fs.store[f"/{tmp_path.name}/run/{key}"] = store._fs.store[f"/{tmp_path.name}/run/spec.yaml"]
    with pytest.raises(UnsafeName):
        store.list()
    folder = tmp_path / "copy" / "deep" / "down"
    with pytest.raises(UnsafeName):  # at once, and not after the patience
        store.pull([key], folder)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("call", ["read", "write", "create", "list", "pull", "push", "remove", "within"])
def test_no_call_to_a_store_takes_a_name_that_leads_out(tmp_path: Path, call: str) -> None:
    store = Store(f"memory://{tmp_path.name}/run", patience=60)
    calls = {
        "read": lambda: store.read("../x"),
        "write": lambda: store.write("../x", b""),
        "create": lambda: store.create("../x", b""),
        "list": lambda: store.list("../x"),
        "pull": lambda: store.pull(["../x"], tmp_path),
        "push": lambda: store.push(tmp_path, ["../x"]),
        "remove": lambda: store.remove(["../x"]),
        "within": lambda: store.within("../x"),
    }
    (tmp_path.parent / "x").write_text("x")
    with pytest.raises(UnsafeName):
        calls[call]()


def test_a_marker_of_a_folder_is_no_file(tmp_path: Path) -> None:
    store = Store(f"memory://{tmp_path.name}/run", patience=1)
    store.write("trials/a", b"x")
    store._fs.store[f"/{tmp_path.name}/run/models/"] = store._fs.store[f"/{tmp_path.name}/run/trials/a"]
    assert list(store.list()) == ["trials/a"]


@pytest.mark.parametrize("at", ["../../secret", "/etc/passwd", ".."])
@pytest.mark.parametrize("url", [None, "memory://somebody/run"])
def test_the_index_of_a_run_names_no_file_outside_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, url: str | None
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    index = {
        "url": url,
        "paths": {"/data/rows.jsonl": {"at": at, "files": {"/data/rows.jsonl": ["/nowhere", 1]}}},
    }
    (tmp_path / "given.json").write_text(json.dumps(index))
    with pytest.raises(UnsafeName):
        StagedInputs.read(tmp_path)._local_path(Path("/data/rows.jsonl"))


def test_a_cached_folder_has_a_key_that_stays_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    with pytest.raises(UnsafeName):
        cache.entry("given", "../../x", lambda folder: None)
    assert not (tmp_path / "home").exists()


# Ids of trials and names of cells, which folders are called by, as a run of somebody else may have them.
OUTSIDE = ["../../../x", "..", "a/b", "a\\b", "/x", "", "x\0"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_id_is_one_part_of_a_path(name: str) -> None:
    with pytest.raises(UnsafeName):
        checked_part(name)


@pytest.mark.parametrize("name", ["3f2a9c81d0b4", "3f2a9c81d0b4@50", "sft-lora-r8.a_b"])
def test_an_id_with_a_step_and_the_name_of_a_cell_are_parts_of_paths(name: str) -> None:
    assert checked_part(name) == name


@pytest.fixture
def starts_outside(tmp_path: Path) -> Path:
    """A trial's folder whose config says that its weights started from those of a trial outside of the run."""
    config = make_config(tmp_path / "base", tmp_path / "rows.jsonl").model_dump(mode="json")
    config["model"]["start"] = {"cell": "sft-lora", "trial": "../../../x", "folder": "/nowhere/model"}
    trial = tmp_path / "run" / "trials" / "3f2a9c81d0b4"
    (trial / "model").mkdir(parents=True)
    (trial / "config.json").write_text(json.dumps(config))
    return trial


def test_a_trial_starts_from_no_trial_outside_of_its_run(starts_outside: Path) -> None:
    assert starting_weights.read_trial(starts_outside / "model") is None
    with pytest.raises(DamagedFile, match=r"model\.start\.trial.*could lead out of the folder"):
        read_config(starts_outside)


def _config_with_start(folder: Path) -> TrialConfig:
    """The config with an adapter to start from whose trial's id was not checked."""
    config = make_config(folder / "base", folder / "rows.jsonl")
    adapter = folder / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    own = starting_weights.TrainedModel(cell="sft-lora", trial="x", folder=adapter)
    start = own.model_copy(update={"trial": "../../../x"})
    return config.model_copy(update={"model": config.model.model_copy(update={"start": start})})


def test_a_merged_model_and_its_lock_are_within_the_run(tmp_path: Path) -> None:
    config, run = _config_with_start(tmp_path), tmp_path / "a" / "b" / "run"
    run.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UnsafeName):
        starting_weights.starting_folder(config.model, run)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_start_is_looked_up_in_no_folder_outside_of_the_run(tmp_path: Path) -> None:
    model = _config_with_start(tmp_path).model
    assert model.start is not None
    gone = model.start.model_copy(update={"folder": tmp_path / "gone"})
    with pytest.raises(UnsafeName):
        starting_weights.with_moved_start(
            model.model_copy(update={"start": gone}), tmp_path / "run/trials/a/model"
        )


def test_a_node_copies_no_start_from_outside_of_the_run_and_locks_nothing_there(tmp_path: Path) -> None:
    store = Store(f"memory://{tmp_path.name}/run", patience=1)
    with pytest.raises(UnsafeName):
        scratch.download_start_models(_config_with_start(tmp_path), store, tmp_path / "run", StagedInputs({}))
    with pytest.raises(UnsafeName):
        scratch.upload_merged(store, tmp_path / "run", "../../../x")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def foreign_run(tmp_path: Path) -> Path:
    """A run whose record and table say that its trial has the id of a folder outside of it."""
    run = write_run(tmp_path / "a" / "run", [record("3f2a9c81d0b4", quality=0.5)])
    write_scores(run, "3f2a9c81d0b4", [1.0, 0.0])
    trial = run / "trials" / "3f2a9c81d0b4"
    content = json.loads((trial / "record.json").read_text()) | {"trial_id": "../../../x"}
    (trial / "record.json").write_text(json.dumps(content))
    rows = pq.read_table(run / "trials.parquet").to_pylist()
    table = pa.Table.from_pylist([row | {"trial_id": "../../../x"} for row in rows], schema=results.SCHEMA)
    pq.write_table(table, run / "trials.parquet")
    return run


def test_a_record_with_an_id_outside_of_its_run_is_damaged_and_costs_the_others_nothing(
    foreign_run: Path,
) -> None:
    trial = foreign_run / "trials" / "3f2a9c81d0b4"
    with pytest.raises(DamagedFile, match=r"trial_id.*could lead out of the folder"):
        results.read_record(trial)
    other = record("aaaaaaaaaaaa")
    (foreign_run / "trials" / "aaaaaaaaaaaa").mkdir()
    (foreign_run / "trials" / "aaaaaaaaaaaa" / "config.json").write_text("{}")
    results.write_record(foreign_run / "trials" / "aaaaaaaaaaaa", other)
    (sentence,) = results.write_tables(foreign_run)
    assert "3f2a9c81d0b4/record.json is damaged" in sentence
    assert [each.trial_id for each in results.read_run(foreign_run).records] == ["aaaaaaaaaaaa"]


def test_a_record_that_is_another_trials_is_left_out_of_its_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [record("a" * 12), record("b" * 12)])
    (run / "trials" / ("a" * 12) / "record.json").write_bytes(
        (run / "trials" / ("b" * 12) / "record.json").read_bytes()
    )
    assert [each.trial_id for each in results.gather_run(run).records] == ["b" * 12]
    # A trial's folder that was copied may have any name.
    copy = (run / "trials" / ("b" * 12)).rename(tmp_path / "my-model")
    assert results.read_record(copy) is not None


def test_the_scores_of_rows_are_read_from_the_run_alone(foreign_run: Path) -> None:
    with pytest.raises(DamagedFile, match="trial_id"):
        # What gives both readers of scores their records.
        row_scores.estimate(content := results.read_run(foreign_run), content.records)


def test_further_rows_are_scored_for_no_trial_outside_of_the_run(foreign_run: Path, tmp_path: Path) -> None:
    trial = foreign_run / "trials" / "3f2a9c81d0b4"
    config = make_config(tmp_path / "base", tmp_path / "rows.jsonl")
    (trial / "config.json").write_text(config.model_dump_json())
    (trial / "model").mkdir()
    for name in ("config.json", "model.safetensors"):
        (trial / "model" / name).write_text("{}")
    with pytest.raises(DamagedFile, match="trial_id"):  # the result that `score_further` takes
        trial_result(trial)


def test_nothing_of_a_trial_outside_of_the_run_is_sent(foreign_run: Path) -> None:
    from sweeps.tracking.trackers.wandb_runs import WandbRuns
    from sweeps.tracking.wandb_content.artifacts import Models

    runs = WandbRuns(FollowedRun.read(foreign_run), "project", False, Models("all", foreign_run, ""))
    with pytest.raises(DamagedFile, match="trial_id"):
        runs.summarize()


@pytest.mark.parametrize("key", ["trial_id", "cell", "start_cell", "start_trial", "memory_trial"])
def test_no_name_in_a_record_leads_out(key: str) -> None:
    with pytest.raises(ValueError, match="could lead out of the folder"):
        results.Record.model_validate(record("a").model_dump() | {key: "../../../x"})


@pytest.mark.parametrize("key", ["trial_id", "cell", "like"])
def test_no_name_in_a_request_leads_out(tmp_path: Path, key: str) -> None:
    content = {"trial_id": "a", "cell": "b", "like": "c", "changes": [], "requested_at": "", "config": {}}
    path = tmp_path / "add-x.json"
    path.write_text(json.dumps(content | {key: "../../add-x"}))
    with pytest.raises(DamagedFile, match=key):
        trial_requests.read_addition(path)


def test_trackers_know_a_run_by_no_id_that_leads_out(tmp_path: Path) -> None:
    with pytest.raises(DamagedFile, match=r"environment\.json"):
        _ = FollowedRun(tmp_path, {"wandb_id": "../../x"}).id


@pytest.mark.parametrize("part", ["3f2a9c81d0b4@1/../../../../x", "3f2a9c81d0b4@", "3f2a9c81d0b4@.."])
def test_the_step_of_a_checkpoint_is_a_number(foreign_run: Path, part: str) -> None:
    with pytest.raises(ModelError, match="no number of a step"):
        artifact_in_run(f"{foreign_run}:{part}", str(foreign_run), part, lambda run: (), "CAUSAL_LM")
