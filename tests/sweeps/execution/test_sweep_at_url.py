"""Sweeps on a cluster whose nodes share no folder, only a URL: in peace, killed, asked to stop, with a failing server.

After each, the run is the one that is made in a folder: the same trials, each run once, the same numbers bit for bit.
"""

from __future__ import annotations

import json
import secrets
import signal
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.clusters import Cluster, can_unshare
from tests.helpers.faults import assert_same_results, ended_at, undisturbed_run
from tests.helpers.s3_server import BUCKET, Server, copied, s3
from tests.helpers.sweeps import (
    SAVED_EVERY,
    SPEC,
    STEPS,
    Command,
    Home,
    curve_points,
    finished,
    paretune,
    write_spec,
)
from trainables.storage.url_store import Store
from trainables.training.checkpoints import COMPLETE

pytestmark = [pytest.mark.sweep, pytest.mark.slow]

TEXT = SPEC.replace("cpus: 1, concurrent: 2", "cpus: 1").replace("trials: 3", "trials: 2")
DOWN_SECONDS = 60


@dataclass
class Remote:
    """A run at a URL of a server, the cluster that carries it out, and who looks at it from elsewhere."""

    server: Server
    cluster: Cluster
    output: str
    spec: Path
    folder: Path

    @property
    def store(self) -> Store:
        return Store(f"{self.output}/tiny", patience=90)

    @contextmanager
    def nodes(self, count: int = 2) -> Iterator[list[Path]]:
        """Nodes that have nothing in common but this machine; gives the scratch folder of each."""
        scratch = [self.folder / f"scratch-{number}" for number in range(count)]
        with ExitStack() as started:
            started.enter_context(self.cluster.head(slots=False))
            for number, place in enumerate(scratch):
                own = {"PARETUNE_SCRATCH": str(place), "PARETUNE_HOME": str(self.folder / f"node-{number}")}
                started.enter_context(self.cluster.node(**self.server.environment, **own))
            yield scratch

    def start(self, *options: str, home: str = "driver") -> Command:
        own = {"PARETUNE_HOME": str(self.folder / home), **self.server.environment}
        return self.cluster.start("run", self.spec, "--output", self.output, *options, **own)

    def elsewhere(self, *arguments: str) -> Command:
        """A command on a machine that has nothing of the run."""
        home = Home(self.folder / f"elsewhere-{secrets.token_hex(2)}", self.cluster.home.temporary)
        return paretune(home, *arguments, **self.server.environment)

    def copy(self) -> Path:
        return copied(self.store, self.folder / f"copy-{secrets.token_hex(4)}" / "tiny")

    def training(self) -> dict[str, int]:
        """Trials that have a complete checkpoint and a while to go, with its step."""
        names = self.store.list("trials")
        found: dict[str, int] = {}
        for name in names:
            _, trial, *rest = name.split("/")
            if rest[-1] == COMPLETE and f"trials/{trial}/record.json" not in names:
                found[trial] = max(found.get(trial, 0), int(rest[0].partition("-")[2]))
        return {trial: step for trial, step in found.items() if step <= STEPS - 2 * SAVED_EVERY}

    def done(self) -> int:
        return sum(name.endswith("/record.json") for name in self.store.list("trials"))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with s3() as started:
        yield started


@pytest.fixture(scope="module")
def peace(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as temporary:
        return undisturbed_run(tmp_path_factory.mktemp("peace"), Path(temporary), tiny_model, TEXT)


@pytest.fixture
def remote(tmp_path: Path, tiny_model: Path, server: Server) -> Iterator[Remote]:
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as temporary:
        cluster = Cluster(tmp_path, Home(tmp_path / "home", Path(temporary)))
        output = f"s3://{BUCKET}/{secrets.token_hex(4)}"
        yield Remote(server, cluster, output, write_spec(tmp_path / "given", tiny_model, TEXT), tmp_path)


def test_a_sweep_at_a_url_is_the_sweep_in_a_folder(remote: Remote, peace: Path) -> None:
    with remote.nodes() as scratch:
        command = remote.start()
        assert command.wait(600) == 0, command.stderr
    assert command.stdout == f"{remote.output}/tiny/report/index.html\n"
    run = remote.copy()
    assert_same_results(run, peace)
    assert not (run / ".lock").exists()
    for place in scratch:
        (trials,) = place.glob("*/*/tiny/trials")  # both nodes had some to do
        assert list(trials.iterdir()) == []
    for trial, record in finished(run).items():
        files = {path.name for path in (run / "trials" / trial).iterdir()}
        assert files == {path.name for path in (peace / "trials" / trial).iterdir()}
        assert "scratch" not in json.dumps(record.model_dump(mode="json"))
    assert "nothing left to do" in remote.elsewhere("status", f"{remote.output}/tiny").stdout
    assert "5 of 5" in remote.elsewhere("logs", f"{remote.output}/tiny").stdout
    assert remote.elsewhere("report", f"{remote.output}/tiny").stdout == command.stdout
    for where, path in (("folder", peace), ("URL", run)):
        warm = [
            r.setup_seconds or 0.0 for r in finished(path).values() if r.slot_trial and r.role == "search"
        ]
        print(f"{where}: {statistics.median(warm or [0]):.2f} s from a warm slot's trial to its first step")


def test_a_killed_driver_is_followed_by_one_that_has_nothing_but_the_url(remote: Remote, peace: Path) -> None:
    with remote.nodes():
        command = remote.start()
        command.until(lambda: remote.done() >= 2 and remote.training(), timeout=400)
        command.signal(signal.SIGKILL)
        command.surviving(20)
        before, saved = remote.copy(), remote.training()
        again = remote.start("--resume", home="another")
        assert again.wait(600) == 0, again.stderr
    run = remote.copy()
    assert ended_at(before).items() <= ended_at(run).items()
    assert saved
    for trial, step in saved.items():
        steps = [at for at, _ in curve_points(run, trial)]
        assert {steps.count(at) for at in range(1, step + 1)} == {
            1
        }  # what a checkpoint holds isn't done again
    assert_same_results(run, peace)


def test_a_second_driver_is_refused_and_any_machine_may_stop_and_resume_the_run(
    remote: Remote, peace: Path
) -> None:
    url = f"{remote.output}/tiny"
    with remote.nodes():
        command = remote.start()
        command.until(lambda: remote.store.read(".lock"))  # nothing trains yet: there is time to ask
        second = remote.start("--resume", home="another")
        assert second.wait(120) == 2
        assert f"another run holds it: process {command.process.pid} on " in second.stderr
        command.until(lambda: remote.store.list("trials"), timeout=400)
        printed = remote.elsewhere("status", url).stdout
        assert f"running: process {command.process.pid} on " in printed
        stopped = remote.elsewhere("stop", url, "--wait", "100")
        assert stopped.process.returncode == 0, stopped.stderr
        assert command.wait(60) == 130
        before = remote.copy()
        again = remote.start("--resume", home="another")
        assert again.wait(600) == 0, again.stderr
    run = remote.copy()
    assert ended_at(before).items() <= ended_at(run).items()
    assert_same_results(run, peace)


def test_a_server_that_fails_for_a_minute_costs_nothing_but_time(
    remote: Remote, peace: Path, server: Server
) -> None:
    with remote.nodes():
        command = remote.start()
        command.until(remote.training, timeout=400)
        server.down, server.refused = True, 0
        back = threading.Timer(DOWN_SECONDS, setattr, (server, "down", False))
        back.start()
        try:
            assert command.wait(600) == 0, command.stderr
        finally:
            back.cancel()
            server.down = False
    assert server.refused > 10
    assert "it is tried again" in command.stderr
    run = remote.copy()
    assert {len(curve_points(run, trial)) for trial, r in finished(run).items() if r.role == "search"} == {
        STEPS
    }
    assert_same_results(run, peace)


@pytest.mark.skipif(not can_unshare(), reason="a node with mounts of its own takes root")
@pytest.mark.parametrize("at_url", [False, True])
def test_models_and_data_reach_a_node_that_does_not_have_them(
    remote: Remote, peace: Path, tiny_model: Path, at_url: bool
) -> None:
    output = remote.output if at_url else str(remote.folder / "runs")
    hidden = f"mount -t tmpfs none {remote.spec.parent} && mount -t tmpfs none {tiny_model.parent}"
    alone = ["unshare", "-m", "sh", "-c", f'{hidden} && exec "$@"', "sh"]
    own = {"PARETUNE_HOME": str(remote.folder / "node"), **remote.server.environment}
    with remote.cluster.head(slots=False), remote.cluster.node(before=alone, **own):
        command = remote.cluster.start("run", remote.spec, "--output", output, **remote.server.environment)
        assert command.wait(600) == 0, command.stderr
    (printed,) = (line for line in command.stderr.splitlines() if "for nodes where it is missing" in line)
    rows = remote.spec.parent / "rows.jsonl"
    size = rows.stat().st_size + sum(path.stat().st_size for path in tiny_model.iterdir())
    assert str(rows) in printed
    assert str(tiny_model) in printed
    assert f"{size} bytes" in printed
    run = remote.copy() if at_url else Path(output) / "tiny"
    assert_same_results(run, peace)
    assert {record.model for record in finished(run).values()} == {tiny_model.name}
    assert all(r.config["data"]["train"] == str(rows) for r in finished(run).values())
