"""The driver's copy of a run at a URL: what is pushed and when, what is pulled, and what another driver gets."""

from __future__ import annotations

import secrets
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.runs import mirror as mirrors
from sweeps.runs.mirror import Mirror
from trainables.storage.url_store import StorageError, Store


@pytest.fixture
def store() -> Store:
    return Store(f"memory://{secrets.token_hex(4)}/tiny", patience=0.2)


@pytest.fixture
def mirror(store: Store, tmp_path: Path) -> Mirror:
    (tmp_path / "tiny").mkdir()
    return Mirror(store, tmp_path / "tiny")


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_a_trial_is_known_at_the_url_before_it_starts_and_its_study_before_that(
    mirror: Mirror, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    push = Store.push
    monkeypatch.setattr(
        Store, "push", lambda self, folder, names: order.extend(names) or push(self, folder, names)
    )
    write(mirror.folder, "trials/a/config.json", "environment.json", "study-sft-lora.journal", "starts.json")
    mirror.begin("a")
    assert set(order[:2]) == {"study-sft-lora.journal", "starts.json"}
    assert order[2:] == ["trials/a/config.json", "environment.json"]


def test_what_has_not_changed_is_not_pushed_again(mirror: Mirror, store: Store) -> None:
    write(mirror.folder, "spec.yaml", "sweep.log")
    mirror.push()
    store.remove(["spec.yaml", "sweep.log"])
    (mirror.folder / "sweep.log").write_text("another line")
    mirror.push()
    assert list(store.list()) == ["sweep.log"]


def test_what_processes_keep_for_themselves_stays_here(mirror: Mirror, store: Store) -> None:
    write(
        mirror.folder,
        ".lock",
        ".stop",
        ".ray/tune/state",
        "study-a.journal.lock",
        ".x.tmp",
        "wandb/own/a",
        "swanlab/own/a",
        "ok",
    )
    mirror.push(last=True)
    assert list(store.list()) == ["ok"]


def test_the_files_of_an_ended_trial_are_pulled_except_its_model_and_checkpoints(
    mirror: Mirror, store: Store
) -> None:
    for name in (
        "record.json",
        "curve.jsonl",
        "predictions.parquet",
        "model/weights",
        "checkpoint-2/weights",
    ):
        store.write(f"trials/a/{name}", b"{}")
    mirror.end("a")
    workdir = {path.name for path in mirror.folder.rglob("*") if path.is_file()}
    assert workdir == {"record.json", "curve.jsonl", "predictions.parquet"}
    store.remove(["trials/a/record.json"])
    mirror.push(last=True)
    assert store.read("trials/a/record.json") is None  # what came from there isn't sent back


def test_another_driver_finds_what_it_needs_to_resume_and_no_old_files(mirror: Mirror, store: Store) -> None:
    write(mirror.folder, "spec.yaml", "trials/gone/config.json")
    needed = (
        "environment.json",
        "study-a.journal",
        "starts.json",
        "trials/a/record.json",
        "wandb/sent/a",
        "mlflow/sent/a",
    )
    heavy = (
        "trials/a/model/weights",
        "trials/a/checkpoint-2/complete.json",
        "merged/a/x",
        "wandb/run/a",
        "tensorboard/a/x",
    )
    for name in (*needed, *heavy, ".lock", "given/h/x", "given.json"):
        store.write(name, b"{}")
    mirror.fetch()
    workdir = {str(path.relative_to(mirror.folder)) for path in mirror.folder.rglob("*") if path.is_file()}
    assert workdir == {*needed, "given.json"}


def test_curves_of_trials_in_training_are_followed(
    mirror: Mirror, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "SYNC_SECONDS", 0.01)
    monkeypatch.setattr(mirrors, "CURVES_SECONDS", 0.01)
    store.write("trials/a/curve.jsonl", b"1\n")
    mirror.begin("a")
    with mirror.following():
        wait(lambda: (mirror.folder / "trials/a/curve.jsonl").exists())
        store.write("trials/a/curve.jsonl", b"1\n2\n")
        wait(lambda: (mirror.folder / "trials/a/curve.jsonl").read_text() == "1\n2\n")


def test_a_stop_request_reaches_the_driver_where_it_looks_for_it(
    mirror: Mirror, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeps.runs import layout, lock

    monkeypatch.setattr(mirrors, "SYNC_SECONDS", 0.01)
    with mirror.following():
        store.write(layout.STOP, b"")
        wait(lambda: lock.stop_requested(mirror.folder))


def test_what_is_asked_of_single_trials_reaches_the_driver_and_the_one_after_it(
    mirror: Mirror, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "SYNC_SECONDS", 0.01)
    with mirror.following():
        store.write("requests/stop-a.json", b"{}")
        wait(lambda: (mirror.folder / "requests/stop-a.json").exists())
    mirror.fetch()
    assert (mirror.folder / "requests/stop-a.json").read_text() == "{}"


def test_whoever_has_lost_the_run_writes_nothing_more(mirror: Mirror, store: Store) -> None:
    mirror.close()
    write(mirror.folder, "spec.yaml")
    with mirror.following():
        pass
    assert store.list() == {}


def test_the_record_of_a_trial_that_could_not_write_it_comes_by_the_way_of_the_search(
    mirror: Mirror, store: Store
) -> None:
    from tests.helpers.run_folders import record

    lost = record("aaa", status="failed", error="its results could not be written")
    mirror.end("aaa", lost.model_dump_json())
    mirror.push()
    assert b"could not be written" in (store.read("trials/aaa/record.json") or b"")


def test_wandb_runs_are_marked_as_sent_only_once_they_are_at_the_url(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr(Store, "push", lambda self, folder, names: order.extend(names))
    write(mirror.folder, "wandb/sent/a", "wandb/offline-run-1/run.wandb", "spec.yaml")
    mirror.push(last=True)
    assert order == ["spec.yaml", "wandb/offline-run-1/run.wandb", "wandb/sent/a"]


def test_files_that_vanish_while_they_are_listed_are_no_fault(mirror: Mirror) -> None:
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            write(mirror.folder, "report/a.html")
            (mirror.folder / "report/a.html").unlink()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    for _ in range(20):
        try:
            mirror.push()
        except FileNotFoundError:
            continue  # the next look finds it gone
    over.set()
    thread.join()


# A store that fails for long


@pytest.fixture
def asked_to_end() -> Iterator[list[int]]:
    """What a sweep's own handler would have heard."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    yield heard
    signal.signal(signal.SIGTERM, before)


def down(*arguments: object, **options: object) -> None:
    raise StorageError("s3://bucket/tiny: writing failed: 503")


def test_a_trial_does_not_start_and_the_sweep_ends_where_nothing_can_be_written(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, asked_to_end: list[int]
) -> None:
    write(mirror.folder, "trials/a/config.json")
    monkeypatch.setattr(Store, "push", down)
    assert not mirror.begin("a")
    assert asked_to_end == [signal.SIGTERM]
    assert "503" in str(mirror.failure)


def test_a_trial_whose_results_cannot_be_pulled_has_not_failed(
    mirror: Mirror, store: Store, monkeypatch: pytest.MonkeyPatch, asked_to_end: list[int]
) -> None:
    store.write("trials/a/record.json", b"{}")
    with monkeypatch.context() as patch:
        patch.setattr(Store, "list", down)
        assert not mirror.end("a")
    assert asked_to_end
    mirror.restart()
    assert mirror.failure is None
    assert (mirror.folder / "trials/a/record.json").exists()


def test_after_a_long_outage_the_last_push_is_not_waited_for_as_long_again(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, asked_to_end: list[int]
) -> None:
    monkeypatch.setattr(Store, "push", down)
    write(mirror.folder, "a")
    with mirror.following():
        mirror.begin("a")
    assert mirror.store.patience == mirrors.LAST_SECONDS


def test_a_failing_store_is_reported_now_and_then(mirror: Mirror, store: Store) -> None:
    messages: list[str] = []
    mirror.report_outages(messages.append)
    for _ in range(3):
        mirror.store._report("s3://bucket/tiny: writing a failed: 503; it is tried again")
    assert messages == ["s3://bucket/tiny: writing a failed: 503; it is tried again"]


def test_a_log_that_a_driver_of_its_own_is_writing_stays(mirror: Mirror, store: Store) -> None:
    store.write("driver.log", b"older")
    write(mirror.folder, "driver.log")
    mirror.fetch()
    assert (mirror.folder / "driver.log").read_text() == "driver.log"


def wait(condition: object, seconds: float = 5) -> None:
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.01)
