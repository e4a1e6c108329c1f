"""The process of ``paretune ui``: its start, what it imports, its end, and that what it shows outlives it."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.helpers.paths import ROOT
from tests.helpers.small_ui_runs import write_runs
from tests.helpers.sweeps import PARETUNE
from tests.helpers.ui_children import is_alive, wait_for
from tests.helpers.ui_processes import Start, UiProcess

HTML = {"accept": "text/html"}
OWN = {"X-Paretune": "1"}


def cpu_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def own_cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def test_the_ui_is_ready_soon_and_prints_its_address_last(start: Start) -> None:
    ui = start()
    used, help_alone = own_cpu_seconds(ui.process.pid), cpu_seconds([*PARETUNE, "--help"])
    # On an idle machine the help takes well under a second.
    assert used < 3 * help_alone + 2.0
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{40,}\n", ui.lines[0])
    assert ui.browser.get("/", headers=HTML).status_code == 200
    ui.end(signal.SIGINT)
    assert ui.process.stdout is not None
    assert ui.process.stdout.read() == ""


def test_neither_torch_nor_ray_is_imported_however_many_pages_were_asked_for(
    start: Start, tmp_path: Path
) -> None:
    run = write_runs(tmp_path / "runs")
    seen = tmp_path / "modules.json"
    ui = start(program=[sys.executable, "-P", "-c", _witness(seen)])
    for path in all_pages(run.key, run.trial):
        answer = ui.browser.get(path, headers=HTML)
        assert answer.status_code in (200, 303, 400, 404, 503), (path, answer.text)
    wait_for(lambda: ui.browser.get(f"/runs/{run.key}", headers=HTML).status_code == 200)
    with ui.browser.stream("GET", f"/runs/{run.key}/events") as stream:
        assert next(stream.iter_lines()) == "event: state"
    rss = psutil.Process(ui.process.pid).memory_info().rss
    assert rss < 400 * 2**20, f"{rss / 2**20:.0f} MiB"
    ui.end(signal.SIGINT)
    imported = set(json.loads(seen.read_text()))
    assert "starlette" in imported
    assert not imported & {"torch", "ray", "transformers", "datasets", "peft", "trl", "matplotlib", "plotly"}


def test_what_only_some_pages_need_is_imported_after_the_ui_is_ready() -> None:
    program = "import sys, sweeps.ui.server, sweeps.ui.start; print(*{name.partition('.')[0] for name in sys.modules})"
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "starlette" in found.stdout.split()
    assert not {"pyarrow", "numpy", "fsspec", "optuna"} & set(found.stdout.split())


def _witness(seen: Path) -> str:
    """The command, which at its end leaves the names of what it has imported."""
    return (
        "import atexit, json, pathlib, sys\n"
        f"place = pathlib.Path({str(seen)!r})\n"
        "names = lambda: sorted({name.partition('.')[0] for name in sys.modules})\n"
        "atexit.register(lambda: place.write_text(json.dumps(names())))\n"
        "sys.argv[:1] = ['paretune', 'ui']\n"
        "from sweeps.cli import main\nmain()\n"
    )


def all_pages(key: str, trial: str) -> list[str]:
    """The addresses of every page and of its data, but not of streams."""
    from sweeps.cli import app as commands
    from sweeps.ui.server import application
    from sweeps.ui.settings import UiSettings
    from sweeps.ui.start import new_ui

    app = application(new_ui(UiSettings((), Path()), commands))
    names = {"key": key, "run": key, "trial": trial}
    paths = [
        re.sub(r"\{(\w+)[^}]*\}", lambda match: names.get(match[1], "x"), route.path)
        for route in app.routes
        if "GET" in (getattr(route, "methods", None) or ())
    ]
    return [path for path in paths if not path.endswith(("/events", "/unavailable"))] + [
        f"/compare?run={key}&run={key}"
    ]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_ui_ends_within_seconds_though_pages_are_open(start: Start, tmp_path: Path, how: int) -> None:
    run = write_runs(tmp_path / "runs")
    ui = start()
    with ExitStack() as stack:
        for path in ("/events", "/jobs/events", f"/runs/{run.key}/events"):
            stream = stack.enter_context(ui.browser.stream("GET", path))
            assert next(stream.iter_lines()).startswith("event:")
        assert ui.end(how) < 15  # five seconds on a machine that does nothing else


def test_a_job_goes_on_without_the_ui_and_the_next_ui_shows_it(start: Start, tmp_path: Path) -> None:
    ui = start()
    child = "import time; print('begun', flush=True); time.sleep(600)"
    job = start_job(tmp_path, child)
    ui.end(signal.SIGKILL)
    assert is_alive(job["pid"])
    again = start()
    try:
        text = again.browser.get(f"/jobs/{job['id']}", headers=HTML).text
        assert "a title of a job" in text
        with again.browser.stream("GET", f"/jobs/{job['id']}/events") as stream:
            lines = stream.iter_lines()
            assert any('"state":"running"' in next(lines) for _ in range(10))
        assert again.browser.post(f"/jobs/{job['id']}/cancel", json={}, headers=OWN).status_code == 200
        wait_for(lambda: not is_alive(job["pid"]))
    finally:
        if is_alive(job["pid"]):
            os.kill(job["pid"], signal.SIGKILL)


def start_job(tmp_path: Path, child: str) -> dict[str, Any]:
    """A job as a UI starts it, by another process, which then ends."""
    program = (
        "import json, sys, time\nfrom pathlib import Path\nfrom sweeps.ui.children import jobs\n"
        "jobs.command_line = lambda argv: [sys.executable, '-c', *argv]\n"
        f"job = jobs.Jobs().start('try', [{child!r}], Path({str(tmp_path)!r}), title='a title of a job')\n"
        "while 'wrapper' not in (job.folder.processes or {}): time.sleep(0.05)\n"
        "print(json.dumps({'id': job.id, 'pid': job.folder.processes['wrapper']['pid']}))\n"
    )
    environment = {**os.environ, "PARETUNE_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_ui_that_was_killed_shows_the_same_pages_after_a_restart(start: Start, tmp_path: Path) -> None:
    run = write_runs(tmp_path / "runs")
    shown = []
    for _ in range(2):
        ui = start()
        wait_for(partial(has_rows, ui, f"/runs/{run.key}/events"))
        shown.append([state(ui, "/events"), state(ui, f"/runs/{run.key}/events")])
        ui.end(signal.SIGKILL)
    first, second = map(without_times, shown)
    assert first[0] == second[0]
    assert [key for key in first[1] if first[1][key] != second[1].get(key)] == []


def has_rows(ui: UiProcess, path: str) -> bool:
    return bool(state(ui, path).get("rows"))


def state(ui: UiProcess, path: str) -> Any:
    """The first state that a stream sends."""
    with ui.browser.stream("GET", path) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: state"
        return json.loads(next(lines).removeprefix("data: "))


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key not in ("as_of", "age")}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def test_a_taken_port_is_named(start: Start, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*PARETUNE, "ui", "--port", port, "--no-browser"], capture_output=True, text=True, cwd=tmp_path
        )
    assert done.returncode == 2
    assert f"port {port} is taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_others_are_admitted_by_a_key_alone(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PARETUNE_UI_KEY"}
    for host in ("0.0.0.0", "::"):
        done = subprocess.run(
            [*PARETUNE, "ui", "--host", host, "--port", "0", "--no-browser"],
            capture_output=True, text=True, cwd=tmp_path, env=environment,
        )  # fmt: skip
        assert done.returncode == 2
        assert "PARETUNE_UI_KEY" in done.stderr


def test_two_uis_of_one_machine_have_each_its_own_session(start: Start) -> None:
    first, second = start(), start()
    assert first.url != second.url
    names = {next(iter(ui.browser.cookies.keys())) for ui in (first, second)}
    assert len(names) == 2
    assert second.browser.get("/", headers=HTML, cookies=dict(first.browser.cookies)).status_code == 200
    with httpx.Client(base_url=second.url, cookies=dict(first.browser.cookies)) as stranger:
        assert stranger.get("/", headers=HTML).status_code == 303


def test_a_key_is_seen_in_no_list_of_processes(start: Start) -> None:
    ui = start(PARETUNE_UI_KEY="a key that nobody should see")
    assert "nobody" not in " ".join(psutil.Process(ui.process.pid).cmdline())
    with httpx.Client(base_url=ui.url) as other:
        key = {"key": "a key that nobody should see"}
        assert other.post("/sign-in/key", json=key, headers=OWN).status_code == 200
        assert other.get("/", headers=HTML).status_code == 200
