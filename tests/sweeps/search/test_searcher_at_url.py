"""A search whose run is at a URL: trials are known there before they start, and none is lost on the way."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.tune.search import Searcher

from sweeps.runs.mirror import Mirror
from sweeps.search.searcher import CellSearch
from tests.helpers.searches import search_of
from tests.helpers.specs import plan, spec_folder
from trainables import results
from trainables.results import Record
from trainables.storage.url_store import StorageError, Store
from trainables.trial.config import TrialConfig


@pytest.fixture
def search(tmp_path: Path) -> Iterator[CellSearch]:
    (tmp_path / "run").mkdir()
    mirror = Mirror(Store(f"memory://{secrets.token_hex(4)}/run", patience=0.2), tmp_path / "run")
    made = search_of(plan(spec_folder(tmp_path)), tmp_path / "run", mirror=mirror)

    def leave(number: int, frame: object) -> None:
        made.shutdown.request()

    before = signal.signal(signal.SIGTERM, leave)
    yield made
    signal.signal(signal.SIGTERM, before)


def store_of(search: CellSearch) -> Store:
    assert search.mirror.store is not None
    return search.mirror.store


def record_of(search: CellSearch, trial: str, **facts: object) -> Record:
    config = TrialConfig.model_validate_json((search.work.run / "trials" / trial / "config.json").read_text())
    return Record.model_validate({**config.identity(), "status": "done", "objective": 0.5, **facts})


def test_a_trial_and_its_study_are_at_the_url_before_it_starts(search: CellSearch) -> None:
    for number in range(3):
        trial = search.suggest(f"tune-{number}")["trial_id"]
        assert f"trials/{trial}/config.json" in store_of(search).list()
    assert trial in (store_of(search).read("study-sft-lora.journal") or b"").decode()


def test_the_results_of_an_ended_trial_are_pulled_before_its_study_stores_them(search: CellSearch) -> None:
    for number in range(2):
        trial = search.suggest(f"tune-{number}")["trial_id"]
    record = record_of(search, trial)
    store_of(search).write(f"trials/{trial}/record.json", record.model_dump_json().encode())
    search.on_trial_complete("tune-1", {"done": True})
    assert search.work.studies["sft-full"].study.best_value == 0.5


def test_a_trial_whose_results_were_lost_on_the_way_is_run_once_more_and_then_is_a_row(
    search: CellSearch,
) -> None:
    trial = search.suggest("tune-0")["trial_id"]
    lost = record_of(
        search, trial, status="failed", error="its results could not be written"
    ).model_dump_json()
    search.on_trial_complete("tune-0", {"lost": lost})
    assert results.read_record(search.work.run / "trials" / trial) is None
    assert search.suggest("tune-1")["trial_id"] == trial
    search.on_trial_complete("tune-1", {"lost": lost})
    found = results.read_record(search.work.run / "trials" / trial)
    assert found is not None
    assert found.error == "its results could not be written"
    assert search.suggest("tune-2")["trial_id"] != trial


def test_nothing_is_proposed_that_the_url_cannot_know_of(
    search: CellSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*arguments: object) -> None:
        raise StorageError("503")

    monkeypatch.setattr(Store, "push", down)
    assert search.suggest("tune-0") == Searcher.FINISHED
    assert search.shutdown.requested
    assert search.work.any_remaining()
