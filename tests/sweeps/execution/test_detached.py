"""Sweeps that outlive the terminal they were started from: as processes of their own, and as jobs of a cluster."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import shlex
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from sweeps.cli import app
from sweeps.execution.detached import run_request, start
from sweeps.execution.detached.driver import DriverNotStarted
from sweeps.execution.detached.run_request import RunRequest, forwarded
from sweeps.execution.run_options import RunOptions
from sweeps.runs import lock, logs, status
from sweeps.runs.layout import DRIVER, LOG, waiting_requests
from sweeps.spec.problems import SpecError
from tests.helpers import specs
from tests.helpers.clusters import Cluster
from tests.helpers.sweeps import PARETUNE, SMALL, Command, Home, finished, paretune, write_spec
from trainables import results

SECRET = "k" * 40


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    # Short: Ray's sockets are in there.
    temporary = Path(tempfile.mkdtemp(prefix="pt-", dir="/tmp"))
    yield Home(tmp_path / "home", temporary)
    shutil.rmtree(temporary, ignore_errors=True)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a spec that can be planned."""
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(specs.spec_folder(tmp_path))
    (tmp_path / "spec.yaml").write_text(specs.SPEC)
    return tmp_path


def command_output(*arguments: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == code, done.output
    return done.output


def until(condition: Callable[[], Any], seconds: float, what: Callable[[], str]) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, what()
        time.sleep(0.1)
    return found


def log(run: Path) -> str:
    return (run / LOG).read_text() if (run / LOG).exists() else ""


def ended(run: Path, seconds: float = 400) -> int:
    """The exit code of a run's newest driver."""
    until(lambda: lock.holder(run) is None and "ended with code" in log(run), seconds, lambda: log(run))
    return int(re.findall(r"ended with code (\d+)", log(run))[-1])


def driver(run: Path) -> psutil.Process:
    """The process that holds a run."""
    words = (lock.holder(run) or "").split()
    assert words[:1] == ["process"], words
    return psutil.Process(int(words[1]))


# What is wrong is said at once


def test_an_error_of_the_spec_is_shown_in_the_foreground_and_nothing_is_written(workdir: Path) -> None:
    (workdir / "spec.yaml").write_text(specs.SPEC.replace("rank:", "rnak:"))
    assert "spec.yaml:7 methods[1].rnak: " in command_output("run", "spec.yaml", "--detach", code=2)
    assert not (workdir / "runs").exists()


def test_a_run_that_somebody_holds_is_not_begun_a_second_time(workdir: Path) -> None:
    with lock.held(workdir / "runs" / "tiny"):
        assert "another run holds it: process " in command_output("run", "spec.yaml", "--detach", code=2)


def test_a_run_that_exists_names_resume_and_one_of_another_spec_is_refused(workdir: Path) -> None:
    (workdir / "runs" / "tiny").mkdir(parents=True)
    (workdir / "runs" / "tiny" / "environment.json").write_text('{"plan": {"fingerprint": "another"}}')
    assert "--resume" in command_output("run", "spec.yaml", "--detach", code=2)
    assert "the spec is not the one" in command_output("run", "spec.yaml", "--detach", "--resume", code=2)


def orders(workdir: Path, **changes: Any) -> RunRequest:
    given: dict[str, Any] = {"file": workdir / "spec.yaml", "text": specs.SPEC, "sets": ()}
    given |= {"options": RunOptions("runs"), "command": (), "environment": {}}
    return RunRequest(**given | changes)


def test_a_driver_that_ends_before_it_has_the_run_gives_its_words_and_its_code(workdir: Path) -> None:
    broken = orders(workdir, text=specs.SPEC.replace("rank:", "rnak:"))
    with pytest.raises(DriverNotStarted, match=r"spec.yaml:7 methods\[1\].rnak: ") as error:
        start.start_driver(workdir / "run", broken)
    assert error.value.code == 2
    assert {path.name for path in (workdir / "run").iterdir()} == {LOG, DRIVER}
    assert command_output("logs", workdir / "run").splitlines()[-1] == "ended with code 2"


# What it is asked for


def test_a_request_is_for_its_owner_alone_and_is_taken_once(workdir: Path) -> None:
    made = orders(workdir, sets=("search.trials=2",), environment={"WANDB_API_KEY": SECRET})
    run = workdir / "run"
    run.mkdir()
    path = made.write(run)
    assert list(run.iterdir()) == []  # a run folder is shared, and copied
    assert path.parent == workdir
    with pytest.raises(FileExistsError):  # whoever put a file there would read the keys
        made.write(run)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert RunRequest.take(str(path)) == made
    assert not path.exists()
    with pytest.raises(SpecError, match="there is nothing to execute"):
        RunRequest.take(str(path))


@pytest.mark.parametrize("obstacle", ["no rights", "a long name"])
def test_a_request_lies_in_the_run_folder_where_no_file_can_be_made_beside_it(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    made = orders(workdir, environment={"WANDB_API_KEY": SECRET})
    run = workdir / ("run" * 80 if obstacle == "a long name" else "run")
    run.mkdir()
    opened = os.open

    def without_rights(path: Path, *arguments: Any) -> int:
        if path.parent == workdir:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *arguments)

    if obstacle == "no rights":
        monkeypatch.setattr(run_request.os, "open", without_rights)
    path = made.write(run)
    monkeypatch.undo()
    assert path.parent == run
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert waiting_requests(run) == [path]
    assert RunRequest.take(str(path)) == made
    assert list(run.iterdir()) == []


def test_a_request_that_cannot_be_removed_is_not_executed(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = orders(workdir).write(workdir / "run")

    def unlink(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(SpecError, match=f"can't take its request from {path}"):
        RunRequest.take(str(path))


def test_a_request_of_a_run_whose_name_continues_another_ones_is_its_own(workdir: Path) -> None:
    runs = [workdir / name for name in ("a", "a.request-b", "a.request-0a1b2c3d.json")]
    requests = []
    for run in runs:
        run.mkdir()
        requests.append([orders(workdir).write(run)])
    assert [waiting_requests(run) for run in runs] == requests


def test_a_driver_on_this_machine_is_given_its_request_by_no_file(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it is killed, no key stays in the run folder."""
    (workdir / "run").mkdir()
    read, written = os.pipe()
    code = f"import sys, os; os.write({written}, sys.stdin.buffer.read())"
    popen = start.subprocess.Popen
    monkeypatch.setattr(
        start.subprocess,
        "Popen",
        lambda words, **options: popen([sys.executable, "-c", code], **options, pass_fds=[written]),
    )
    made = orders(workdir, text="x" * 10, environment={"WANDB_API_KEY": SECRET})
    with start._driver(workdir / "run", made) as driver:
        received = os.read(read, 65536)
        assert RunRequest.model_validate_json(received) == made
        until(lambda: driver.exit_code() == 0, 20, lambda: "it did not end")
    os.close(read)
    os.close(written)
    assert {path.name for path in (workdir / "run").iterdir()} == {LOG, DRIVER}


@pytest.mark.parametrize(
    "name",
    [
        ".run.request-0a1b2c3d.json",
        *(
            f"run/{each}"
            for each in (".request-0a1b2c3d.json", ".orders-0a1b2c3d.json", ".begun-0a1b2c3d", DRIVER)
        ),
    ],
)
def test_what_a_killed_start_of_a_driver_left_is_removed_once_a_process_holds_the_run(
    workdir: Path, name: str
) -> None:
    left = workdir / name
    (workdir / "run").mkdir()
    left.write_text(SECRET)
    of_another = workdir / ".run-2.request-0a1b2c3d.json"
    of_another.touch()
    with lock.held(workdir / "run"):
        assert not left.exists()
    assert of_another.exists()


def test_a_refused_driver_removes_nothing_of_the_one_that_holds_the_run(workdir: Path) -> None:
    with lock.held(workdir / "run"):
        begun = workdir / "run" / ".begun-0a1b2c3d"
        begun.touch()
        with pytest.raises(SpecError, match="another run holds it"), lock.held(workdir / "run"):
            pass
        assert begun.exists()


def test_a_spec_that_changes_after_it_was_asked_for_changes_nothing(workdir: Path) -> None:
    from sweeps.planning.plan import make

    asked = orders(workdir, sets=("search.trials=2",))
    before = make(asked.spec())
    assert not before.errors  # relative paths are found, though the text is not read from there
    (workdir / "spec.yaml").unlink()
    assert make(asked.spec()).fingerprint() == before.fingerprint()
    assert [cell.trials for cell in before.cells] == [2, 2]


def test_only_what_is_ones_own_goes_along_to_another_machine() -> None:
    mine = {"PARETUNE_HOME": "/shared", "WANDB_API_KEY": SECRET, "HF_TOKEN": SECRET}
    assert forwarded({**mine, "PATH": "/bin", "HOME": "/root", "RAY_AUTH_TOKEN": SECRET}) == mine


def test_a_driver_is_as_if_it_had_been_started_by_what_was_typed(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["paretune", "drive", "orders"])
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    orders(workdir, command=("run", "spec.yaml"), environment={"WANDB_API_KEY": SECRET}).apply_to_process()
    assert sys.argv == ["paretune", "run", "spec.yaml"]
    assert os.environ.pop("WANDB_API_KEY") == SECRET


def test_a_log_shows_the_sweeps_lines_once_and_then_what_else_the_driver_printed(tmp_path: Path) -> None:
    (tmp_path / "sweep.log").write_text("10:00:00 tiny: 4 trials\nray: one\n")
    (tmp_path / LOG).write_text("warning: x\n10:00:00 tiny: 4 trials\nTraceback\nended with code 1\n")
    reported = ["10:00:00 tiny: 4 trials", "ray: one", "warning: x", "Traceback", "ended with code 1"]
    assert list(logs.log_lines(tmp_path, None)) == reported


# On this machine


def in_a_terminal(home: Home, *arguments: str | Path) -> tuple[str, float]:
    """What a command says in a shell in a terminal, and its seconds; shell and terminal are then killed."""
    line = shlex.join([*PARETUNE, *map(str, arguments)])
    leader, terminal = pty.fork()
    if leader == 0:
        os.execve("/bin/bash", ["bash", "--norc"], home.environment(WANDB_API_KEY=SECRET))
    started, text = time.monotonic(), b""
    os.write(terminal, f"{line}; echo returned: $?\n".encode())
    while not re.search(rb"returned: \d", text):
        text += os.read(terminal, 4096)
        assert time.monotonic() - started < 300, text
    os.kill(leader, signal.SIGKILL)
    os.close(terminal)
    os.waitpid(leader, 0)
    return text.decode(), time.monotonic() - started


def shown(process: psutil.Process) -> Iterator[str]:
    """What every user of this machine sees of a process and those that it started."""
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):
            yield from each.cmdline()


@pytest.mark.sweep
def test_a_detached_sweep_outlives_its_terminal_and_the_shell_in_it(
    home: Home, tmp_path: Path, tiny_model: Path
) -> None:
    spec = write_spec(tmp_path / "spec", tiny_model, SMALL.replace("trials: 3", "trials: 1"))
    run = tmp_path / "runs" / "tiny"
    home.folder.mkdir()
    text, _ = in_a_terminal(home, "run", spec, "--output", run.parent, "--detach")
    assert "returned: 0" in text
    mine = driver(run)
    assert f"tiny runs as process {mine.pid} on " in text
    assert all(f"paretune {command} {run}" in text for command in ("status", "logs", "stop"))
    assert (os.getsid(mine.pid), mine.terminal()) == (mine.pid, None)
    assert "running: process " in command_output("status", run)
    assert mine.environ()["WANDB_API_KEY"] == SECRET
    assert not [word for word in shown(mine) if SECRET in word]
    assert ended(run) == 0
    assert {record.status for record in finished(run).values()} == {"done"}
    assert log(run).splitlines()[-2:] == [f"{run}/report/index.html", "ended with code 0"]
    assert not list(run.glob(".orders-*"))
    command = json.loads((run / "environment.json").read_text())["command"]
    assert command == f"paretune run {spec} --output {run.parent} --detach"


@pytest.mark.slow
@pytest.mark.sweep
def test_the_run_of_a_killed_detached_driver_can_be_resumed_and_stopped(
    home: Home, tmp_path: Path, tiny_model: Path
) -> None:
    spec = write_spec(tmp_path / "spec", tiny_model, SMALL)
    run = tmp_path / "runs" / "tiny"
    asked = ("run", spec, "--output", run.parent, "--detach")
    goes_on_after_kill_and_stop(run, lambda *more: paretune(home, *asked, *more))


def goes_on_after_kill_and_stop(run: Path, begin: Callable[..., Command]) -> None:
    """A run whose driver is killed, then stopped, and then has its way."""
    first = begin()
    assert first.process.returncode == 0, first.stderr
    until(lambda: finished(run), 120, lambda: log(run))
    mine = driver(run)
    family = mine.children(recursive=True)
    mine.kill()
    _, left = psutil.wait_procs([mine, *family], timeout=5)
    for agent in left:  # Ray's agents look for their head for minutes
        agent.kill()
    assert status.run_state(run).activity == "stopped"
    second = begin("--resume")
    assert second.process.returncode == 0, second.stderr
    known = len(finished(run))
    until(lambda: len(finished(run)) > known, 120, lambda: log(run))
    assert command_output("stop", run).startswith("stopped; ")
    assert ended(run) == 130
    third = begin("--resume")
    assert third.process.returncode == 0, third.stderr
    assert ended(run) == 0
    assert status.run_state(run).activity == "finished"
    assert {record.status for record in finished(run).values()} == {"done"}
    assert not list(run.glob(".orders-*"))


# On a cluster


@pytest.fixture
def cluster(home: Home, tmp_path: Path) -> Cluster:
    return Cluster(tmp_path, home)


@pytest.mark.slow
@pytest.mark.sweep
def test_a_detached_sweep_on_a_cluster_is_a_job_of_it(cluster: Cluster, tiny_model: Path) -> None:
    spec = write_spec(cluster.folder / "spec", tiny_model, SMALL)
    run, cache = cluster.folder / "runs" / "tiny", cluster.folder / "other-cache"

    def begin(*more: str) -> Command:
        asked = ("run", spec, "--output", run.parent, "--detach", *more)
        command = cluster.paretune(*asked, WANDB_API_KEY=SECRET, PARETUNE_HOME=str(cache))
        assert "tiny runs as job raysubmit_" in command.stdout, command.stderr
        mine = driver(run)
        assert mine.environ()["RAY_JOB_CONFIG_JSON_ENV_VAR"]
        everybody = psutil.process_iter(["cmdline"])
        assert not [word for each in everybody for word in each.info["cmdline"] or () if SECRET in word]
        return command

    with cluster.head(dashboard=True), cluster.node():
        goes_on_after_kill_and_stop(run, begin)
    assert (cache / "predicted.json").exists()  # the driver's doing, in the cache of who asked


@pytest.mark.slow
@pytest.mark.sweep
def test_without_a_job_server_the_driver_is_a_process_and_a_message_says_so(
    cluster: Cluster, tiny_model: Path
) -> None:
    spec = write_spec(cluster.folder / "spec", tiny_model, SMALL.replace("trials: 3", "trials: 1"))
    run = cluster.folder / "runs" / "tiny"
    with cluster.head(), cluster.node():
        began = cluster.paretune("run", spec, "--output", run.parent, "--detach")
        assert began.process.returncode == 0, began.stderr
        (line,) = began.stderr.splitlines()
        assert line.startswith("the cluster has no job server (its head runs without a dashboard): ")
        assert f"tiny runs as process {driver(run).pid} on " in began.stdout
        assert ended(run) == 0
    assert {record.status for record in results.read_run(run).records} == {"done"}
