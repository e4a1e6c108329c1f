"""Trials in a scratch folder of their node: inputs are downloaded from the run's URL, results uploaded whole."""

from __future__ import annotations

import errno
import json
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.trials import ScriptedControl, make_config, write_rows
from trainables.config.train import TrainConfig
from trainables.results import Record
from trainables.runner import uploader, workspace
from trainables.runner.run import TrialContext, end_trial, run_trial
from trainables.runner.uploader import Uploader
from trainables.runner.workspace import RemoteWorkspace
from trainables.storage import url_store
from trainables.storage.url_store import StorageError, Store
from trainables.training.checkpoints import COMPLETE, LOGPROBS_BEFORE
from trainables.training.training_callback import Control, NoControl
from trainables.trial import scratch
from trainables.trial.config import TrialConfig


@pytest.fixture
def store() -> Store:
    return Store(f"memory://{secrets.token_hex(4)}/tiny", patience=0.2)


@pytest.fixture(autouse=True)
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url_store, "PAUSES", (0.01, 0.02))
    on("node-1", tmp_path, monkeypatch)


def on(node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on this process is on that node."""
    monkeypatch.setenv("PARETUNE_SCRATCH", str(tmp_path / node))


def carry_out(store: Store, config: TrialConfig, control: Control | None = None, claim: str = "a") -> Record:
    """As a slot's worker does."""
    place = RemoteWorkspace(store, config.trial_id(), claim, True, lambda: None)
    local = place.fetch(config)
    with place.uploading():
        record = run_trial(config, TrialContext(place.run), control or NoControl(), local_config=local)
    assert place.deliver(record) is None
    return record


def losses(store: Store, config: TrialConfig) -> list[dict[str, Any]]:
    curve = (store.read(f"trials/{config.trial_id()}/curve.jsonl") or b"").decode()
    return [json.loads(line) for line in curve.splitlines()]


@pytest.fixture
def config(tiny_model: Path, tmp_path: Path) -> TrialConfig:
    return make_config(tiny_model, write_rows(tmp_path / "rows.jsonl"), save_steps=2, steps=6)


def test_a_trials_files_are_all_at_the_url_and_none_stay_on_the_node(
    store: Store, config: TrialConfig
) -> None:
    record = carry_out(store, config)
    names = [name.split("/", 2)[2] for name in store.list(f"trials/{config.trial_id()}")]
    tops = {name.partition("/")[0] for name in names}
    steps = {f"checkpoint-{step}" for step in (2, 4, 6)}
    assert tops == {"record.json", "curve.jsonl", "predictions.parquet", "model", *steps}
    assert all(f"{step}/{COMPLETE}" in names for step in steps)
    written = store.read(f"trials/{config.trial_id()}/record.json")
    assert written is not None
    assert Record.model_validate_json(written) == record
    assert record.config == config.model_dump(mode="json")
    assert list((scratch.scratch_folder(store.url) / "trials").iterdir()) == []


def test_markers_come_after_their_checkpoint_and_the_record_after_everything(
    store: Store, config: TrialConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = Store.write

    def noting(self: Store, name: str, content: bytes) -> None:
        write(self, name, content)
        written.append(f"{self.url}/{name}".removeprefix(f"{store.url}/trials/{config.trial_id()}/"))

    monkeypatch.setattr(Store, "write", noting)
    carry_out(store, config)
    assert written[-1] == "record.json"
    for step in (2, 4, 6):
        marker = written.index(f"checkpoint-{step}/{COMPLETE}")
        files = [at for at, name in enumerate(written) if name.startswith(f"checkpoint-{step}/")]
        assert max(files) == marker
    first = written.index(f"checkpoint-2/{COMPLETE}")
    assert "curve.jsonl" in written[:first]


def test_a_trial_that_is_interrupted_on_one_node_resumes_on_another_with_the_same_curve(
    store: Store, config: TrialConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = Store(f"{store.url}-undisturbed")
    carry_out(undisturbed, config)
    assert carry_out(store, config, ScriptedControl(interrupt_at=3)).status == "interrupted"
    on("node-2", tmp_path, monkeypatch)
    assert carry_out(store, config, claim="b").status == "done"
    assert losses(store, config) == losses(undisturbed, config)


def test_the_best_weights_and_the_patience_go_along_to_another_node(
    store: Store, config: TrialConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The rate rises until training spoils what it has learned.
    rising = {"learning_rate": 3.0, "eval_steps": 1, "warmup_steps": 20, "scheduler": "constant"}
    rising |= {"early_stopping": {"patience": 2}, "keep": "best", "precision": "fp32", "save_steps": None}
    train = TrainConfig.model_validate({**config.train.model_dump(), **rising})
    config = config.model_copy(update={"train": train})
    undisturbed = Store(f"{store.url}-undisturbed")
    whole = carry_out(undisturbed, config)
    assert whole.kept_step is not None
    assert 1 < whole.kept_step < whole.steps  # type: ignore[operator]
    at = whole.kept_step + 1
    assert carry_out(store, config, ScriptedControl(interrupt_at=at)).status == "interrupted"
    on("node-2", tmp_path, monkeypatch)
    moved = carry_out(store, config, claim="b")
    for name in (
        "status",
        "steps",
        "kept_step",
        "best_step",
        "stop_reason",
        "objective",
        "quality",
        "metrics",
    ):
        assert getattr(moved, name) == getattr(whole, name)
    assert losses(store, config) == losses(undisturbed, config)
    weights = f"trials/{config.trial_id()}/model/adapter_model.safetensors"
    assert store.read(weights) == undisturbed.read(weights)


def test_what_answers_were_before_training_is_at_the_url_once_a_checkpoint_is(
    store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "trial"
    (folder / "checkpoint-2").mkdir(parents=True)
    (folder / "checkpoint-2" / COMPLETE).write_text("{}")
    (folder / LOGPROBS_BEFORE).write_text("[-1.0]")
    Uploader(store, folder).upload_new()
    assert (store.read(LOGPROBS_BEFORE), store.read(f"checkpoint-2/{COMPLETE}")) == (b"[-1.0]", b"{}")


def test_only_the_newest_complete_checkpoint_is_downloaded(store: Store, config: TrialConfig) -> None:
    trial = store.within(f"trials/{config.trial_id()}")
    for name in ("checkpoint-2/weights", f"checkpoint-2/{COMPLETE}", "checkpoint-4/weights", "model/weights"):
        trial.write(name, b"{}")
    trial.write(f"checkpoint-4/{COMPLETE}", b"{}")
    trial.write("checkpoint-10/weights", b"half of it")
    for name in ("curve.jsonl", LOGPROBS_BEFORE, "predictions.parquet"):
        trial.write(name, b"")
    place = RemoteWorkspace(store, config.trial_id(), "a", True, lambda: None)
    place.fetch(config)
    found = {str(path.relative_to(place.folder)) for path in place.folder.rglob("*") if path.is_file()}
    kept = {"curve.jsonl", LOGPROBS_BEFORE}
    assert found == {"checkpoint-4/weights", f"checkpoint-4/{COMPLETE}", ".fetched", *kept}


def test_a_newest_checkpoint_that_is_not_whole_is_passed_over(store: Store, config: TrialConfig) -> None:
    trial = store.within(f"trials/{config.trial_id()}")
    for step, size in ((2, 2), (4, 100)):
        trial.write(f"checkpoint-{step}/weights", b"{}")
        trial.write(f"checkpoint-{step}/{COMPLETE}", json.dumps({"files": {"weights": size}}).encode())
    place = RemoteWorkspace(store, config.trial_id(), "a", True, lambda: None)
    place.fetch(config)
    assert [path.name for path in place.folder.glob("checkpoint-*")] == ["checkpoint-2"]


def test_the_best_checkpoint_comes_along_and_one_whose_best_is_gone_is_passed_over(
    store: Store, config: TrialConfig
) -> None:
    trial = store.within(f"trials/{config.trial_id()}")
    for step, kept in ((2, 2), (4, 2), (6, 5)):
        trial.write(f"checkpoint-{step}/weights", b"{}")
        marker = {"kept_step": kept, "files": {"weights": 2}}
        trial.write(f"checkpoint-{step}/{COMPLETE}", json.dumps(marker).encode())
    place = RemoteWorkspace(store, config.trial_id(), "a", True, lambda: None)
    place.fetch(config)
    assert sorted(path.name for path in place.folder.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]


def test_a_full_local_disk_is_not_reported_as_a_failure_of_the_store(
    store: Store, config: TrialConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(f"trials/{config.trial_id()}/curve.jsonl", b"")

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    place = RemoteWorkspace(store, config.trial_id(), "a", True, lambda: None)
    monkeypatch.setattr(place.trial_store._fs, "get_file", full)
    with pytest.raises(OSError, match="No space left") as found:
        place.fetch(config)
    assert not isinstance(found.value, StorageError)


def test_workers_of_one_group_share_one_download_and_other_groups_do_not(
    store: Store, config: TrialConfig
) -> None:
    def place(claim: str, first: bool) -> RemoteWorkspace:
        return RemoteWorkspace(store, config.trial_id(), claim, first, lambda: None)

    (one := place("group 1", True)).fetch(config)
    (one.folder / "mine").touch()
    place("group 1", False).fetch(config)
    assert (one.folder / "mine").exists()
    place("group 2", True).fetch(config)
    assert not (one.folder / "mine").exists()


def test_results_that_cannot_be_uploaded_stay_on_the_node_and_the_error_says_where(
    store: Store, config: TrialConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = RemoteWorkspace(store, config.trial_id(), "a", True, lambda: None)
    place.fetch(config)
    record = end_trial(config, TrialContext(place.run), "done", "")

    def down(*arguments: Any) -> None:
        raise StorageError("s3://bucket: writing failed: 503")

    monkeypatch.setattr(Store, "push", down)
    message = place.deliver(record)
    assert message is not None
    assert "could not be written to memory://" in message
    assert f"they are in {place.folder} on " in message
    assert (place.folder / "record.json").exists()


def test_signs_of_life_are_given_during_downloads(
    store: Store, config: TrialConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "BEAT_SECONDS", 0.01)
    beats: list[int] = []
    RemoteWorkspace(store, config.trial_id(), "a", True, lambda: beats.append(1)).fetch(config)
    assert beats


class Measuring:
    def __init__(self) -> None:
        self.measured = 0

    def measure(self, config: TrialConfig) -> dict[str, Any]:
        self.measured += 1
        return {"peak_train_bytes": 7}


def test_memory_that_one_node_measured_is_not_measured_by_another(
    store: Store, config: TrialConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measuring = Measuring()
    records = []
    for node, seed in (("node-1", 0), ("node-2", 1)):
        on(node, tmp_path, monkeypatch)
        trial = config.model_copy(update={"train": config.train.model_copy(update={"seed": seed})})
        place = RemoteWorkspace(store, trial.trial_id(), "a", True, lambda: None)
        workdir = place.fetch(trial)
        records.append(
            run_trial(
                trial,
                TrialContext(place.run),
                memory_gauge=place.memory_gauge(measuring),
                local_config=workdir,
            )
        )
        assert place.deliver(records[-1]) is None
    assert measuring.measured == 1
    assert {record.memory_trial for record in records} == {records[0].trial_id}
    assert {record.peak_train_bytes for record in records} == {7}


# Checkpoints that come and go


def checkpoint(folder: Path, step: int, kept: int = 0) -> Path:
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "weights").write_text(str(step))
    (made / COMPLETE).write_text(json.dumps({"kept_step": kept}))
    return made


def test_a_checkpoint_that_the_trainer_removed_is_removed_from_the_url_once_a_newer_one_is_there(
    store: Store, tmp_path: Path
) -> None:
    uploads = Uploader(store, tmp_path)
    checkpoint(tmp_path, 2)
    uploads.upload_new()
    checkpoint(tmp_path, 4)
    shutil.rmtree(tmp_path / "checkpoint-2")
    uploads.upload_new()
    assert sorted(store.list()) == [f"checkpoint-4/{COMPLETE}", "checkpoint-4/weights"]


def test_a_checkpoint_stays_at_the_url_until_the_one_that_superseded_it_has_arrived(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = Uploader(store, tmp_path)
    checkpoint(tmp_path, 10, kept=10)
    push = Store.push

    def superseding(self: Store, folder: Path, names: Any) -> None:
        push(self, folder, names)
        if (tmp_path / "checkpoint-10").exists():
            checkpoint(tmp_path, 40, kept=40)
            shutil.rmtree(tmp_path / "checkpoint-10")

    monkeypatch.setattr(Store, "push", superseding)
    uploads.upload_new()
    assert workspace.checkpoints(store.list()) == ["checkpoint-10"]
    uploads.upload_new()
    assert workspace.checkpoints(store.list()) == ["checkpoint-40"]


def test_a_checkpoint_stays_at_the_url_while_the_newest_one_there_needs_it_beside(
    store: Store, tmp_path: Path
) -> None:
    uploads = Uploader(store, tmp_path)
    for step in (10, 20):
        checkpoint(tmp_path, step, kept=10)
    uploads.upload_new()
    for step in (10, 20):
        shutil.rmtree(tmp_path / f"checkpoint-{step}")
    uploads.upload_new()
    assert workspace.checkpoints(store.list()) == ["checkpoint-10", "checkpoint-20"]
    # One without its best weights at the URL is nothing to resume from.
    shutil.rmtree(checkpoint(tmp_path, 30, kept=30))
    checkpoint(tmp_path, 40, kept=30)
    uploads.upload_new()
    assert workspace.checkpoints(store.list()) == ["checkpoint-10", "checkpoint-20", "checkpoint-40"]
    checkpoint(tmp_path, 50, kept=50)
    shutil.rmtree(tmp_path / "checkpoint-40")
    uploads.upload_new()
    assert workspace.checkpoints(store.list()) == ["checkpoint-50"]


def test_a_checkpoint_that_is_removed_while_it_is_uploaded_arrives_whole(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = Uploader(store, tmp_path)
    made = checkpoint(tmp_path, 2)
    push = Store.push

    def removing(self: Store, folder: Path, names: Any) -> None:
        shutil.rmtree(made, ignore_errors=True)
        push(self, folder, names)

    monkeypatch.setattr(Store, "push", removing)
    monkeypatch.setattr(uploads, "_remove_deleted", lambda: None)
    uploads.upload_new()
    assert sorted(store.list()) == [f"checkpoint-2/{COMPLETE}", "checkpoint-2/weights"]


def test_what_could_not_be_uploaded_is_uploaded_the_next_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = Uploader(store, tmp_path)
    checkpoint(tmp_path, 2)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "push", lambda *arguments: (_ for _ in ()).throw(StorageError("down")))
        with pytest.raises(StorageError):
            uploads.upload_new()
    assert store.list() == {}
    uploads.upload_new()
    assert f"checkpoint-2/{COMPLETE}" in store.list()


def test_an_uploader_may_be_started_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploader, "POLL_SECONDS", 0.01)
    uploads = Uploader(store, tmp_path)
    for step in (2, 4):
        uploads.start()
        checkpoint(tmp_path, step)
        until = time.monotonic() + 5
        while f"checkpoint-{step}/{COMPLETE}" not in store.list() and time.monotonic() < until:
            time.sleep(0.01)
        uploads.stop()
        assert f"checkpoint-{step}/{COMPLETE}" in store.list()


def test_checkpoints_that_only_served_to_resume_are_removed_when_the_trial_ends(
    store: Store, tiny_model: Path, tmp_path: Path
) -> None:
    config = make_config(tiny_model, write_rows(tmp_path / "rows.jsonl"), steps=4)
    assert carry_out(store, config, ScriptedControl(interrupt_at=2)).status == "interrupted"
    trial = f"trials/{config.trial_id()}"
    assert workspace.checkpoints(store.within(trial).list()) == ["checkpoint-2"]
    carry_out(store, config, claim="b")
    assert workspace.checkpoints(store.within(trial).list()) == []


# Trials that continue from others


def test_a_trial_starts_from_what_another_node_has_trained_and_merged(
    store: Store, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl")
    before = make_config(tiny_model, rows, "lora")
    store.write(f"trials/{before.trial_id()}/config.json", before.model_dump_json().encode())
    carry_out(store, before)
    after = going_on(make_config(tiny_model, rows, "full"), before)
    record = carry_out(store, after)
    assert record.status == "done", record.error
    merged = store.list(f"merged/{before.trial_id()}")
    assert f"merged/{before.trial_id()}/model.safetensors" in merged

    on("node-2", tmp_path, monkeypatch)
    monkeypatch.setattr(
        "trainables.trial.starting_weights._merge", lambda *arguments: pytest.fail("merged again")
    )
    again = going_on(make_config(tiny_model, rows, "full", seed=1), before)
    assert carry_out(store, again).status == "done"


def going_on(config: TrialConfig, before: TrialConfig) -> TrialConfig:
    start = {"cell": "sft-lora", "trial": before.trial_id(), "folder": "/of/the/driver/model"}
    tree = config.model_dump(mode="json")
    return TrialConfig.model_validate({**tree, "model": {**tree["model"], "start": start}})
