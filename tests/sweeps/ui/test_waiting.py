"""Whoever waits for a slow disk or a long computation holds no thread that another page needs."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from sweeps.ui import run_index
from sweeps.ui.pages import home, run_lookup
from sweeps.ui.pages.run_lookup import followed_run, read_run
from sweeps.ui.server import THREADS
from sweeps.ui.snapshots.computed import Failed, json_of
from sweeps.ui.snapshots.store import SnapshotStore
from tests.helpers.small_ui_runs import write_runs
from tests.sweeps.ui.conftest import UiUnderTest


async def with_one_thread(waiting: list[Any]) -> None:
    """Has what waits begin, and asks for a thread while it does."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    tasks = [asyncio.create_task(each) for each in waiting]
    await asyncio.sleep(0.2)
    await asyncio.wait_for(asyncio.to_thread(lambda: None), 5.0)
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def request_for(ui: UiUnderTest, key: str) -> Request:
    scope = {
        "type": "http",
        "method": "GET",
        "headers": [],
        "app": ui.client.app,
        "path_params": {"key": key},
    }
    return Request(scope)


def test_first_reads_that_are_waited_for_hold_no_thread(
    ui: UiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, go_on = write_runs(ui.runs), threading.Event()
    monkeypatch.setattr(SnapshotStore, "_read", lambda *_: go_on.wait(60))
    try:
        asyncio.run(with_one_thread([read_run(request_for(ui, run.key)) for _ in range(6)]))
    finally:
        go_on.set()


def shown_at_home(ui: UiUnderTest) -> tuple[list[str], bool]:
    """The keys of the runs in the first event of home, and whether folders are still being read."""

    async def first() -> str:
        async for text in (await home.events(request_for(ui, ""))).body_iterator:
            return str(text)
        raise AssertionError("home sent nothing")

    state = json.loads(asyncio.run(first()).partition("data: ")[2])
    return [each["key"] for each in state["runs"]], state["is_reading"]


def test_a_run_in_a_folder_whose_first_look_takes_long_is_waited_for_and_home_says_that_it_reads(
    ui: UiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, go_on, look = write_runs(ui.runs), threading.Event(), run_index._runs_in
    monkeypatch.setattr(run_index, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(run_index, "_runs_in", lambda root: look(root) if go_on.wait(60) else iter(()))
    monkeypatch.setattr(run_lookup, "ROOTS_SECONDS", 0.3)
    assert shown_at_home(ui) == ([], True)
    early = ui.client.get(f"/runs/{run.key}")
    assert early.status_code == 503
    assert "still being read" in early.text
    monkeypatch.setattr(run_lookup, "ROOTS_SECONDS", 30.0)
    threading.Timer(1.0, go_on.set).start()
    assert ui.client.get(f"/runs/{run.key}").status_code == 200
    assert shown_at_home(ui) == ([run.key], False)
    assert ui.client.get(f"/runs/{'0' * 12}").status_code == 404


def test_a_wait_for_the_first_look_holds_no_thread(ui: UiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(run_index, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(run_index, "FORCED_SECONDS", 0.0)
    monkeypatch.setattr(run_index, "_runs_in", lambda root: iter(list[run_index.RunEntry]() * go_on.wait(60)))
    try:
        asyncio.run(with_one_thread([followed_run(request_for(ui, "0" * 12)) for _ in range(6)]))
    finally:
        go_on.set()


def test_computations_that_are_waited_for_hold_no_thread_and_end_with_the_waiting(tmp_path: Path) -> None:
    script = "import pathlib, sys, time; time.sleep(4); pathlib.Path(sys.argv[1]).write_text('late')"
    late = tmp_path / "late"
    asyncio.run(with_one_thread([json_of(["-c", script, str(late)])]))
    time.sleep(4.5)
    assert not late.exists()


def test_a_computation_that_takes_too_long_is_ended() -> None:
    with pytest.raises(Failed, match="more than 0 s"):
        asyncio.run(json_of(["-c", "import time; time.sleep(60)"], 0.2))


def test_the_server_has_threads_for_all_pages_on_a_machine_of_any_size(ui: UiUnderTest) -> None:
    async def workers() -> int:
        await asyncio.to_thread(lambda: None)
        return int(asyncio.get_running_loop()._default_executor._max_workers)  # type: ignore[attr-defined]

    portal = ui.client.portal
    assert portal is not None
    assert portal.call(workers) == THREADS
