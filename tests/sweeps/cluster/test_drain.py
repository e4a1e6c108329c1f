"""Nodes that tell Ray when their machine is about to go: what clouds announce, and SIGTERM."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError

import pytest

from sweeps.cluster.cloud_notices import MAX_SILENCES, Aws, Gcp, Notices, aws_time
from sweeps.cluster.drain import Raylet, raylets
from tests.helpers.clusters import Cluster, Machine
from tests.helpers.sweeps import Home

SOON = '{"action": "terminate", "time": "%s"}'
# Keeps a node busy, for one that drains and does nothing goes at once; says its id, and then what drains.
ASK = """\
import json, sys, time, ray
ray.init(log_to_driver=False)
name = sys.argv[1]
(node,) = [each["NodeID"] for each in ray.nodes() if each["Alive"] and name in each["Resources"]]
busy = ray.remote(num_cpus=0, resources={name: 0.5})(lambda: time.sleep(120)).remote()
print(node, flush=True)
while not (draining := ray._private.state.state.get_draining_nodes()):
    time.sleep(0.1)
print(json.dumps(draining), flush=True)
"""


@dataclass
class Metadata:
    """A metadata server that says nothing until it is told to."""

    answers: dict[tuple[str, str], str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    @contextmanager
    def serving(self) -> Iterator[Metadata]:
        class Handler(BaseHTTPRequestHandler):
            def answer(handler) -> None:  # noqa: N805
                self.asked.append((handler.path, dict(handler.headers)))
                found = self.answers.get((handler.command, handler.path))
                handler.send_response(404 if found is None else 200)
                handler.end_headers()
                handler.wfile.write((found or "").encode())

            do_GET = do_PUT = answer  # noqa: N815

            def log_message(handler, *words: object) -> None:  # noqa: N805
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.url = f"http://127.0.0.1:{server.server_port}"
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield self
            server.shutdown()

    def aws(self, notice: str | None = None) -> None:
        self.answers["PUT", "/latest/api/token"] = "token-1"
        if notice is not None:
            self.answers["GET", "/latest/meta-data/spot/instance-action"] = notice


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    with Metadata().serving() as served:
        yield served


def at(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def test_aws_says_when_a_spot_machine_goes_to_who_shows_its_token(metadata: Metadata) -> None:
    metadata.aws()
    assert Aws(metadata.url).ending() is None
    metadata.aws(SOON % at(1_900_000_000))
    assert Aws(metadata.url).ending() == 1_900_000_000
    assert metadata.asked[-1][1]["X-Aws-Ec2-Metadata-Token"] == "token-1"


@pytest.mark.parametrize("printed", ["", "{}", '{"time": 5}', '{"time": "soon"}', "[]"])
def test_a_notice_that_names_no_time_is_one_of_two_minutes(printed: str) -> None:
    assert aws_time(printed, now=1000.0) == 1120.0


def test_gcp_says_that_a_machine_is_preempted(metadata: Metadata) -> None:
    path = ("GET", "/computeMetadata/v1/instance/preempted")
    metadata.answers[path] = "FALSE"
    assert Gcp(metadata.url).ending() is None
    metadata.answers[path] = "TRUE\n"
    assert Gcp(metadata.url).ending() == pytest.approx(time.time() + 30, abs=5)
    assert metadata.asked[-1][1]["Metadata-Flavor"] == "Google"


def test_another_clouds_server_is_none_of_ones_own(metadata: Metadata) -> None:
    for cloud in (Aws(metadata.url), Gcp(metadata.url)):
        with pytest.raises(HTTPError):
            cloud.ending()


def test_where_no_server_ever_answered_nobody_is_asked_after_a_while(metadata: Metadata) -> None:
    metadata.aws()
    notices = Notices([Aws(metadata.url), Gcp("http://127.0.0.1:9")])
    for _ in range(MAX_SILENCES):
        assert notices.ending() is None
    assert notices.clouds == [Aws(metadata.url)]


def test_one_that_answered_once_is_asked_for_ever(metadata: Metadata) -> None:
    metadata.aws()
    notices = Notices([Aws(metadata.url)])
    notices.ending()
    metadata.answers.clear()
    for _ in range(2 * MAX_SILENCES):
        assert notices.ending() is None
    metadata.aws(SOON % at(1_900_000_000))
    assert notices.ending() == 1_900_000_000


def test_this_machines_worker_nodes_are_found_by_their_processes(tmp_path: Path) -> None:
    raylet = (
        "/site/ray/core/src/ray/raylet/raylet\0--node_id=%s\0--gcs-address=10.0.0.1:6379\0--session_dir=/s\0"
    )
    commands = [raylet % "aa", raylet % "bb" + "--head\0", "vim\0raylet\0", ""]
    for number, command in enumerate(commands):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "cmdline").write_text(command)
    assert raylets(tmp_path) == {Raylet("aa", "10.0.0.1:6379", "/s")}
    assert {node.node_id for node in raylets(tmp_path, heads=True)} == {"aa", "bb"}


# On a real cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    temporary = Path(tempfile.mkdtemp(prefix="pt-", dir="/tmp"))
    yield Cluster(tmp_path, Home(tmp_path / "home", temporary))
    shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def python(cluster: Cluster, *arguments: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    environment = cluster.home.environment(**cluster.access, RAY_ADDRESS=cluster.address, **more)
    process = subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, text=True, cwd=cluster.folder
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@contextmanager
def watched(
    cluster: Cluster, node: Machine, metadata: Metadata
) -> Iterator[tuple[str, subprocess.Popen, subprocess.Popen]]:
    """The node's id, who asks what drains, and the watcher."""
    with python(cluster, "-c", ASK, node.name) as asking:
        node_id = line(asking)
        base = {"PARETUNE_AWS_METADATA": metadata.url, "PARETUNE_GCP_METADATA": "http://127.0.0.1:9"}
        with python(cluster, "-m", "sweeps.cluster.drain", "--node-id", node_id, **base) as watcher:
            until = time.monotonic() + 30
            while not metadata.asked:  # it has begun
                assert time.monotonic() < until
                time.sleep(0.1)
            assert (watcher.poll(), asking.poll()) == (None, None)
            yield node_id, asking, watcher


@pytest.mark.slow
@pytest.mark.sweep
def test_a_node_drains_when_its_watcher_is_terminated_and_when_the_cloud_takes_it_back(
    cluster: Cluster, metadata: Metadata
) -> None:
    metadata.aws()
    with cluster.head():
        with cluster.node() as node, watched(cluster, node, metadata) as (node_id, asking, watcher):
            watcher.terminate()
            ((drained, deadline),) = json.loads(line(asking)).items()
            assert (drained, deadline / 1000) == (node_id, pytest.approx(time.time() + 30, abs=10))
            assert line(watcher).endswith(" s: the machine shuts down")
            asking.kill()  # with it goes its task, and with that the node
            assert watcher.wait(60) == 0
        metadata.asked.clear()
        with cluster.node() as node, watched(cluster, node, metadata) as (node_id, asking, watcher):
            ends = int(time.time()) + 90
            metadata.aws(SOON % at(ends))
            assert json.loads(line(asking)) == {node_id: ends * 1000}
            assert line(watcher).endswith(" s: the cloud takes the machine back")
            asking.kill()  # with it goes its task, and with that the node
            assert watcher.wait(60) == 0


@pytest.mark.slow
@pytest.mark.sweep
def test_a_watcher_ends_with_its_node_and_does_not_begin_without_one(
    cluster: Cluster, metadata: Metadata
) -> None:
    metadata.aws()
    with cluster.head():
        with cluster.node() as node, watched(cluster, node, metadata) as (_, _, watcher):
            node.kill()
            assert watcher.wait(20) == 0
        with python(cluster, "-m", "sweeps.cluster.drain", "--node-id", "none") as watcher:
            assert watcher.wait(20) == 1
