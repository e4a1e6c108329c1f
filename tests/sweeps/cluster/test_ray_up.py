"""``ray up`` with the file for machines of one's own, on machines with addresses, processes and homes of their own.

What is typed is what the file's own comment says; what is changed in it is what it says is to be filled in.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.machines import Machine, machines, missing
from tests.helpers.paths import ROOT
from tests.helpers.sweeps import METHODS, SPEC, write_spec
from trainables import results

pytestmark = [
    pytest.mark.slow,
    pytest.mark.sweep,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

FILE = ROOT / "sweeps" / "clusters" / "on-premise.yaml"
OURS = ("ray::", "raylet", "gcs_server", "/ray/", "sweeps.")  # processes of Ray and of Paretune
# More at a time than one machine has CPUs for.
BOTH = SPEC.replace("concurrent: 2", "concurrent: 4")
ONE = SPEC.replace(METHODS, "methods: [{kind: lora, rank: 4}]\n").replace("trials: 3", "trials: 1")


@dataclass
class Cluster:
    """``desk`` has the file and the key; ``shared`` is the same folder on all machines."""

    desk: Machine
    head: Machine
    worker: Machine
    shared: Path

    def types(self, command: str, timeout: float = 400) -> str:
        """What comes of a command on the desk, beside the file; nobody is there to confirm anything."""
        for word in ("ray up", "ray down"):
            command = command.replace(word, f"{word} -y")
        return self.desk.run(f"cd && {command}", timeout)


def filled_in(head: str, worker: str) -> str:
    lines = []
    for line in FILE.read_text().splitlines():
        key = line.partition(":")[0].strip()
        values = {"head_ip": head, "worker_ips": f"[{worker}]", "ssh_user": "root"}
        lines.append(f"{line.partition(':')[0]}: {values[key]}" if key in values else line)
    return "\n".join(lines)


def documented() -> list[str]:
    """The commands in the file's comment."""
    lines = [line[4:] for line in FILE.read_text().splitlines() if line.startswith("#   ")]
    return [line.partition("  #")[0].strip() for line in lines]


def test_the_file_says_how_to_make_use_and_end_a_cluster() -> None:
    token, up, run, down = documented()
    assert (token.split()[:2], up.split()[:2]) == (["ray", "get-auth-token"], ["ray", "up"])
    assert (run.split()[:2], down.split()[:2]) == (["ray", "exec"], ["ray", "down"])


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.5)
    return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("up")
    write_spec(folder / "shared" / "both", tiny_model, BOTH)
    write_spec(folder / "shared" / "one", tiny_model, ONE.replace("name: tiny", "name: one"))
    token, up, _, _ = documented()
    with machines(folder, "desk", "head", "worker") as made:
        cluster = Cluster(*made, folder / "shared")
        (cluster.desk.home / FILE.name).write_text(filled_in(made[1].address, made[2].address))
        cluster.types(token)
        printed = cluster.types(up)
        until(lambda: cluster.worker.processes("sweeps.cluster.drain"), 90, printed)
        yield cluster


def test_all_machines_run_ray_and_only_their_owner_can_read_the_token(cluster: Cluster) -> None:
    secret = (cluster.desk.home / ".ray" / "auth_token").read_text()
    for machine in (cluster.head, cluster.worker):
        assert machine.processes("raylet/raylet")
        token = machine.home / ".ray" / "auth_token"
        assert (stat.S_IMODE(token.stat().st_mode), token.read_text()) == (0o600, secret)
        assert not [line for line in machine.processes("") if secret in line]


def test_a_machine_that_does_not_show_the_token_is_refused(cluster: Cluster) -> None:
    asked = f"paretune doctor --address {cluster.head.address}:6379 --output {cluster.shared}/runs"
    for without in ("", "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=another "):
        assert "can't join the cluster" in cluster.worker.run(without + asked, check=False)


def test_a_sweep_runs_on_all_machines_and_its_report_comes_back(cluster: Cluster) -> None:
    spec, run = cluster.shared / "both" / "spec.yaml", cluster.shared / "runs" / "tiny"
    command = documented()[2].replace("SHARED", str(cluster.shared)).replace("run methods", f"run {spec}")
    assert f"{run}/report/index.html" in cluster.types(command)
    assert (run / "report" / "index.html").exists()
    records = results.read_run(run).records
    assert [record.status for record in records] == ["done"] * 7
    assert {record.host for record in records} == {"head", "worker"}


def test_a_sweep_asked_for_on_another_machine_is_a_job_on_the_head(cluster: Cluster) -> None:
    spec, run = cluster.shared / "one" / "spec.yaml", cluster.shared / "runs" / "one"
    asked = f"paretune run {spec} --address {cluster.head.address}:6379 --output {run.parent} --detach"
    assert "one runs as job raysubmit_" in cluster.worker.run(f"RAY_AUTH_MODE=token {asked}")
    assert cluster.head.processes("sweeps.cli drive")
    assert not cluster.worker.processes("sweeps.cli drive")
    until(lambda: "ended with code" in (run / "driver.log").read_text(), 180, "the job doesn't end")
    assert (run / "driver.log").read_text().splitlines()[-1] == "ended with code 0"
    assert "finished" in cluster.worker.run(f"paretune status {run}")


def test_a_machine_that_is_shut_down_has_its_node_drained(cluster: Cluster) -> None:
    log = "cat /tmp/ray/session_latest/logs/leaving.log"
    before = cluster.worker.processes("raylet/raylet")
    cluster.worker.run("kill $(ps -ww -eo pid=,args= | awk '/[s]weeps.leaving/ {print $1}')")
    until(lambda: "the machine shuts down" in cluster.worker.run(log), 30, "nobody was told")
    # Nothing runs there, so it goes at once.
    until(lambda: cluster.worker.processes("raylet/raylet") != before, 60, "it still is there")


def test_ray_down_leaves_nothing_running(cluster: Cluster) -> None:
    cluster.types(documented()[3])
    for machine in (cluster.head, cluster.worker):
        until(lambda m=machine: not m.processes(*OURS), 240, f"{machine.name}: {machine.processes(*OURS)}")
