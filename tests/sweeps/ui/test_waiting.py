"""Whoever waits for a slow disk or a long computation holds no thread that another page needs."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from sweeps.ui.pages.run_lookup import read_run
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


def test_first_reads_that_are_waited_for_hold_no_thread(
    ui: UiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, go_on = write_runs(ui.runs), threading.Event()
    monkeypatch.setattr(SnapshotStore, "_read", lambda *_: go_on.wait(60))
    scope = {
        "type": "http",
        "method": "GET",
        "headers": [],
        "app": ui.client.app,
        "path_params": {"key": run.key},
    }
    try:
        asyncio.run(with_one_thread([read_run(Request(scope)) for _ in range(6)]))
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
