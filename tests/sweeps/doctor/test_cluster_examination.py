"""The doctor and ``run --address`` on real clusters of two nodes: alike, without a package, without a shared folder."""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import specs
from tests.helpers.clusters import Cluster, can_unshare
from tests.helpers.sweeps import Command, Home

pytestmark = pytest.mark.sweep


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    # Short: Ray's sockets are in there.
    temporary = Path(tempfile.mkdtemp(prefix="pt-", dir="/tmp"))
    made = Cluster(folder, Home(folder, temporary))
    try:
        with made.head():
            yield made
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """One that trains LoRA on four bits by HQQ, as its line 6 says."""
    folder = specs.spec_folder(tmp_path / "spec")
    hqq = "  - {kind: lora, rank: 4, model: {quantization: {hqq: 4}}}\n"
    (folder / "spec.yaml").write_text(specs.SPEC.replace(specs.ONE, hqq))
    return folder / "spec.yaml"


def examined(command: Command) -> dict[str, Any]:
    assert "Traceback" not in command.stderr
    return json.loads(command.stdout)


def nodes(report: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The one with something missing, and the other."""
    broken, sound = sorted(report["nodes"], key=lambda node: node["works"])
    assert (broken["works"], sound["works"]) == (False, True)
    return broken, sound


def detail(node: dict[str, Any], topic: str, name: str) -> str:
    return next(found["detail"] for found in node["topics"][topic] if found["name"] == name)


@pytest.mark.slow
def test_two_sound_nodes_are_alike_and_the_doctor_leaves_nothing_behind(
    cluster: Cluster, tmp_path: Path
) -> None:
    with cluster.node():
        command = cluster.paretune("doctor", "--json", "--output", tmp_path / "runs")
    report = examined(command)
    assert (command.process.returncode, report["works"]) == (0, True), command.stdout
    assert [node["works"] for node in report["nodes"]] == [True, True]
    assert report["differences"] == []
    for node in report["nodes"]:
        assert list(node["topics"])[:2] == ["Cluster", "Machine"]
        assert {"Quantizers", "Attention", "Kernels", "Precision", "Packages"} < node["topics"].keys()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_node_that_lacks_a_package_is_named_with_what_to_install(
    cluster: Cluster, tmp_path: Path
) -> None:
    with cluster.node(**cluster.packages("peft")):
        table = cluster.paretune("doctor", "--output", tmp_path, COLUMNS="160")
        command = cluster.paretune("doctor", "--json", "--output", tmp_path)
    assert (table.process.returncode, command.process.returncode) == (1, 1)
    report = examined(command)
    broken, sound = nodes(report)
    wanted = "not installed: pip install 'peft<0.22,>=0.21'"
    assert detail(broken, "Packages", "peft") == wanted
    (row,) = (line for line in table.stdout.splitlines() if line.startswith("missing") and wanted in line)
    assert row.split()[1] == "peft"
    assert broken["node"] in row
    assert f"{broken['node']}: peft: {wanted}" in table.stdout
    (difference,) = report["differences"]
    assert (difference["topic"], difference["name"]) == ("Packages", "peft")
    where = {found["works"]: found["nodes"] for found in difference["found"]}
    assert where == {False: [broken["node"]], True: [sound["node"], "the driver"]}


@pytest.mark.slow
def test_a_node_without_paretune_is_a_finding_and_no_stack_trace(
    cluster: Cluster, spec: Path, tmp_path: Path
) -> None:
    with cluster.node(**cluster.packages("paretune", paretune=False)):
        command = cluster.paretune("run", spec, "--output", tmp_path / "runs")
    assert command.process.returncode == 2, command.stderr
    (message,) = command.stderr.strip().splitlines()
    assert "examination: Paretune doesn't run there: " in message
    assert "No module named 'sweeps'" in message


def test_what_a_spec_names_and_a_node_lacks_is_refused_before_anything_is_written(
    cluster: Cluster, spec: Path, tmp_path: Path
) -> None:
    with cluster.node(**cluster.packages("hqq")):
        command = cluster.paretune("run", spec, "--output", tmp_path / "runs")
    assert command.process.returncode == 2, command.stderr
    of_rows = ("warning: ", "tokenizing rows: ")  # they are few, and may take seconds on a busy machine
    (message,) = [line for line in command.stderr.splitlines() if not line.startswith(of_rows)]
    found = re.fullmatch(r"(.*:\d+ .*): hqq doesn't work on (\S+) \((.*), .*\): (.*)", message)
    assert found is not None, message
    place, host, ip, advice = found.groups()
    assert place == f"{spec}:6 methods[0].model.quantization.hqq"
    assert (host, advice) == (socket.gethostname(), "needs `pip install 'paretune[hqq]'`")
    ipaddress.ip_address(ip)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.skipif(not can_unshare(), reason="a node with mounts of its own takes root")
def test_a_node_that_does_not_share_the_run_folder_is_named_with_what_to_do(
    cluster: Cluster, tmp_path: Path
) -> None:
    mounted = f'mount -t tmpfs none {tmp_path} && exec "$@"'
    with cluster.node(before=["unshare", "-m", "sh", "-c", mounted, "sh"]):
        command = cluster.paretune("doctor", "--json", "--output", tmp_path)
    assert command.process.returncode == 1
    broken, _ = nodes(examined(command))
    message = (
        f"{tmp_path} there is not the driver's; mount shared storage there, or give --output a path that all"
    )
    assert message in detail(broken, "Cluster", "shared run folder")
    assert list(tmp_path.iterdir()) == []
